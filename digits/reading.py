"""Read the digits in any picture: ask for readings of it, and let the digit network choose.

The classical path reads first. Where it finds nothing or several digits, or where the network is
not sure of what it found, the learned finder reads as well, and where the two disagree, the reading
that explains more of the ink with more confidence wins.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from digits.choosing import SURE, WIDE, Digit, Evidence, choose, without_strays
from digits.decoding import open_file
from digits.files import Picture, as_image
from digits.find import NO_DIGIT, Box, NoDigitError, examine, without_frame
from digits.finder import detect, find_learned
from digits.finder_network import load_weights, look
from digits.paper import CANVAS_NOISE
from digits.rows import sort_into_rows

DOUBT = 0.8  # confidence below which an answer is in doubt
GLANCE = 128  # pixels: longest side at which the finder looks for overlooked ink
MIN_CANVAS_INK = 0.95  # of the ink on a canvas: if digits hold less, there may be others
MAX_CANVAS = 0.5  # of a canvas's area: what covers more may be a frame
MIN_INK = 0.8  # of a photo's ink: if a digit holds less, there is something else
MIN_SIZE = 0.6  # of a digit's longest side: if the finder's box is shorter, they disagree
EVIDENCE = 512  # pixels: longest side of the map of ink by which readings are compared

Source = Image.Image | str | Path
Predict = Callable[[np.ndarray], np.ndarray]  # uint8 (n, 28, 28), ink bright, to float32 (n, 10)
Reading = list[tuple[np.ndarray, Box]]  # (28x28, box) of each digit
Row = tuple[str | Path, str, str, str, str]  # path, digits, confidence, doubt, problem


def read_digits(image: Picture, predict: Predict) -> list[Digit]:
    """Read every digit in a picture.

    Args:
        image: of any size and mode, light or dark, or an array, see `digits.files.as_image`; it is
            not changed.
        predict: the digit network, from uint8 (n, 28, 28), ink bright, to float32 (n, 10).

    Returns:
        The digits in reading order: row by row, from left to right.

    Raises:
        NoDigitError: no digit stands out from the background.
        TypeError: it is neither a PIL image nor an array of grey levels or RGB.
    """
    ((digits,),) = read_chunks([[as_image(image)]], predict)
    if isinstance(digits, Exception):
        try:
            raise digits
        finally:
            del digits  # else the error and this frame, with the picture, would keep each other
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
        For each chunk a list: the digits of each picture, or the error that it raised.
    """
    chunks, tasks = itertools.tee(chunks)
    begun = (
        (chunk, *_first_answers(readings, predict))
        for chunk, readings in zip(chunks, run(_first_readings, tasks))
    )
    waiting, begun_too = itertools.tee(begun)
    doubtful = ([chunk[i] for i in doubts] for chunk, _, doubts in begun_too)
    for (_, answers, doubts), found in zip(waiting, run(_learned_readings, doubtful)):
        readings, evidence = zip(*found) if found else ((), ())
        for (i, agreed), second, seen in zip(doubts.items(), _answer(readings, predict), evidence):
            answers[i] = choose(answers[i], second, seen, agreed) if seen else second or answers[i]
        yield [_in_rows(digits) for digits in answers]


def read_files(
    paths: Iterable[str | Path], predict: Predict, batch_size: int = 64, run: Callable = map
) -> Iterator[list[Row]]:
    """Read picture files, batch by batch.

    Args:
        paths: file names.
        predict: as for `read_digits`; it gets all digits of a batch at once.
        batch_size: files in a batch.
        run: as for `read_chunks`.

    Yields:
        For each batch a list of `(path, digits, confidence, doubt, problem)`: the digits in reading
        order, rows separated by a space; the confidence of the least certain of them, and where
        that is below DOUBT, "perhaps no digit"; or else what is wrong with the file.
    """
    paths = iter(paths)
    batches, tasks = itertools.tee(iter(lambda: list(itertools.islice(paths, batch_size)), []))
    for batch, digits in zip(batches, read_chunks(tasks, predict, run)):
        yield [_row(path, each) for path, each in zip(batch, digits)]


def _row(path, digits):
    if isinstance(digits, Exception):
        return path, "", "", "", str(digits)
    confidence = min(digit.confidence for digit in digits)
    doubt = "perhaps no digit" if confidence < DOUBT else ""
    return path, as_text(digits).replace("\n", " "), f"{confidence:.4f}", doubt, ""


