"""Bring ink to MNIST's form: pen width, size and position. NumPy and Pillow only."""

import numpy as np
from PIL import Image

from digits.morphology import add_margin, bounding_box, slide

MIN_PEN, MAX_PEN = 1.9, 3.8  # width of strokes in MNIST, in pixels of a 20x20 digit
FAINT = 0.2  # ink from 0 to 1: fainter pixels are ignored in a digit's size


def normalise(ink: np.ndarray) -> np.ndarray:
    """Bring ink to MNIST's form: pen width, 20x20 box, centre of mass at (14, 14).

    Args:
        ink: float32 (h, w) in 0-1, 1 where the pen was.

    Returns:
        uint8 (28, 28).
    """
    ink = _fit(_set_pen_width(_crop(ink.astype("float32"))), 20)
    ink = ink / ink.max()
    middle = [np.arange(ink.shape[k]) @ ink.sum(axis=1 - k) / ink.sum() for k in (0, 1)]
    top, left = (min(max(round(14 - m), 0), 28 - n) for m, n in zip(middle, ink.shape))
    out = np.zeros((28, 28), "uint8")
    out[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink * 255)
    return out


def is_normalised(images: np.ndarray) -> np.ndarray:
    """Return which images are in MNIST's form, as all 70,000 images of MNIST are.

    The box of the ink is 19 or 20 pixels long, the ink's centre of mass lies at (14, 14) within
    half a pixel, the brightest pixel is at least 250, and more than half of the pixels are 0.

    Args:
        images: uint8 (n, 28, 28).

    Returns:
        bool (n,).
    """
    left, top, right, bottom = bounding_box(images)
    longest = np.maximum(bottom - top, right - left)
    total = np.maximum(images.sum(axis=(1, 2), dtype="int64"), 1)
    indices = np.arange(28)
    y = images.sum(axis=2, dtype="int64") @ indices / total
    x = images.sum(axis=1, dtype="int64") @ indices / total
    centred = (abs(y - 14) < 0.53) & (abs(x - 14) < 0.53)
    bright = images.max(axis=(1, 2)) >= 250
    black = (images == 0).mean(axis=(1, 2)) > 0.5
    return centred & bright & black & (longest >= 19) & (longest <= 20)


def _crop(ink):
    """Cut off empty margins."""
    left, top, right, bottom = bounding_box(ink > FAINT)
    return ink[top:bottom, left:right]


def _fit(ink, size):
    """Scale so that the longest side is `size` pixels."""
    height, width = (max(1, round(n * size / max(ink.shape))) for n in ink.shape)
    method = Image.Resampling.BOX if size < max(ink.shape) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(ink).resize((width, height), method)).clip(0, 1)


def _set_pen_width(ink):
    """Thicken or thin strokes to the widths of MNIST's pens."""
    padded = add_margin(ink, 2)
    across, down = padded[1:, 1:] - padded[1:, :-1], padded[1:, 1:] - padded[:-1, 1:]
    outline = np.sqrt(across * across + down * down).sum()
    width = 2 * ink.sum() / outline * 20 / max(ink.shape)  # twice the area by the perimeter
    steps = round(2 * max(MIN_PEN - width, width - MAX_PEN, 0))
    if not steps:
        return ink
    large = add_margin(_fit(ink, 80), steps + 1)
    return _crop(slide(large, 2 * steps + 1, np.maximum if width < MIN_PEN else np.minimum))
