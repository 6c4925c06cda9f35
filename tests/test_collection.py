"""What people correct is kept in folders, and nowhere else."""

import os

import numpy as np
import pytest

from digits import collection
from digits.collection import LABELS, Collection, FullError
from digits.files import open_picture
from digits.synthetic import draw_digits


@pytest.fixture(scope="module")
def pictures():
    return draw_digits(20, seed=3)[0]


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(("label", "folder"), [("7", "train/7"), ("none", "nondigits")])
def test_a_picture_is_kept_in_the_folder_of_its_label(tmp_path, pictures, label, folder):
    kept = Collection(tmp_path / "my_digits").keep(pictures[0], label)
    assert kept.parent.as_posix() == folder
    assert files(tmp_path) == [f"my_digits/{kept.as_posix()}"]  # and nothing beside it
    assert np.array_equal(open_picture(tmp_path / "my_digits" / kept), pictures[0])


def test_the_same_picture_is_kept_once_with_the_label_given_last(tmp_path, pictures):
    kept = [Collection(tmp_path).keep(pictures[0], label) for label in (*LABELS, "1", "7", "7")]
    assert files(tmp_path) == [kept[-1].as_posix()] and kept[-1].parts[:2] == ("train", "7")
    assert len({path.name for path in kept}) == 1


def test_a_full_folder_takes_no_more(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(collection, "MAX_PICTURES", 3)
    (tmp_path / "notes.txt").write_text("counts as well")
    keeper = Collection(tmp_path)
    for picture in pictures[:2]:
        keeper.keep(picture, "1")
    with pytest.raises(FullError, match="full"):
        keeper.keep(pictures[2], "1")
    keeper.keep(pictures[1], "1")  # is there already
    monkeypatch.setattr(collection, "MAX_PICTURES", 100)
    monkeypatch.setattr(collection, "MAX_BYTES", 100)
    with pytest.raises(FullError, match="full"):
        keeper.keep(pictures[2], "1")
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("link", ["train", "train/7"])
def test_links_do_not_lead_out_of_the_folder(tmp_path, pictures, link):
    outside, root = tmp_path / "outside", tmp_path / "my_digits"
    for folder in (outside, root / "train"):
        folder.mkdir(parents=True)
    if link == "train":
        (root / "train").rmdir()
    try:
        os.symlink(outside, root / link)
    except OSError:
        pytest.skip("links cannot be made here")
    with pytest.raises(OSError, match="leaves"):
        Collection(root).keep(pictures[0], "7")
    assert files(outside) == []
