"""Find the labels of pictures in the names of folders and files, or in a CSV file."""

import csv
import os
import re
from pathlib import Path

import numpy as np

WORDS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
PREFIX = r"(?:digit|class|label|number|num)[ _-]*"
COLUMNS = (
    ("path", "file", "filename", "file_name", "image", "picture", "name"),
    (*("label", "digit", "class", "target"),),
)
PIXELS = "Expected rows of path,label in {}, got rows of pixels: see docs/scaling.md"

Files = tuple[list[str], np.ndarray]  # n paths, and labels uint8 (n,), sorted by digit


def label_of(folder: str) -> int | None:
    """Return the digit that a folder's name stands for, if any: 3, digit_3, three or Sample004.

    Source: in Chars74K, Sample001 to Sample010 hold the digits 0 to 9, the others letters.
    """
    name = folder.lower()
    if name in WORDS:
        return WORDS.index(name)
    if sample := re.fullmatch(r"sample(\d{3})", name):
        number = int(sample[1]) - 1
        return number if 0 <= number <= 9 else None
    digit = re.fullmatch(rf"(?:{PREFIX})?([0-9])", name)
    return int(digit[1]) if digit else None


def label_in(file: str) -> int | None:
    """Return the digit that a file's name begins with, if any, as in 3_12.png or digit3-a.jpg."""
    digit = re.match(rf"(?:{PREFIX})?([0-9])(?![0-9])", file.lower())
    return int(digit[1]) if digit else None


def sort_by_digit(paths: list[str], labels: list[int]) -> Files:
    """Return paths and labels as arrays are expected: sorted by digit, else in the same order."""
    order = np.argsort(labels, kind="stable")
    return [paths[i] for i in order], np.array(labels, "uint8")[order]


def read_labels(file: Path, problems: list[str]) -> Files:
    """Read a CSV file of paths, relative to its folder, and labels, with or without a header.

    Args:
        file: its header may name a path, file or image, and a label, digit or class.
        problems: gets a sentence for what cannot be used.

    Raises:
        ValueError: a row has too few columns, or holds pixels, or it is no text.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            if opened.readline().count(",") >= 784:
                raise ValueError(PIXELS.format(file))
            opened.seek(0)
            rows = [row for row in csv.reader(opened) if row]
        first, second = _columns(rows[0]) if rows else (0, 1)
        pairs = [(row[first].strip(), row[second].strip()) for row in rows]
    except (UnicodeDecodeError, csv.Error, IndexError) as error:
        raise ValueError(f"Expected rows of path,label in {file}: {error}") from error
    if pairs and not re.fullmatch("[0-9]+", pairs[0][1]):
        pairs = pairs[1:]  # the header
    others = sorted({label for _, label in pairs if label not in tuple("0123456789")})
    if others:
        problems.append(f"{file.name}: expected labels 0 to 9, got {', '.join(others[:5])} as well")
    paths, labels = [], []
    for path, label in pairs:
        if label in others:
            continue
        if (file.parent / path).is_file():
            paths.append(os.path.join(file.parent, path))
            labels.append(int(label))
        else:
            problems.append(f"{path}: there is no such file")
    return sort_by_digit(paths, labels)


def _columns(header):
    """Return the indices of path and label: the first and the second unless the header says."""
    names = [cell.strip().lower() for cell in header]
    found = [[i for i, name in enumerate(names) if name in known] for known in COLUMNS]
    return (found[0][0], found[1][0]) if all(found) else (0, 1)
