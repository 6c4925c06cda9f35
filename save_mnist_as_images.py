"""Save MNIST as 70,000 PNG files: train/0-9 and test/0-9, named by their index in MNIST.

    python save_mnist_as_images.py [--output-dir mnist_images]

The files load back unchanged: `python mnist_dnn.py --data-dir mnist_images`.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from digits.files import open_picture


def save_as_images(images: np.ndarray, labels: np.ndarray, folder: Path | str) -> int:
    """Save each image as `folder/<label>/<index>.png`; skip files that already hold it.

    Safe to rerun after an interruption: truncated files are rewritten.

    Args:
        images: uint8 (n, 28, 28).
        labels: uint8 (n,), 0-9.
        folder: created if it is missing.

    Returns:
        The number of files written.
    """
    for digit in range(10):
        Path(folder, str(digit)).mkdir(parents=True, exist_ok=True)
    written = 0
    for i, (image, label) in enumerate(zip(images, labels)):
        path = Path(folder, str(label), f"{i:05d}.png")
        if not _holds(path, image):
            Image.fromarray(image).save(path)
            written += 1
        if sys.stdout.isatty() and i % 1000 == 999:
            print(f"\r{folder}: {i + 1:,} of {len(images):,}", end="\r", flush=True)
    return written


def _holds(path, image):
    """Return whether a file holds exactly this image, uint8 (28, 28)."""
    try:
        return path.is_file() and np.array_equal(np.asarray(open_picture(path)), image)
    except ValueError:
        return False


def main(argv: list[str] | None = None) -> None:
    """Save MNIST's training and test images below --output-dir."""
    parser = argparse.ArgumentParser(
        description="Save MNIST as PNG files in train/0-9 and test/0-9.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output-dir", default="mnist_images", metavar="DIR", help="created")
    args = parser.parse_args(argv)
    from mnist_dnn import load_mnist  # here: --help need not wait for TensorFlow

    try:
        for name, (images, labels) in zip(("train", "test"), load_mnist()):
            folder = Path(args.output_dir, name)
            written = save_as_images(images, labels, folder)
            print(f"{folder}: {len(images):,} images, {written:,} of them new")
    except OSError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
