"""Read the digits in any picture: ask for readings of it, and let the digit network choose.

The classical path reads first. Where it finds nothing or several digits, or where the network is
not sure of what it found, the learned finder reads as well, and where the two disagree, the reading
stands that explains more of the ink with more confidence.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from digits.choosing import SURE, WIDE, Box, Digit, Evidence, choose
from digits.cores import in_processes
from digits.files import open_picture
from digits.find import NO_DIGIT, NoDigitError, examine, without_frame
from digits.finder import detect, find_learned
from digits.finder_network import load_weights, look
from digits.paper import CANVAS_NOISE
from digits.rows import sort_into_rows

DOUBT = 0.8  # confidence below which an answer is in doubt
GLANCE = 128  # pixels: longest side at which the finder looks for ink that was overlooked
ALL = 0.95  # of the ink on a canvas: where a digit holds less, there is another
FILLED = 0.5  # of a canvas: what takes more of it may be a frame
MOST = 0.8  # of the ink: where a digit holds less, there is something else
ALIKE = 0.6  # of a digit's longest side: where the finder's box is shorter, they do not agree
EVIDENCE = 512  # pixels: longest side of the map of ink by which readings are compared
BATCH = 1024  # pictures that are read together

Predict = Callable[[np.ndarray], np.ndarray]
Reading = list[tuple[np.ndarray, Box]]  # (28x28, box) of each digit


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
    return "\n".join("".join(str(digit.probabilities.argmax()) for digit in row) for _, row in rows)


def _read_all(sources, predict, run):
    """Read pictures or files; `run` is `map`, or another function that does the same.

    Returns:
        For each source its digits, or the error.
    """
    readings, explained = zip(*run(first_reading, sources))
    answers = _answer(readings, predict)
    doubtful = [i for i, answer in enumerate(answers) if _is_doubtful(answer, explained[i])]
    if doubtful and load_weights():
        readings, evidence = zip(*run(learned_reading, [sources[i] for i in doubtful]))
        for i, answer, seen in zip(doubtful, _answer(readings, predict), evidence):
            answers[i] = choose(answers[i], answer, seen) if isinstance(answer, list) else answer
    return [_in_rows(digits) for digits in answers]


def first_reading(source: Image.Image | str) -> tuple[Reading | ValueError, bool]:
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
    except ValueError as error:
        return error, True
    return reading, len(reading) == 1 and _agrees(image, contrast, reading[0][1])


def learned_reading(source: Image.Image | str) -> tuple[Reading | ValueError, Evidence | None]:
    """Find digits by the learned finder, and say where it sees ink; or that there are too many."""
    picture, corner, size = without_frame(_opened(source))
    try:
        found, view = find_learned(picture.convert("RGB"))
    except NoDigitError as error:
        return error, None
    boxes = [_rounded(box * size + np.tile(corner, 2)) for _, box in found]
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
    return bool(one and ink.share_in(box) > MOST)


def _rounded(box):
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    return left, top, right, bottom


def _opened(source):
    return source if isinstance(source, Image.Image) else open_picture(source)


def _answer(readings, predict):
    """Let the network say what the digits of many readings are; errors stay what they are."""
    found = [digit for reading in readings if isinstance(reading, list) for digit in reading]
    probabilities = iter(predict(np.stack([pixels for pixels, _ in found])) if found else ())
    return [
        reading
        if isinstance(reading, ValueError)
        else [Digit(pixels, next(probabilities), box) for pixels, box in reading]
        for reading in readings
    ]


def _is_doubtful(digits, explained):
    if isinstance(digits, ValueError):
        return False
    return len(digits) != 1 or digits[0].confidence < SURE or not explained


def _in_rows(digits):
    """Bring digits into reading order; say that there are none, and leave errors as they are."""
    if isinstance(digits, ValueError):
        return digits
    if not digits:
        return NoDigitError(NO_DIGIT)
    rows = sort_into_rows(np.array([digit.box for digit in digits], float))
    return [digits[i]._replace(row=number) for number, row in enumerate(rows) for i in row]
