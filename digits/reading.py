"""Read the digits in any picture: find them, and let the digit network say what they are."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from digits.find import find_digits

Box = tuple[int, int, int, int]
DOUBT = 0.8  # confidence below which an answer is doubtful


def read_digits(
    image: Image.Image, predict: Callable[[np.ndarray], np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, Box]]:
    """Read every digit in a picture.

    Args:
        image: of any size and mode, light or dark; it is not changed.
        predict: the digit network, from uint8 (n, 28, 28), ink bright, to float32 (n, 10).

    Returns:
        For each digit in reading order: its 28x28 in MNIST's form, uint8; its ten probabilities,
        float32 (10,); and its box (left, top, right, bottom) in pixels of the upright picture.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    pictures, boxes = zip(*find_digits(image))
    return list(zip(pictures, predict(np.stack(pictures)), boxes))
