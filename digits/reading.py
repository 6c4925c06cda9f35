"""Read the digits in any picture: ask for readings of it, and let the digit network choose.

The classical path reads first. Where it finds nothing or several digits, or where the network is
not sure of what it found, the learned finder reads as well, and where the two disagree, the reading
stands that explains more of the ink with more confidence.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from digits.cores import in_processes
from digits.files import open_picture, upright
from digits.find import NO_DIGIT, NoDigitError, find_digits, inside_frame
from digits.finder import find_learned
from digits.finder_network import load_weights
from digits.rows import sort_into_rows

SURE = 0.9  # confidence from which the first reading of one digit stands
DOUBT = 0.8  # confidence below which an answer is in doubt
DIGIT = 0.5  # confidence that a digit needs which only the learned finder found
SEEN = 0.05  # share of its box that the finder must see as ink, for one that it did not find
SAME = 0.3  # share of the smaller of two boxes that the other covers: they are about the same ink
EVIDENCE = 512  # pixels: longest side of the map of ink by which readings are compared
BATCH = 1024  # pictures that are read together

Box = tuple[int, int, int, int]
Predict = Callable[[np.ndarray], np.ndarray]
Reading = list[tuple[np.ndarray, np.ndarray]]  # (28x28, box) of each digit


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
        scale: pixels of the map to a pixel of the upright picture.
    """

    ink: np.ndarray
    corner: np.ndarray
    scale: float

    def within(self, box: Box) -> tuple[slice, slice]:
        """Return the part of the map that a box covers."""
        left, top = np.floor((np.array(box[:2]) - self.corner) * self.scale).clip(0).astype(int)
        right, bottom = np.ceil((np.array(box[2:]) - self.corner) * self.scale).clip(0).astype(int)
        return slice(top, bottom), slice(left, right)


def read_digits(image: Image.Image, predict: Predict) -> list[Digit]:
    """Read every digit in a picture.

    Args:
        image: of any size and mode, light or dark; it is not changed.
        predict: the digit network, from uint8 (n, 28, 28), ink bright, to float32 (n, 10).

    Returns:
        The digits in reading order: row by row, from left to right.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    (digits,) = _read_all([image], predict, map)
    if isinstance(digits, Exception):
        raise digits
    return digits


def read_files(
    paths: Iterable[str], predict: Predict
) -> Iterator[tuple[str, list[Digit] | ValueError]]:
    """Read the digits in many picture files: all cores find them, whole batches are predicted.

    Args:
        paths: of the pictures.
        predict: as for `read_digits`; it runs in this process.

    Yields:
        Each path with its digits, or with the error: a NoDigitError, or the ValueError that says
        why the file cannot be read.
    """
    paths = iter(paths)
    while batch := list(itertools.islice(paths, BATCH)):
        yield from zip(batch, _read_all(batch, predict, in_processes))


def as_text(digits: Sequence[Digit]) -> str:
    """Write digits as text, a line for each row."""
    rows = itertools.groupby(digits, key=lambda digit: digit.row)
    return "\n".join(
        "".join(str(digit.probabilities.argmax()) for digit in row) for _, row in rows
    )


def _read_all(sources, predict, run):
    """Read pictures or files; `run` is `map`, or another function that does the same.

    Returns:
        For each source its digits, or the error.
    """
    answers = _answer(list(run(first_reading, sources)), predict)
    doubtful = [i for i, digits in enumerate(answers) if _is_doubtful(digits)]
    if doubtful and load_weights():
        readings, evidence = zip(*run(learned_reading, [sources[i] for i in doubtful]))
        for i, digits, seen in zip(doubtful, _answer(readings, predict), evidence):
            answers[i] = choose(answers[i], digits, seen)
    return [_in_rows(digits) for digits in answers]


def first_reading(source: Image.Image | str) -> Reading | ValueError:
    """Find digits by the classical path: none where it refuses, an error where there is no picture."""
    try:
        return find_digits(_opened(source))
    except NoDigitError:
        return []
    except ValueError as error:
        return error


def learned_reading(source: Image.Image | str) -> tuple[Reading, Evidence]:
    """Find digits by the learned finder, and say where it sees ink."""
    image = _opened(source)
    picture = upright(image)
    size = max(image.size) / max(picture.size)
    picture, corner = inside_frame(picture)
    found, view = find_learned(picture.convert("RGB"))
    boxes = [np.rint((box + corner) * size).astype(int) for _, box in found]
    factor = -(-max(view.ink.shape) // EVIDENCE)
    ink = np.asarray(Image.fromarray(view.ink).reduce(factor))
    evidence = Evidence(ink, corner[:2] * size, view.scale / factor / size)
    return [(pixels, box) for (pixels, _), box in zip(found, boxes)], evidence


def _opened(source):
    return source if isinstance(source, Image.Image) else open_picture(source)


def _answer(readings, predict):
    """Let the network say what the digits of many readings are; errors stay what they are."""
    found = [digit for reading in readings if isinstance(reading, list) for digit in reading]
    probabilities = iter(predict(np.stack([pixels for pixels, _ in found])) if found else ())
    return [
        reading
        if isinstance(reading, ValueError)
        else [
            Digit(pixels, next(probabilities), tuple(map(int, box))) for pixels, box in reading
        ]
        for reading in readings
    ]


def _is_doubtful(digits):
    if isinstance(digits, ValueError):
        return False
    return len(digits) != 1 or digits[0].confidence < SURE


def choose(first: list[Digit], second: list[Digit], evidence: Evidence) -> list[Digit]:
    """Choose between two readings, wherever they differ.

    Args:
        first: of the classical path.
        second: of the learned finder.
        evidence: where there is ink.

    Returns:
        The digits that stand, in no order.
    """
    if len(first) < 2 <= len(second) and np.mean([digit.confidence for digit in second]) < SURE:
        return first
    chosen = []
    for old, new in _rivals(first, second):
        if old and new:
            both = _explained(old, evidence), _explained(new, evidence)
            chosen += old if both[0] >= both[1] else new
        elif old and (not second or evidence.ink[evidence.within(old[0].box)].mean() > SEEN):
            chosen += old
        elif new and new[0].confidence > DIGIT:
            chosen += new
    return chosen or first


def _rivals(first, second):
    """Gather the digits of two readings that are about the same ink: pairs of lists."""
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
    """Return which share of the smaller of each two boxes both cover: float (n, n)."""
    corners = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (corners[1] - corners[0]).clip(0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.minimum(areas[:, None], areas).clip(1)


def _explained(digits, evidence):
    """Return how much ink lies in the boxes of digits, weighted by the confidence in these."""
    confidence = np.zeros_like(evidence.ink)
    for digit in sorted(digits, key=lambda digit: digit.confidence):
        confidence[evidence.within(digit.box)] = digit.confidence
    return float((confidence * evidence.ink).sum())


def _in_rows(digits):
    """Bring digits into reading order; say that there are none, and leave errors as they are."""
    if isinstance(digits, ValueError):
        return digits
    if not digits:
        return NoDigitError(NO_DIGIT)
    rows = sort_into_rows(np.array([digit.box for digit in digits], float))
    return [digits[i]._replace(row=number) for number, row in enumerate(rows) for i in row]
