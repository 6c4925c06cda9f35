"""Train on several machines or GPUs at once: data-parallel, by Keras's distribution API on JAX."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import keras
import numpy as np

HEARTBEAT = 30  # seconds without a sign of life after which a host is considered lost


def start() -> None:
    """Join the other hosts, if Keras's environment variables name any, and use all their devices.

    Raises:
        ValueError: Keras does not run on JAX.
    """
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Expected Keras on JAX: python -m pip install jax, then "
            "KERAS_BACKEND=jax python mnist_dnn.py --distributed"
        )
    import jax
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")  # TensorFlow only makes batches; JAX needs the memory
    if "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        _join(jax)
    # each process makes its own share of each batch
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))


def _join(jax):
    """Connect to the other hosts; Keras's own function would wait 100 s for one that is lost."""
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    try:
        addresses, count, number = (os.environ[f"KERAS_DISTRIBUTION_{name}"] for name in names)
    except KeyError as error:
        raise ValueError(f"Expected the environment variable {error} on each host") from error
    jax.distributed.initialize(
        addresses.split(",")[0], int(count), int(number), heartbeat_timeout_seconds=HEARTBEAT
    )


def processes() -> int:
    """Return the number of processes that train together."""
    if keras.distribution.distribution() is None:
        return 1
    import jax

    return jax.process_count()


def is_first() -> bool:
    """Return whether this process is the one that prints and saves."""
    if processes() == 1:
        return True
    import jax

    return jax.process_index() == 0


def device_shares() -> tuple[int, slice]:
    """Return the number of devices of all processes, and the slice of those that are ours."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1, slice(0, 1)
    import jax

    devices = distribution.device_mesh.devices.size
    ours = devices // jax.process_count()
    return devices, slice(jax.process_index() * ours, (jax.process_index() + 1) * ours)


def local_devices() -> int:
    """Return the number of devices that this process trains on."""
    _, ours = device_shares()
    return ours.stop - ours.start


def from_first(content: bytes) -> bytes:
    """Return the bytes that the first process passes; all processes must call this."""
    if processes() == 1:
        return content
    from jax.experimental.multihost_utils import broadcast_one_to_all

    size = int(broadcast_one_to_all(np.int32(len(content))))
    array = np.zeros(size, "uint8")
    if is_first():
        array[:] = np.frombuffer(content, "uint8")
    return np.asarray(broadcast_one_to_all(array)).tobytes()


def require_same(content: str, what: str) -> None:
    """Raise ValueError unless all processes pass the same text; all processes must call this."""
    ours = content.encode()
    same = from_first(ours) == ours
    if processes() > 1:
        from jax.experimental.multihost_utils import process_allgather

        same = process_allgather(np.array(same)).all()  # all end, not only those that differ
    if not same:
        raise ValueError(f"Expected the same {what} on all hosts, got different ones")


def detach(models: list[keras.Model]) -> list[keras.Model]:
    """Return copies of trained models that this process can use without the others."""
    if keras.distribution.distribution() is None:
        return models
    weights = [model.get_weights() for model in models]
    keras.distribution.set_distribution(None)
    copies = [keras.models.clone_model(model) for model in models]
    for copy, values in zip(copies, weights):
        copy.set_weights(values)
    return copies


@contextlib.contextmanager
def lost_host_is_named() -> Iterator[None]:
    """Turn what JAX raises when another process is lost into a ConnectionError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if processes() == 1:
            raise
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise ConnectionError(
            f"Another host was lost, or ended with an error of its own ({reason}). "
            "Start all hosts again, with --resume"
        ) from error


def fail(message: str) -> NoReturn:
    """End this process with a message, at once: the others must not wait until they time out."""
    if processes() == 1:
        sys.exit(message)
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
