"""Measure the default training: accuracy over seeds, and seconds from start to saved model.

    python benchmarks/training.py [--seeds 3] [-- --epochs 60 ...]

Flags after -- go to mnist_dnn.py, which runs as a user would run it, in a process of its own.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def run_once(seed, flags):
    """Train in a new process; return test accuracy in percent and seconds in all."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "mnist_dnn.h5")
        command = [sys.executable, ROOT / "mnist_dnn.py", "--seed", str(seed), "--output", output]
        start = time.perf_counter()
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - start
    return float(re.search(r"Test accuracy ([\d.]+)%", done.stdout)[1]), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("flags", nargs="*", help="for mnist_dnn.py")
    args = parser.parse_args()
    print("| seed | test accuracy | seconds |\n|---|---|---|")
    runs = []
    for seed in range(args.seeds):
        runs.append(run_once(seed, args.flags))
        print(f"| {seed} | {runs[-1][0]:.2f} % | {runs[-1][1]:.0f} |", flush=True)
    accuracy, seconds = np.mean(runs, axis=0)
    error = 1.96 * np.sqrt(accuracy * (100 - accuracy) / 10_000)  # of 10,000 test images
    print(f"| mean | {accuracy:.2f} % (95 % interval ± {error:.2f}) | {seconds:.0f} |")


if __name__ == "__main__":
    main()
