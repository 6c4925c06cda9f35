"""Find handwritten digits in any picture by classical image processing. NumPy and Pillow only.

A photo, scan or drawing becomes 28x28 grey levels, ink bright on black, in these steps:

    upright picture without a screenshot's frame -> contrast of the ink to its paper, without
    shadows and ruled lines -> connected parts -> digits -> pen width, size, position as in MNIST
"""

import contextlib
from typing import NamedTuple

import numpy as np

from digits.budget import require_time
from digits.files import Picture, as_image
from digits.form import is_normalised, normalise
from digits.frame import without_frame
from digits.morphology import grow, quantile
from digits.paper import CANVAS_NOISE, measure_contrast, shrink
from digits.parts import find_parts, group_parts
from digits.pieces import STRIP, cut

Box = tuple[int, int, int, int]

MIN_SIDE = 3  # pixels at working size
SMALL_DIGIT = 40  # pixels at working size: smaller ones are re-examined at higher resolution
INK_LEVEL, INK_SIGMAS = 6, 3  # grey levels, multiples of the noise: any ink exceeds both
INK_SHARES = 0.3, 0.4  # of strong ink's contrast: the ink threshold, first and then on paper
MIN_LEVEL, MIN_SIGMAS = 12, 5.5  # as INK_LEVEL, for a digit's median: fainter ones are dirt
NO_INK, FULL_INK = 0.15, 0.9  # of a digit's median contrast
HEIGHTS = 0.5, 2.0  # of other digits, as multiples of the strongest one's
MIN_STRENGTH = 0.15  # of other digits, likewise
SHADOW = 0.2  # of a digit's longest side: if more pixels touch the border, it is a shadow
NO_DIGIT = "No digit stands out from the background. Use a darker pen, more light or a closer shot."


class Contrast(NamedTuple):
    """How far each pixel lies from the paper.

    Attributes:
        levels: float32 (h, w) in grey levels at working size, ink positive.
        noise: of the paper, sigma in grey levels.
        corner: of the levels, float (2,), in pixels of the upright picture.
        scale: pixels of the levels per pixel of the upright picture.
    """

    levels: np.ndarray
    noise: float
    corner: np.ndarray
    scale: float


class NoDigitError(ValueError):
    """No digit stands out from the background, or several do; the message says what to do."""


def pil_to_mnist(image: Picture) -> np.ndarray:
    """Bring the one digit in a picture to MNIST's form.

    Args:
        image: of any size and mode, light or dark, or an array, see `digits.files.as_image`; it is
            not changed.

    Returns:
        uint8 (28, 28), ink bright on black. Images already in MNIST's form are returned unchanged.

    Raises:
        NoDigitError: there is no digit, or there are several.
    """
    digits = find_digits(image)
    if len(digits) > 1:
        raise NoDigitError(
            f"There seem to be {len(digits)} digits in the picture. Crop it to the one to read."
        )
    return digits[0][0]


def find_digits(image: Picture) -> list[tuple[np.ndarray, Box]]:
    """Find well-separated digits.

    Args:
        image: as for `pil_to_mnist`.

    Returns:
        `(uint8 (28, 28), box)` of each digit in reading order, as `pil_to_mnist` returns it; boxes
        are (left, top, right, bottom) in pixels of the upright picture.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    return examine(image)[0]


def examine(
    image: Picture,
) -> tuple[list[tuple[np.ndarray, Box]], Contrast | None]:
    """Find well-separated digits, and also return the contrast in which they were found.

    Args:
        image: as for `find_digits`.

    Returns:
        The digits as `find_digits` returns them; and the contrast, or None for an image
        already in MNIST's form and for strips and tiny pictures.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    image = as_image(image)
    if image.mode == "L" and image.size == (28, 28):
        pixels, box = np.array(image), image.getbbox()
        if box and is_normalised(pixels[None])[0]:
            return [(pixels, box)], None
    if pieces := cut(image):
        return _examine_pieces(pieces), None
    picture, corner, scale = without_frame(image)
    contrast, noise = _measure(picture)
    inks, found = zip(*_find_ink(picture, contrast, noise))
    boxes = np.array(found) * scale + [*corner, *corner]
    digits = [
        (normalise(inks[i]), tuple(map(round, boxes[i].tolist()))) for i in reading_order(boxes)
    ]
    per_pixel = max(contrast.shape) / max(picture.size) / scale
    return digits, Contrast(contrast, noise, corner, per_pixel)


def _examine_pieces(pieces):
    """Find the digits in the pieces of a picture."""
    digits = []
    for piece, (x, y) in pieces:
        require_time()
        if max(piece.size) > STRIP * min(piece.size):
            raise NoDigitError(NO_DIGIT)
        with contextlib.suppress(NoDigitError):
            found, _ = examine(piece)
            digits += [(pixels, (a + x, b + y, c + x, d + y)) for pixels, (a, b, c, d) in found]
    if not digits:
        raise NoDigitError(NO_DIGIT)
    return digits


