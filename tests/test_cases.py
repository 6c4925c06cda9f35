"""Small pictures from bug reports, if the environment variable DIGITS_CASES names their folder."""

import csv
import os
from pathlib import Path

import pytest

from digits.dense_numpy import load_dense
from digits.files import open_picture
from digits.find import NoDigitError
from digits.finder_network import load_weights
from digits.reading import as_text, read_digits

CASES = os.environ.get("DIGITS_CASES")
pytestmark = pytest.mark.skipif(not CASES, reason="DIGITS_CASES names no folder")


def pictures():
    """Return the pictures of the manifest and what must be read: digits, or "refused"."""
    if not CASES:
        return []
    with open(Path(CASES, "MANIFEST.csv"), newline="") as file:
        rows = [(row["path"], row["right"]) for row in csv.DictReader(file)]
    return [
        (path, right) for path, right in rows if right.isdigit() or path.endswith((".png", ".jpg"))
    ]


@pytest.mark.parametrize(("path", "right"), pictures())
def test_picture_is_read_right(path, right):
    if not load_weights():
        pytest.skip("digits/finder.npz is not here")
    predict = load_dense(Path(__file__).parents[1] / "mnist_dnn.h5")
    try:
        digits = as_text(read_digits(open_picture(Path(CASES, path)), predict))
    except NoDigitError:
        digits = "refused"
    assert digits == right
