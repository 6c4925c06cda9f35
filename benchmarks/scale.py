"""Measure time and memory of loading many pictures from folders, beside bare Pillow.

    python benchmarks/scale.py [--images 10000 100000 1000000] [--rounds 1] [--train]

On Linux. Drawn digits are written as PNG files into a temporary folder, 4 kB of disk each. Every
figure comes from a process of its own, and the files are in the system's cache. `--train` adds the
time from the start of `mnist_dnn.py --data-dir` to the end of its first training step.
"""

import argparse
import collections
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits import cores
from digits.files import find_pictures
from digits.folders import CACHE
from digits.form import is_normalised
from digits.synthetic import draw_digits

WAYS = {  # in the order in which they are measured
    "bare": "bare Pillow, into a list",
    "memory": "in memory, where no cache can be written",
    "first": "first start",
    "second": "second start",
    "predict": "read with the network, as by --predict",
    "train first": "first start, to the first step",
    "train second": "second start, to the first step",
}
peaks_of_others = []  # kB, of the processes that read pictures


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


def first_step(root):
    """Train from folders until the first step is done."""
    import keras

    from mnist_dnn import main

    fit = keras.Model.fit
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: (report(), os._exit(0))
    )
    keras.Model.fit = lambda *given, callbacks, **more: fit(
        *given, callbacks=[*callbacks, stop], **more
    )
    main(["--data-dir", root, "--epochs", "1", "--output", f"{root}/model.h5"])


def memory(process="self"):
    """Return what Linux tells of a process's memory, in kB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if "kB" in line}


def cpu_seconds():
    """Return seconds of CPU of this process and of those it has started and ended."""
    return sum(os.times()[:4])


def report(start=0.0, used=0.0):
    """Print seconds since `start`, seconds of CPU beyond `used`, and memory in kB, as JSON."""
    peak = memory()["VmHWM"] + sum(peaks_of_others)
    times = time.time() - start, cpu_seconds() - used
    print(json.dumps([*times, peak, memory()["RssAnon"]]), flush=True)


def end(process, end=cores._end):
    """Note how much memory a process took that read pictures, and end it."""
    peaks_of_others.append(memory(process.pid)["VmHWM"])
    return end(process)


def child(way, root):
    """Do one thing and report on it."""
    from mnist_dnn import load_image_folders, load_trained_model, predict_files, predict_images

    cores._end = end
    if way.startswith("train"):
        first_step(root)
    elif way == "predict":
        model, paths = load_trained_model(ROOT / "mnist_dnn.h5"), find_pictures([root])
        predict_images(np.zeros((256, 28, 28), "uint8"), model)
        times = time.time(), cpu_seconds()
        collections.deque(predict_files(paths, model), maxlen=0)
        report(*times)
    else:
        times = time.time(), cpu_seconds()
        data = load_bare(root) if way == "bare" else load_image_folders(root)
        report(*times)
        del data


def measure(way, root):
    """Run `child` in a process of its own; return what it reports."""
    cache = Path(root, CACHE)
    if "second" not in way:
        shutil.rmtree(cache, ignore_errors=True)
        cache.unlink(missing_ok=True)
    if way == "memory":
        cache.touch()  # a file in the folder's place
    start = time.time()
    command = [sys.executable, __file__, "--child", way, root]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, *others = json.loads(output.splitlines()[-1])
    return seconds - start * way.startswith("train"), *others


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--train", action="store_true", help="measure the first step as well")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    ways, peaks = [way for way in WAYS if args.train or "train" not in way], {}
    print("| pictures | | seconds | of CPU | pictures/s | peak MB | of it anonymous, at the end |")
    print("|---" * 7 + "|")
    for count in args.images:
        with tempfile.TemporaryDirectory() as root:
            write_folders(root, count)
            rounds = [[measure(way, root) for way in ways] for _ in range(args.rounds)]
        for way, (seconds, used, *memory) in zip(ways, np.median(rounds, axis=0)):
            peak, anonymous = (f"{each / 1024:,.0f}" for each in memory)
            times = f"{seconds:.2f} | {used:.2f} | {count / seconds:,.0f}"
            print(f"| {count:,} | {WAYS[way]} | {times} | {peak} | {anonymous} |", flush=True)
            peaks.setdefault(way, []).append(memory[0] * 1024)
    for way in ways if len(args.images) > 1 else []:
        more = (peaks[way][-1] - peaks[way][0]) / (args.images[-1] - args.images[0])
        print(f"{WAYS[way]}: {more:,.0f} bytes at the peak for each picture more")


if __name__ == "__main__":
    main()