def reading_order(boxes: np.ndarray) -> list[int]:
    """Sort boxes into reading order: by rows, then from left to right.

    Args:
        boxes: (n, 4), left, top, right, bottom.

    Returns:
        Indices of the boxes.
    """
    left, top, _, bottom = boxes.T
    middles = (top + bottom) / 2
    rows: list[list[int]] = []
    for i in np.argsort(middles, kind="stable").tolist():
        if rows and middles[i] < bottom[rows[-1]].max():
            rows[-1].append(i)
        else:
            rows.append([i])
    return [i for row in rows for i in sorted(row, key=left.item)]


def _measure(picture):
    """Return contrast and noise at working size; raise NoDigitError if it is too small."""
    small = shrink(picture)
    if min(small.size) < MIN_SIDE:
        raise NoDigitError(NO_DIGIT)
    return measure_contrast(small)


def _find_ink(picture, contrast, noise, near=None):
    """Find the digits in a picture, or what belongs to the one digit in the box `near`.

    Returns:
        A list of `(ink float32 (h, w) in 0-1, box float (4,) in pixels of the picture)`; this box
        and `near` are (left, top, right, bottom).
    """
    scale = max(picture.size) / max(contrast.shape)
    digits = []
    for mask, box in _candidates(contrast, noise, None if near is None else near / scale):
        require_time()
        try:
            if near is None and scale > 1 and max(box[2:] - box[:2]) < SMALL_DIGIT:
                digits += _look_closer(picture, box * scale)
            else:
                digits.append((_take_ink(contrast, noise, mask, box), box * scale))
        except NoDigitError:
            if not digits:  # weaker candidates will not be digits either
                raise
    return digits


def _candidates(contrast, noise, near):
    """Look for digits; on paper once more, at a level set by the strongest of them."""
    floor = max(INK_SIGMAS * noise, INK_LEVEL)
    ink = contrast > floor
    if not ink.any():
        raise NoDigitError(NO_DIGIT)
    for share in INK_SHARES if noise >= CANVAS_NOISE else INK_SHARES[:1]:
        level = share * quantile(contrast[ink], 0.9)
        digits = _separate(contrast, contrast > max(floor, level), near)
        ink = digits[0][0]
    return digits


def _separate(contrast, mask, near):
    """Return the strongest digit, and those about as tall and as strong: `(mask, box)` each."""
    labels, parts = find_parts(contrast, mask)
    if near is not None:
        overlaps = (parts.boxes - near[[2, 3, 0, 1]]) * [1, 1, -1, -1] < 0
        parts = parts.select(overlaps.all(axis=1))
    if not parts.labels.size:
        raise NoDigitError(NO_DIGIT)
    groups = group_parts(parts)
    heights = [box[3] - box[1] for _, box in groups]
    strengths = [parts.strengths[group].sum() for group, _ in groups]
    return [
        (np.logical_or.reduce([labels == label for label in parts.labels[group]]), box)
        for (group, box), height, strength in zip(groups, heights, strengths)
        if HEIGHTS[0] < height / heights[0] < HEIGHTS[1] and strength / strengths[0] > MIN_STRENGTH
    ]


def _look_closer(picture, box):
    """Look for the digit in a box at higher resolution, with half its longest side around it."""
    margin = 0.5 * max(box[2:] - box[:2]) * np.array([-1, -1, 1, 1])
    frame = (box + margin).clip(0, [*picture.size, *picture.size]).astype(int)
    corner = np.tile(frame[:2], 2)
    crop = picture.crop(tuple(frame))
    contrast, noise = _measure(crop)
    close = _find_ink(crop, contrast, noise, near=box - corner)
    return [(ink, found + corner) for ink, found in close]


def _take_ink(contrast, noise, mask, box):
    """Turn the contrast in and around a digit's box into ink: 0 on paper, 1 where the pen pressed.

    Raises:
        NoDigitError: it is dirt, near the noise, or a shadow, which runs along the border.
    """
    level = quantile(contrast[mask], 0.5)
    left, top, right, bottom = box
    touching = np.count_nonzero(mask) - np.count_nonzero(mask[1:-1, 1:-1])
    shadow = noise >= CANVAS_NOISE and touching > SHADOW * max(right - left, bottom - top)
    if shadow or level < max(MIN_SIGMAS * noise, MIN_LEVEL):
        raise NoDigitError(NO_DIGIT)
    low = max(NO_INK * level, 2 * noise)
    around = slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1)
    return ((contrast[around] - low) / (FULL_INK * level - low)).clip(0, 1) * grow(mask[around])
