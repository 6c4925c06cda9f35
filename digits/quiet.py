"""Keep the terminal for our own lines: TensorFlow's C++ code writes to stderr while it loads."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def native_stderr_discarded() -> Iterator[None]:
    """Discard what native code writes to stderr; Python's own errors are raised as usual.

    TF_CPP_MIN_LOG_LEVEL does not silence what is logged before absl::InitializeLog().
    """
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def load_tensorflow() -> None:
    """Import TensorFlow and let it look for GPUs, quietly."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with native_stderr_discarded():
        import tensorflow

        tensorflow.config.list_physical_devices()


@contextlib.contextmanager
def plain_messages() -> Iterator[None]:
    """Print warnings as one line, `Warning: ...`, and suppress Keras's and TensorFlow's advice."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(
            f"Warning: {message}", file=sys.stderr
        )
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
