"""Measure that MNIST stays MNIST: its test images as they are, and as pictures of other kinds.

python benchmarks/mnist_variants.py [--model mnist_dnn.h5]
"""

import argparse

import numpy as np
from own_pictures import ROOT, read_all
from paper import VARIANTS
from PIL import Image

from digits.find import pil_to_mnist
from mnist_dnn import load_mnist, load_trained_model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    model = load_trained_model(parser.parse_args().model)
    _, (images, labels) = load_mnist()
    kinds = {**dict.fromkeys(("raw arrays", "as they are"), lambda image: image), **VARIANTS}
    print("| MNIST's test images | read right |\n|---|---|")
    for name, dress in kinds.items():
        rows = [{"image": dress(Image.fromarray(image))} for image in images]
        recipe = np.asarray if name == "raw arrays" else pil_to_mnist
        _, answers, _ = read_all(rows, recipe, model)
        print(f"| {name} | {(answers == labels).mean():.2%} |", flush=True)


if __name__ == "__main__":
    main()
