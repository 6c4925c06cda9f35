"""Measure the cost of communication between hosts in training, and estimate it for N hosts.

    python benchmarks/hosts.py

Processes with a core of their own stand for hosts, and the loopback for their network: the exchange
of gradients is what a step of two takes longer than a step of one with as many pictures. A ring of
N exchanges 2 (N - 1) / N of that. Needs Linux, for a core each, and JAX: see docs/scaling.md.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
BATCH = 512  # images in a step of all hosts together, as in the default training
IMAGES = 77_000  # in an epoch of the default training
STEPS = 40


def host(process):
    """Train on synthetic digits; the first process prints median seconds per step by batch."""
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[process]])  # before JAX looks
    import keras

    from digits import hosts
    from digits.synthetic import draw_digits
    from mnist_dnn import build_dnn

    hosts.start()
    images, labels = draw_digits(BATCH, seed=0)
    x, medians = images.astype("float32") / 255, []
    for batch in (BATCH, BATCH // 2, BATCH // 4, BATCH // 8):
        keras.utils.set_random_seed(0)
        model, ends = build_dnn(), []
        model.compile("adamw", "sparse_categorical_crossentropy")
        clock = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs, ends=ends: ends.append(time.perf_counter())
        )  # each epoch is a step
        options = {"batch_size": batch, "epochs": STEPS, "verbose": 0, "callbacks": [clock]}
        model.fit(x[:batch], labels[:batch], **options)
        medians.append(np.median(np.diff(ends)[5:]))
    if hosts.is_first():
        print(*medians)


def environments(count):
    """Return the environments of processes on this machine that are to train together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
    }
    return [{**together, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)} for i in range(count)]


def run(count):
    """Return the first process's medians, float (4,), with `count` processes."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [
        subprocess.Popen([sys.executable, __file__, "--host", str(i)], env=environment, **pipes)
        for i, environment in enumerate(environments(count))
    ]
    lines = [process.communicate()[0].splitlines() for process in processes]
    return np.array(lines[0][-1].split(), float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.host is not None:
        return host(args.host)
    alone, together = run(1), run(2)
    exchange = np.median(together - alone)
    print(f"Exchange of gradients between two: {exchange * 1000:.1f} ms per step")
    print("| hosts | images of each in a step | ms per step | s per epoch | speed-up |")
    print("|---|---|---|---|---|")
    for hosts, compute in zip((1, 2, 4, 8), alone):
        step = compute + exchange * 2 * (hosts - 1) / hosts
        figures = f"{step * 1000:.1f} | {step * IMAGES / BATCH:.1f} | {alone[0] / step:.1f}"
        print(f"| {hosts} | {BATCH // hosts} | {figures} |")


if __name__ == "__main__":
    main()
