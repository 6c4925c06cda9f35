"""Draw digits that look handwritten: training data without a download, and styles MNIST lacks.

Each digit has several templates of strokes in strokes.txt, which a pen follows as a hand does.
"""

import functools
from pathlib import Path

import numpy as np

from digits.pen import BATCH, Templates, draw, follow, load_templates, press

STROKES = Path(__file__).with_name("strokes.txt")


@functools.cache
def digit_templates() -> Templates:
    """Return the templates of all digits; their names are "0" to "9"."""
    return load_templates(STROKES)


@functools.cache
def _styles():
    """Return the indices of each digit's templates, a list of int arrays."""
    return [np.flatnonzero(digit_templates().names == str(digit)) for digit in range(10)]


def pen_paths(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move a pen like a hand that writes these digits.

    Args:
        labels: int (n,), 0-9.
        rng: random generator.

    Returns:
        float32 (n, SAMPLES, 2): x and y, downwards; the digits are about 1 high.
    """
    chosen = np.array([rng.choice(_styles()[label]) for label in labels])
    return follow(digit_templates(), chosen, rng)


def draw_digits(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw digits, equally many of each, in random order.

    Args:
        count: number of images, 784 bytes each.
        seed: the same count and seed give the same images.

    Returns:
        images uint8 (count, 28, 28), ink bright on black, and labels uint8 (count,), 0-9.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation((np.arange(count) % 10).astype("uint8"))
    images = np.empty((count, 28, 28), "uint8")
    for start in range(0, count, BATCH):
        paths = pen_paths(labels[start : start + BATCH], rng)
        images[start : start + BATCH] = draw(paths, press(len(paths), rng))
    return images, labels
