"""Read the digits in any picture: ask for readings of it, and let the digit network choose.

The classical path reads first. Where it finds nothing or several digits, or where the network is
not sure of what it found, the learned finder reads as well, and where the two disagree, the reading
stands that explains more of the ink with more confidence.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from digits.choosing import SURE, WIDE, Box, Digit, Evidence, choose
from digits.decoding import open_file
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

Source = Image.Image | str | Path
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


def _in_rows(digits):
    """Bring digits into reading order; say that there are none, and leave errors as they are."""
    if isinstance(digits, Exception):
        return digits
    if not digits:
        return NoDigitError(NO_DIGIT)
    rows = sort_into_rows(np.array([digit.box for digit in digits], float))
    return [digits[i]._replace(row=number) for number, row in enumerate(rows) for i in row]
