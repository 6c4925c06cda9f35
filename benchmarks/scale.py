"""Measure time and memory of loading many pictures from folders, compared with bare Pillow.

    python benchmarks/scale.py [--images 10000 100000 1000000] [--rounds 1]

On Linux. Synthetic digits are written as PNG files into a temporary folder, 4 kB of disk each. Each
figure comes from a process of its own, and the files are in the system's cache.
"""

import argparse
import collections
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.files import find_pictures
from digits.form import is_normalised
from digits.synthetic import draw_digits

TASKS = {
    "bare": "bare Pillow, one core, into a list",
    "load": "loaded with all cores",
    "predict": "read with the network, as by --predict",
}


def write_folders(root, count):
    """Write `count` PNG files, 10,000 different ones, as train/0-9 and a seventh as test/0-9."""
    images, labels = draw_digits(11_000, seed=0)
    pictures = []
    for i in np.flatnonzero(is_normalised(images))[:10_000]:
        file = io.BytesIO()
        Image.fromarray(images[i]).save(file, "PNG")
        pictures.append((labels[i], file.getvalue()))
    for part in ("train", "test"):
        for digit in range(10):
            Path(root, part, str(digit)).mkdir(parents=True)
    for i in range(count):
        label, content = pictures[i % len(pictures)]
        with open(f"{root}/{'train' if i % 7 else 'test'}/{label}/{i:07d}.png", "wb") as file:
            file.write(content)


def load_bare(root):
    images = []
    for folder in sorted(Path(root).glob("t*/*")):
        for name in sorted(os.listdir(folder)):
            with Image.open(f"{folder}/{name}") as image:
                images.append(np.asarray(image))
    return images


def report(start, used):
    """Print, as JSON: seconds, CPU seconds, and this process's peak of memory in bytes.

    Args:
        start, used: `time.time()` and `cpu_seconds()` before.
    """
    seconds, used = time.time() - start, cpu_seconds() - used  # helpers have been waited for
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([seconds, used, peak]), flush=True)


def cpu_seconds():
    """Return CPU seconds of this process and of those it has started and waited for."""
    return sum(os.times()[:4])


def child(task, root):
    """Do one thing and report on it."""
    from mnist_dnn import load_image_folders, load_trained_model, predict_files, predict_images

    if task == "predict":
        model, paths = load_trained_model(ROOT / "mnist_dnn.h5"), find_pictures([root])
        predict_images(np.zeros((256, 28, 28), "uint8"), model)
    before = time.time(), cpu_seconds()
    if task == "predict":
        collections.deque(predict_files(paths, model), maxlen=0)
    else:
        data = load_bare(root) if task == "bare" else load_image_folders(root)
        assert data
    report(*before)


def measure(task, root):
    """Run `child` in a process of its own; return what it reports."""
    command = [sys.executable, __file__, "--child", task, root]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    print("| pictures | | seconds | CPU seconds | pictures/s | peak MB |")
    print("|---" * 6 + "|")
    peaks = collections.defaultdict(list)
    for count in args.images:
        with tempfile.TemporaryDirectory() as root:
            write_folders(root, count)
            rounds = [[measure(task, root) for task in TASKS] for _ in range(args.rounds)]
        for task, (seconds, used, peak) in zip(TASKS, np.median(rounds, axis=0)):
            times = f"{seconds:.2f} | {used:.2f} | {count / seconds:,.0f}"
            print(f"| {count:,} | {TASKS[task]} | {times} | {peak / 2**20:,.0f} |", flush=True)
            peaks[task].append(peak)
    for task in TASKS if len(args.images) > 1 else ():
        more = (peaks[task][-1] - peaks[task][0]) / (args.images[-1] - args.images[0])
        print(f"{TASKS[task]}: {more:,.0f} bytes at the peak for each additional picture")


if __name__ == "__main__":
    main()
