"""People's own pictures, where they are at hand: they are not part of the repository."""

import csv
from pathlib import Path

import pytest
from own_pictures import load, read_all, score

from digits.find import pil_to_mnist
from mnist_dnn import open_picture, predict_digits

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
pytestmark = pytest.mark.skipif(
    not (SHARED / "own-images").exists(), reason="people's own pictures are not here"
)


def test_people_are_read(shipped):
    rows = load(SHARED / "own-images")
    _, answers, _ = read_all(rows, pil_to_mnist, shipped)
    scores = score(rows, answers)
    assert min(scores[key] for key in ("all", "sources", "photos", "drawings")) > 97
    assert scores["all"] < 100 and scores["refused"] <= 5  # 0.5 %


@pytest.mark.parametrize("name", ["01", "05", "09", "11", "13", "15", "19"])
def test_several_digits_are_read(shipped, name):
    with open(SHARED / "multi" / "MANIFEST.csv", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["path"].startswith(name))
    found = predict_digits(open_picture(SHARED / "multi" / row["path"]), shipped)
    written = row["string"].replace("/", "").replace(".", "")
    read = "".join(str(digit) for digit, _, _ in found)
    assert len(read) == len(written)
    assert sum(a == b for a, b in zip(read, written)) / len(read) >= 0.9
