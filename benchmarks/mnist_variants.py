"""Measure that MNIST stays MNIST: its test images as they are, and as pictures of other kinds.

python benchmarks/mnist_variants.py [--model mnist_dnn.h5]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from paper import VARIANTS

from mnist_dnn import load_mnist, load_trained_model, predict_images
from pil_to_mnist import NoDigitError, pil_to_mnist


def normalise(pictures):
    """Return uint8 (n, 28, 28); what is refused stays black."""
    pixels = np.zeros((len(pictures), 28, 28), "uint8")
    for i, picture in enumerate(pictures):
        try:
            pixels[i] = pil_to_mnist(picture)
        except NoDigitError:
            continue
    return pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    model = load_trained_model(parser.parse_args().model)
    _, (images, labels) = load_mnist()
    print("| MNIST's test images | read right |\n|---|---|")
    for name, dress in {"raw arrays": None, "as they are": lambda image: image, **VARIANTS}.items():
        pictures = [Image.fromarray(image) for image in images]
        pixels = normalise([dress(picture) for picture in pictures]) if dress else images
        accuracy = (predict_images(pixels, model).argmax(axis=1) == labels).mean()
        print(f"| {name} | {accuracy:.2%} |", flush=True)


if __name__ == "__main__":
    main()
