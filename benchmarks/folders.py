"""Measure how fast MNIST is saved as PNG files and loaded back, compared with bare Pillow.

    python benchmarks/folders.py [--images 20000] [--rounds 3]

Ours and bare Pillow take turns in one run; compare the ratio of the medians.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from mnist_dnn import load_image_folders, load_mnist
from save_mnist_as_images import save_as_images


def save_bare(images, labels, folder):
    for i, (image, label) in enumerate(zip(images, labels)):
        Image.fromarray(image).save(f"{folder}/{label}/{i:05d}.png")


def load_bare(folder):
    images = []
    for path in sorted(folder.glob("*/*.png")):
        with Image.open(path) as image:
            images.append(np.asarray(image))
    return np.stack(images)


def seconds(function, *arguments):
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function(*arguments)
    return time.perf_counter() - start


def one_round(images, labels):
    """Return seconds for: save bare, save ours, load bare, load ours."""
    with tempfile.TemporaryDirectory() as folder:
        bare, ours = Path(folder, "bare"), Path(folder, "ours")
        for digit in range(10):
            (bare / str(digit)).mkdir(parents=True)
        times = [seconds(save_bare, images, labels, bare)]
        times.append(seconds(save_as_images, images, labels, ours / "train"))
        save_as_images(images[:10], labels[:10], ours / "test")
        times.append(seconds(load_bare, bare))
        times.append(seconds(load_image_folders, ours))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    (images, labels), _ = load_mnist()
    rounds = [one_round(images[: args.images], labels[: args.images]) for _ in range(args.rounds)]
    save_pillow, save_ours, load_pillow, load_ours = args.images / np.median(rounds, axis=0)
    print("| images per second | bare Pillow | ours | ratio |\n|---|---|---|---|")
    for name, bare, ours in (
        ("save as PNG", save_pillow, save_ours),
        ("load", load_pillow, load_ours),
    ):
        print(f"| {name} | {bare:,.0f} | {ours:,.0f} | {ours / bare:.2f} |")


if __name__ == "__main__":
    main()
