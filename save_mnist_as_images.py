"""Save MNIST as 70,000 PNG files: train/0-9 and test/0-9, named by their place in MNIST.

    python save_mnist_as_images.py [--output-dir mnist_images]

The files load back bit for bit: `python mnist_dnn.py --data-dir mnist_images`.
"""

import argparse
import os
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from mnist_dnn import load_mnist, open_picture


def save_as_images(images, labels, folder):
    """Save each picture as `folder/<label>/<index>.png`; leave files that hold it as they are.

    An interrupted run can simply be run again: what it left, whole or torn, is put right.

    Args:
        images, labels: uint8 (n, 28, 28) and (n,), labels 0-9.
        folder: path, made where it is missing.

    Returns:
        The number of files written.
    """
    for digit in range(10):
        Path(folder, str(digit)).mkdir(parents=True, exist_ok=True)
    written, progress = 0, keras.utils.Progbar(len(images), unit_name="picture")
    for i, (image, label) in enumerate(zip(images, labels)):
        path = f"{folder}/{label}/{i:05d}.png"
        if not _holds(path, image):
            _save(image, path)
            written += 1
        if i % 1000 == 999 or i == len(images) - 1:
            progress.update(i + 1)
    return written


def _holds(path, image):
    """Tell whether a file holds a picture, uint8 (28, 28), bit for bit."""
    if not os.path.exists(path):
        return False
    try:
        return np.array_equal(open_picture(path), image)
    except ValueError:
        return False


def _save(image, path):
    """Save a picture, and leave nothing behind if it is interrupted."""
    try:
        Image.fromarray(image).save(path)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def main(argv=None):
    """Save MNIST's training and test pictures below --output-dir."""
    parser = argparse.ArgumentParser(
        description="Save MNIST as PNG files in train/0-9 and test/0-9.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output-dir", default="mnist_images", metavar="DIR", help="where to")
    args = parser.parse_args(argv)
    try:
        parts = dict(zip(("train", "test"), load_mnist()))
        for name, (images, labels) in parts.items():
            folder = Path(args.output_dir, name)
            written = save_as_images(images, labels, folder)
            print(f"{folder}: {len(images):,} pictures, {written:,} of them new")
    except OSError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
