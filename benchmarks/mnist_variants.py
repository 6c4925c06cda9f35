"""Measure that MNIST stays MNIST: its test images as they are, and as pictures of other kinds.

python benchmarks/mnist_variants.py [--model mnist_dnn.h5]
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.find import NoDigitError, pil_to_mnist
from mnist_dnn import load_mnist, load_trained_model, predict_images


def off_centre(image):
    sheet = Image.new("L", (200, 200))
    sheet.paste(image, (131, 17))
    return sheet


def as_jpeg(image):
    file = io.BytesIO()
    image.resize((280, 280), Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
    return Image.open(file)


VARIANTS = {
    "as they are": lambda image: image,
    "inverted": lambda image: Image.eval(image, lambda value: 255 - value),
    "ten times larger": lambda image: image.resize((280, 280), Image.Resampling.BICUBIC),
    "off centre": off_centre,
    "JPEG": as_jpeg,
}


def find(picture):
    """Return a picture's digit in MNIST's form; none at all where it is refused."""
    try:
        return pil_to_mnist(picture)
    except NoDigitError:
        return np.zeros((28, 28), "uint8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    model = load_trained_model(parser.parse_args().model)
    _, (images, labels) = load_mnist()
    print("| MNIST's test images | accuracy |\n|---|---|")
    for name, variant in {"raw arrays": None, **VARIANTS}.items():
        found = images
        if variant:
            found = np.stack([find(variant(Image.fromarray(image))) for image in images])
        correct = predict_images(found, model).argmax(axis=1) == labels
        print(f"| {name} | {(correct & found.any(axis=(1, 2))).mean():.2%} |", flush=True)


if __name__ == "__main__":
    main()
