"""Read the digits in any picture: ask for readings of it, and let the digit network choose.

The classical path reads first. Where it finds nothing or several digits, or where the network is
not sure of what it found, the learned finder reads as well, and where the two disagree, the reading
stands that explains more of the ink with more confidence.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from digits.decoding import open_file
from digits.find import NO_DIGIT, NoDigitError, examine, without_frame
from digits.finder import detect, find_learned
from digits.finder_network import load_weights, look
from digits.morphology import bounding_box
from digits.paper import CANVAS_NOISE
from digits.rows import sort_into_rows

SURE = 0.9  # confidence from which the first reading of one digit stands
DOUBT = 0.8  # confidence below which an answer is in doubt
DIGIT = 0.5  # confidence that a digit needs which only the learned finder found
SEEN = 0.1  # of its ink that the finder must see as ink too, for a digit that it did not find
SAME = 0.3  # share of the smaller of two boxes that the other covers: they are about the same ink
GLANCE = 128  # pixels: longest side at which the finder looks for ink that was overlooked
ALL = 0.95  # of the ink on a canvas: where a digit holds less, there is another
FILLED = 0.5  # of a canvas: what takes more of it may be a frame
WIDE = 1.4  # of its height: a digit that is wider may be several
MOST = 0.8  # of the ink: where a digit holds less, there is something else
ALIKE = 0.6  # of a digit's longest side: where the finder's box is shorter, they do not agree
EVIDENCE = 512  # pixels: longest side of the map of ink by which readings are compared

Box = tuple[int, int, int, int]
Source = Image.Image | str | Path
Predict = Callable[[np.ndarray], np.ndarray]
Reading = list[tuple[np.ndarray, Box]]  # (28x28, box) of each digit


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

    def share_in(self, box: Box) -> float:
        """Return the share of the ink that a box holds."""
        return float(self.ink[self.within(box)].sum() / max(self.ink.sum(), 1e-6))


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
    ((digits,),) = read_chunks([[image]], predict)
    if isinstance(digits, Exception):
        raise digits
    return digits


def read_chunks(
    chunks: Iterable[Sequence[Source]], predict: Predict, run: Callable = map
) -> Iterator[list[list[Digit] | Exception]]:
    """Read the digits in many pictures, one chunk of them after the other.

    Args:
        chunks: of pictures, or of paths; only as many are held as `run` asks for.
        predict: as for `read_digits`; it gets all digits of a chunk at once.
        run: `run(function, tasks)` yields what the function returns for each task, in their order,
            as `map` and `digits.cores.in_processes` do.

    Yields:
        For each chunk a list: for each picture its digits, or what is wrong with it.
    """
    chunks, tasks = itertools.tee(chunks)
    begun = (
        (chunk, *_first_answers(readings, predict))
        for chunk, readings in zip(chunks, run(_first_readings, tasks))
    )
    waiting, begun_too = itertools.tee(begun)
    doubtful = ([chunk[i] for i in indices] for chunk, _, indices in begun_too)
    for (_, answers, indices), found in zip(waiting, run(_learned_readings, doubtful)):
        readings, evidence = zip(*found) if found else ((), ())
        for i, second, seen in zip(indices, _answer(readings, predict), evidence):
            answers[i] = choose(answers[i], second, seen) if seen else second or answers[i]
        yield [_in_rows(digits) for digits in answers]


def _first_answers(readings, predict):
    """Return the answers to first readings, and the indices of those to be read again."""
    answers = _answer([reading for reading, _ in readings], predict)
    explained = [each for _, each in readings]
    if not load_weights():
        return answers, []
    return answers, [i for i, each in enumerate(answers) if _is_doubtful(each, explained[i])]


def _first_readings(sources):
    return [first_reading(source) for source in sources]


def _learned_readings(sources):
    return [learned_reading(source) for source in sources]


def as_text(digits: Sequence[Digit]) -> str:
    """Write digits as text, a line for each row."""
    rows = itertools.groupby(digits, key=lambda digit: digit.row)
    return "\n".join("".join(str(digit.probabilities.argmax()) for digit in row) for _, row in rows)


def first_reading(source: Source) -> tuple[Reading | Exception, bool]:
    """Find digits by the classical path.

    Returns:
        The reading, empty where there is no digit, or the error where there is no picture; and
        whether it is one digit, and the learned finder agrees.
    """
    try:
        image = _opened(source)
        reading, contrast = examine(image)
    except NoDigitError:
        return [], False
    except (ValueError, OSError) as error:
        return error, True
    return reading, len(reading) == 1 and _agrees(image, contrast, reading[0][1])


def learned_reading(source: Source) -> tuple[Reading | Exception, Evidence | None]:
    """Find digits by the learned finder, and say where it sees ink; or that there are too many.

    Where a picture cannot be opened again, since it came from a pipe, nothing is found.
    """
    try:
        picture, corner, size = without_frame(_opened(source))
    except (ValueError, OSError):
        return [], None
    try:
        found, view = find_learned(picture.convert("RGB"))
    except NoDigitError as error:
        return error, None
    boxes = [
        tuple(np.rint(box * size + np.tile(corner, 2)).astype(int).tolist()) for _, box in found
    ]
    factor = -(-max(view.ink.shape) // EVIDENCE)
    ink = np.asarray(Image.fromarray(view.ink).reduce(factor))
    evidence = Evidence(ink, corner, view.scale / factor / size)
    return [(pixels, box) for (pixels, _), box in zip(found, boxes)], evidence


def _agrees(image, contrast, box):
    """Tell whether the learned finder, at a glance, sees the same digit and no other ink.

    On a canvas without noise the classical path is exact: there it is enough that the box holds
    all ink, is not too wide, and lies within the canvas.
    """
    if contrast is None or not load_weights():
        return True
    width, height = np.subtract(box[2:], box[:2])
    if contrast.noise <= CANVAS_NOISE:
        ink = Evidence(contrast.levels.clip(0), contrast.corner, contrast.scale)
        within = width * height < FILLED * image.width * image.height and min(box[:2]) > 0
        if ink.share_in(box) > ALL and width < WIDE * height and within:
            return True
    picture, corner, size = without_frame(image)
    sight = detect(look(picture.convert("RGB"), GLANCE / max(picture.size)))
    ink = Evidence(sight.view.ink, corner, sight.view.scale / size)
    longest = (sight.boxes[:, 2:] - sight.boxes[:, :2]).max(axis=1) * size
    one = len(longest) == 1 and longest[0] > ALIKE * max(width, height)
    return one and ink.share_in(box) > MOST


def _opened(source):
    return source if isinstance(source, Image.Image) else open_file(source)


def _answer(readings, predict):
    """Let the network say what the digits of many readings are; errors stay what they are."""
    found = [digit for reading in readings if isinstance(reading, list) for digit in reading]
    probabilities = iter(predict(np.stack([pixels for pixels, _ in found])) if found else ())
    return [
        reading
        if isinstance(reading, Exception)
        else [Digit(pixels, next(probabilities), box) for pixels, box in reading]
        for reading in readings
    ]


def _is_doubtful(digits, explained):
    if isinstance(digits, Exception):
        return False
    return len(digits) != 1 or digits[0].confidence < SURE or not explained


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
    alone = len(first) == 1 and first[0].confidence >= SURE
    chosen = []
    for old, new in _rivals(first, second):
        if old and new:
            both = _explained(old, evidence), _explained(new, evidence)
            chosen += old if both[0] >= both[1] else new
        elif old and (alone or _is_seen(old[0], evidence)):
            chosen += old
        elif new and new[0].confidence > (SURE if alone else DIGIT):
            chosen += new
    return chosen


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
    left_top = np.maximum(boxes[:, None, :2], boxes[:, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (right_bottom - left_top).clip(0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.minimum(areas[:, None], areas).clip(1)


def _explained(digits, evidence):
    """Return how much ink digits cover, weighted by the confidence in them."""
    confidence = np.zeros_like(evidence.ink)
    for digit in digits:
        width, height = np.subtract(digit.box[2:], digit.box[:2])
        sure = digit.confidence * min(1, WIDE * height / max(width, 1))
        here = confidence[evidence.within(digit.box)]
        np.maximum(here, sure * _cover(digit, here.shape), out=here)
    return float((confidence * evidence.ink).sum())


def _is_seen(digit, evidence):
    """Tell whether the finder sees ink where a digit's ink is."""
    ink = evidence.ink[evidence.within(digit.box)]
    cover = _cover(digit, ink.shape)
    return (ink * cover).sum() > SEEN * cover.sum()


def _cover(digit, shape):
    """Return where in its box a digit's ink is, float32 (h, w) in 0-1, a little widened."""
    if not digit.pixels.any() or 0 in shape:
        return np.zeros(shape, "float32")
    left, top, right, bottom = bounding_box(digit.pixels > 0)
    ink = Image.fromarray(digit.pixels[top:bottom, left:right]).filter(ImageFilter.MaxFilter(3))
    return np.asarray(ink.resize(shape[::-1], Image.Resampling.BILINEAR), "float32") / 255


def _in_rows(digits):
    """Bring digits into reading order; say that there are none, and leave errors as they are."""
    if isinstance(digits, Exception):
        return digits
    if not digits:
        return NoDigitError(NO_DIGIT)
    rows = sort_into_rows(np.array([digit.box for digit in digits], float))
    return [digits[i]._replace(row=number) for number, row in enumerate(rows) for i in row]