def _first_answers(readings, predict):
    """Return the answers to first readings; and of each that is to be read again, its index and
    whether the finder agreed at a glance.
    """
    answers = _answer([reading for reading, _ in readings], predict)
    pairs = zip(answers, [agreed for _, agreed in readings])
    return answers, {i: pair[1] for i, pair in enumerate(pairs) if _is_doubtful(*pair)}


def _first_readings(sources):
    return [first_reading(source) for source in sources]


def _learned_readings(sources):
    return [learned_reading(source) for source in sources]


def as_text(digits: Sequence[Digit]) -> str:
    """Write digits as text, a line for each row."""
    rows = itertools.groupby(digits, key=lambda digit: digit.row)
    return "\n".join("".join(str(digit.probabilities.argmax()) for digit in row) for _, row in rows)


def first_reading(source: Source) -> tuple[Reading | Exception, bool | None]:
    """Find digits by the classical path.

    Returns:
        The reading, empty if there is no digit, or the error if there is no picture; and whether
        nothing was overlooked, see `_is_all`, None if the learned finder is not to be asked.
    """
    asks = load_weights() is not None
    try:
        image = _opened(source)
        reading, contrast = examine(image)
    except NoDigitError:
        return [], False if asks else None
    except (ValueError, OSError) as error:
        return error, None
    if contrast is None or not asks:
        return reading, None
    return reading, _is_all(image, contrast, [box for _, box in reading])


def learned_reading(source: Source) -> tuple[Reading | Exception, Evidence | None]:
    """Find digits by the learned finder.

    If a picture cannot be opened again, because it came from a pipe, nothing is found.

    Returns:
        The reading, and where the finder sees ink; or the error if there are too many digits.
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


def _is_all(image, contrast, boxes):
    """Return whether the learned finder, at a glance, sees the same digit and no other ink.

    On a canvas without noise the classical path is exact: there it is enough that the boxes hold
    all ink, are not too wide, and lie within the canvas.
    """
    if contrast.noise <= CANVAS_NOISE:
        ink = Evidence(contrast.levels.clip(0), contrast.corner, contrast.scale)
        shares = sum(ink.share_in(box) for box in boxes)
        if shares > MIN_CANVAS_INK and all(_is_within(box, image) for box in boxes):
            return True
    if len(boxes) > 1:
        return False
    (box,) = boxes
    width, height = np.subtract(box[2:], box[:2])
    picture, corner, size = without_frame(image)
    detected = detect(look(picture.convert("RGB"), GLANCE / max(picture.size)))
    ink = Evidence(detected.view.ink, corner, detected.view.scale / size)
    longest = (detected.boxes[:, 2:] - detected.boxes[:, :2]).max(axis=1) * size
    one = len(longest) == 1 and longest[0] > MIN_SIZE * max(width, height)
    return bool(one and ink.share_in(box) > MIN_INK)


def _is_within(box, canvas):
    """Return whether a box is not too wide, and no frame around the canvas."""
    width, height = np.subtract(box[2:], box[:2])
    return (
        width < WIDE * height
        and width * height < MAX_CANVAS * canvas.width * canvas.height
        and min(box[:2]) > 0
    )


def _rounded(box):
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    return left, top, right, bottom


def _opened(source):
    return source if isinstance(source, Image.Image) else open_file(source)


def _answer(readings, predict):
    """Classify the digits of many readings; return errors unchanged."""
    found = [digit for reading in readings if isinstance(reading, list) for digit in reading]
    probabilities = iter(predict(np.stack([pixels for pixels, _ in found])) if found else ())
    return [
        reading
        if isinstance(reading, Exception)
        else [Digit(pixels, next(probabilities), box) for pixels, box in reading]
        for reading in readings
    ]


def _is_doubtful(digits, agreed):
    return agreed is not None and not (agreed and min(digit.confidence for digit in digits) >= SURE)


def _in_rows(digits):
    """Sort digits into reading order; return a NoDigitError if there are none."""
    if isinstance(digits, Exception):
        return digits
    if not digits:
        return NoDigitError(NO_DIGIT)
    rows = sort_into_rows(np.array([digit.box for digit in digits], float))
    digits = [digits[i]._replace(row=number) for number, row in enumerate(rows) for i in row]
    return without_strays(digits) or NoDigitError(NO_DIGIT)
