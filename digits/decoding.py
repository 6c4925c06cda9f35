"""Decode many picture files, and bring the digits in them to MNIST's form."""

import io
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from digits.files import open_picture
from digits.find import NoDigitError, pil_to_mnist
from digits.form import is_normalised

MAX_BYTES = 2**29  # of a file: 50 million pixels of three 16-bit channels take 300 million
Find = Callable[[Image.Image], list[np.ndarray]]


def read_pictures(
    paths: Sequence[str | Path], find: Find
) -> tuple[np.ndarray, list[int], list[str]]:
    """Read picture files, and bring the digits in them to MNIST's form.

    Args:
        paths: of n files.
        find: returns the digits in a picture, each uint8 (28, 28), or raises NoDigitError. Images
            already in MNIST's form are returned unchanged.

    Returns:
        Digits in the order of the files, uint8 (k, 28, 28); the number of digits in each file, n
        ints; and the problem of each file, n sentences, empty if there is none.
    """
    found: list[list[np.ndarray]] = [[] for _ in paths]
    problems, small = [""] * len(paths), {}
    for i, path in enumerate(paths):
        try:
            image = open_file(path)
            if image.mode == "L" and image.size == (28, 28):
                small[i] = image
            else:
                found[i] = find(image)
        except (ValueError, OSError) as error:
            problems[i] = str(error)
    pixels = _stack(map(np.asarray, small.values()))
    for i, image, normalised in zip(small, pixels, is_normalised(pixels)):
        try:
            found[i] = [image] if normalised else find(small[i])
        except NoDigitError as error:
            problems[i] = str(error)
    digits = _stack(digit for each in found for digit in each)
    return digits, [len(each) for each in found], problems


def one_digit(image: Image.Image) -> list[np.ndarray]:
    """Return a list of the one digit in a picture, uint8 (28, 28)."""
    return [pil_to_mnist(image)]


def _stack(pictures):
    """Return any number of pictures as one array, uint8 (n, 28, 28)."""
    return np.array([*pictures], "uint8").reshape(-1, 28, 28)


def open_file(path: str | Path) -> Image.Image:
    """Open a picture file, or a pipe from the shell, as in `<(command)`, but no other pipe.

    Raises:
        ValueError: it is no picture, damaged or too large.
        OSError: it may not be read.
    """
    try:
        status = os.stat(path)
    except OSError:
        return open_picture(path)  # says why
    if status.st_size > MAX_BYTES:
        raise ValueError(f"Expected a file of at most {MAX_BYTES:,} bytes, got {status.st_size:,}")
    mode = status.st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return open_picture(path)
    if not stat.S_ISFIFO(mode) or not str(path).startswith("/dev/"):
        raise ValueError("Expected a picture file, got a pipe, a device or a socket")
    with open(path, "rb") as pipe:
        return open_picture(io.BytesIO(pipe.read(MAX_BYTES)))
