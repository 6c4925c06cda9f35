"""Pictures that people took or drew are read; environment variables name their folders."""

import csv
import os
from pathlib import Path

import pytest

from digits.dense_numpy import load_dense
from digits.files import open_picture
from digits.find import NoDigitError
from digits.reading import as_text, read_digits

ROOT = Path(__file__).parents[1]


def share_read(variable, every=1):
    """Return the share of pictures that are read exactly, of every so many in a folder."""
    if variable not in os.environ:
        pytest.skip(f"{variable} names no folder of pictures")
    folder, predict = Path(os.environ[variable]), load_dense(ROOT / "mnist_dnn.h5")
    with open(folder / "MANIFEST.csv", newline="") as file:
        rows = list(csv.DictReader(file))[::every]
    correct = 0
    for row in rows:
        try:
            text = as_text(read_digits(open_picture(folder / row["path"]), predict))
        except NoDigitError:
            continue
        correct += text.replace("\n", "/") == row["label"]
    return correct / len(rows)


def test_peoples_pictures_are_read():
    assert share_read("DIGITS_OWN_PICTURES", every=10) > 0.96


@pytest.mark.slow
def test_all_peoples_pictures_are_read():
    assert share_read("DIGITS_OWN_PICTURES") > 0.975


@pytest.mark.slow
def test_numbers_are_read():
    assert share_read("DIGITS_NUMBERS") > 0.4
