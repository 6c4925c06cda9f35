"""Read the digits in many picture files and write them as CSV."""

import contextlib
import csv
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras

from digits.cores import in_processes
from digits.decoding import open_file
from digits.files import find_pictures
from digits.networks import predict_images
from digits.reading import Row, read_files

HEADER = "picture", "digits", "confidence", "doubt", "problem"
EXPLAINED = 20  # pictures drawn by --explain, at most


def predict_files(
    paths: Iterable[str | Path], model: keras.Model, batch_size: int = 64
) -> Iterator[list[Row]]:
    """Read picture files: all cores find the digits, and the network reads a batch at once.

    Args:
        paths: file names; for each core, two batches of them are held at a time.
        model: as for `predict_images`.
        batch_size: files in a batch.

    Yields:
        For each batch the rows of its files, see `digits.reading.read_files`.
    """
    return read_files(paths, lambda images: predict_images(images, model), batch_size, in_processes)


def write_table(names: list[str], model: keras.Model, explained: str | None = None) -> int:
    """Print the digits in pictures as CSV, batch by batch.

    Args:
        names: of files and folders.
        model: as for `predict_images`.
        explained: PNG to draw the first pictures in, with what was found in them.

    Returns:
        The exit status: 1 if a picture could not be read.
    """
    table = sys.stdout
    if hasattr(table, "reconfigure"):  # a file may have any name; a notebook has its own stream
        table.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # keep the progress bar out of the table
            failed = _write_rows(table, names, model)
            if explained:
                _explain(names, model, explained)
        return int(failed)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), table.fileno())  # Python flushes it at exit
        return 1


def _write_rows(table, names, model):
    """Write the rows; return whether one has a problem."""
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(HEADER)
    shows_progress = sys.stderr.isatty() and not table.isatty()
    total = sum(1 for _ in find_pictures(names)) if shows_progress else 0
    progress, failed = keras.utils.Progbar(total, unit_name="picture"), False
    for rows in predict_files(find_pictures(names), model):
        writer.writerows((safe_cell(path), *others) for path, *others in rows)
        table.flush()
        if total > len(rows):
            progress.add(len(rows))
        failed = failed or any(problem for *_, problem in rows)
    return failed


def safe_cell(name: str | Path) -> str:
    """Return a file name that no spreadsheet runs as a formula, and that stays on one line."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: ascii(found[0])[1:-1], str(name))
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _explain(names, model, output):
    """Draw the first pictures, where Matplotlib is installed."""
    pictures = {}
    for path in itertools.islice(find_pictures(names), EXPLAINED):
        with contextlib.suppress(ValueError, OSError):  # the table says what is wrong with it
            pictures[path] = open_file(path)
    if not pictures:
        return
    try:
        from digits.plots import plot_explanations
    except ImportError:
        print(f"No {output}: it needs Matplotlib (python -m pip install matplotlib)")
        return
    plot_explanations(pictures, model).savefig(output, dpi=120)
    print(f"Saved {output}")
