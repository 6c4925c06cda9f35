"""Choose between two readings of a picture: the better one explains more ink, more surely."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from digits.find import Box
from digits.morphology import bounding_box

SURE = 0.9  # confidence at which a first reading of one digit is accepted
DIGIT = 0.5  # confidence that one of several digits needs, unless those beside it are sure
FAINT = 0.3  # confidence that a digit needs which is level with a sure one, and as tall
SEEN = 0.1  # of a digit's ink: the finder, which missed it, must see at least this much
SAME = 0.3  # of the smaller of two boxes: if the other covers more, they share their ink
INSIDE = 0.1  # of the ink: if less lies away from the box's sides, it may be a frame
WIDE = 1.4  # of its height: a digit that is wider may be several


class Digit(NamedTuple):
    """A digit that was read.

    Attributes:
        pixels: uint8 (28, 28), in MNIST's form.
        probabilities: float32 (10,).
        box: left, top, right and bottom in pixels of the upright picture.
        row: number of its row, from 0 at the top.
    """

    pixels: np.ndarray
    probabilities: np.ndarray
    box: Box
    row: int = 0

    @property
    def confidence(self) -> float:
        return float(self.probabilities.max())


class Evidence(NamedTuple):
    """Where the learned finder sees ink of digits.

    Attributes:
        ink: float32 (h, w) in 0-1.
        corner: of the map, in pixels of the upright picture.
        scale: pixels of the map per pixel of the upright picture.
    """

    ink: np.ndarray
    corner: np.ndarray
    scale: float

    def within(self, box: Box) -> tuple[slice, slice]:
        """Return the part of the map that a box covers."""
        left, top = np.floor((np.array(box[:2]) - self.corner) * self.scale).clip(0).astype(int)
        right, bottom = np.ceil((np.array(box[2:]) - self.corner) * self.scale).clip(0).astype(int)
        return slice(top, bottom), slice(left, right)

    def share_in(self, box: Box) -> float:
        """Return the share of the ink that a box holds."""
        return float(self.ink[self.within(box)].sum() / max(self.ink.sum(), 1e-6))


def choose(
    first: list[Digit], second: list[Digit], evidence: Evidence, agreed: bool = False
) -> list[Digit]:
    """Choose between two readings, wherever they differ.

    Args:
        first: of the classical path.
        second: of the learned finder.
        evidence: where there is ink.
        agreed: whether the first reading overlooked nothing: the finder, at a glance, saw its one
            digit and no other, or it holds all ink on a canvas.

    Returns:
        The chosen digits, in no particular order.
    """
    single = len(first) == 1 and not _is_frame(first[0])
    alone = single and (agreed or first[0].confidence >= SURE)
    if single and agreed and first[0].confidence < DIGIT:
        parts = [digit for digit in second if digit.confidence > DIGIT]
        if len(parts) < 2 and not _is_frame(first[0], parts):
            return first
    unsure = len(second) > 1 and np.mean([digit.confidence for digit in second]) < SURE
    if len(first) < 2 and unsure and not alone:
        return first
    kept = alone or (single and not second and first[0].confidence > DIGIT)
    chosen = []
    for old, new in _rivals(first, second):
        if old and new:
            both = _explained(old, evidence), _explained(new, evidence)
            chosen += old if both[0] >= both[1] else new
        elif old:
            sure = agreed and old[0].confidence >= SURE
            chosen += old if kept or sure or _is_seen(old[0], evidence) else []
        elif not alone or _is_beside(new[0], first[0], agreed):
            chosen += new
    return chosen


def without_strays(digits: list[Digit]) -> list[Digit]:
    """Drop those of several digits that are hardly any: letters, dirt, lines.

    An odd one between others that are sure is kept: it is part of a number, and in doubt.

    Args:
        digits: with their rows.
    """
    if len(digits) < 2:
        return digits
    kept = []
    for digit in digits:
        others = [each.confidence for each in digits if each.row == digit.row and each is not digit]
        if digit.confidence > DIGIT or (others and np.mean(others) > SURE):
            kept.append(digit)
    return kept


def _is_beside(new, digit, agreed):
    """Return whether there is a second digit beside one that seemed to be alone."""
    lowest, highest = sorted(each.box[3] - each.box[1] for each in (new, digit))
    shared = min(new.box[3], digit.box[3]) - max(new.box[1], digit.box[1])
    level = shared > lowest / 2 and highest < 2 * lowest
    return new.confidence > (FAINT if level and not agreed else SURE)


def _rivals(first, second):
    """Group the digits of two readings that share the same ink: yield pairs of lists."""
    digits = [*first, *second]
    group = np.arange(len(digits))
    boxes = np.array([digit.box for digit in digits]).reshape(-1, 4)
    for i, j in np.argwhere(np.triu(_shared(boxes) > SAME, 1)):
        group[group == group[j]] = group[i]
    for number in np.unique(group):
        inside = np.flatnonzero(group == number)
        yield (
            [digits[i] for i in inside if i < len(first)],
            [digits[i] for i in inside if i >= len(first)],
        )


def _shared(boxes):
    """Return the overlap of each two boxes, as a share of the smaller one: float (n, n)."""
    left_top = np.maximum(boxes[:, None, :2], boxes[:, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (right_bottom - left_top).clip(0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.minimum(areas[:, None], areas).clip(1)


def _explained(digits, evidence):
    """Return the ink that digits cover, weighted by the confidence in them."""
    confidence = np.zeros_like(evidence.ink)
    for digit in digits:
        width, height = np.subtract(digit.box[2:], digit.box[:2])
        sure = digit.confidence * min(1, WIDE * height / max(width, 1))
        here = confidence[evidence.within(digit.box)]
        np.maximum(here, sure * _cover(digit, here.shape), out=here)
    return float((confidence * evidence.ink).sum())


def _is_seen(digit, evidence):
    """Return whether the finder sees ink where a digit's ink is."""
    ink = evidence.ink[evidence.within(digit.box)]
    cover = _cover(digit, ink.shape)
    return (ink * cover).sum() > SEEN * cover.sum()


def _is_frame(digit, within=()):
    """Return whether a digit as wide as tall has its ink along the sides of its box, but for that
    of the digits within it.
    """
    size = width, height = np.subtract(digit.box[2:], digit.box[:2])
    cover = _cover(digit, (16, 16))
    for part in within:
        corners = np.subtract(part.box, np.tile(digit.box[:2], 2)) / np.tile(size, 2)
        left, top, right, bottom = np.rint(16 * corners.clip(0, 1)).astype(int)
        cover[top:bottom, left:right] = 0
    inside = cover[3:-3, 3:-3].sum() < INSIDE * cover.sum()
    return inside and 0.5 < width / max(height, 1) < 2


def _cover(digit, shape):
    """Return where in its box a digit's ink is, slightly thickened: float32 (h, w) in 0-1."""
    if not digit.pixels.any() or 0 in shape:
        return np.zeros(shape, "float32")
    left, top, right, bottom = bounding_box(digit.pixels > 0)
    ink = Image.fromarray(digit.pixels[top:bottom, left:right]).filter(ImageFilter.MaxFilter(3))
    return np.asarray(ink.resize(shape[::-1], Image.Resampling.BILINEAR), "float32") / 255
