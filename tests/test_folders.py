import os
import re
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_folders
from PIL import Image

from digits.folders import load_image_folders, stratified_split
from digits.labels import label_in, label_of

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_normalised_pictures_come_back_identical(folders, digits):
    (x_train, y_train), (x_test, y_test) = load_image_folders(folders)
    order = np.argsort(digits[1][:300], kind="stable")  # folders are read digit by digit
    assert np.array_equal(x_train, digits[0][:300][order])
    assert np.array_equal(y_train, digits[1][:300][order])
    assert len(x_test) == len(y_test) == 100


@pytest.mark.parametrize("ending", ["jpg", "webp", "bmp", "gif", "tiff"])
def test_large_inverted_pictures_are_normalised(tmp_path, digits, ending):
    images = [255 - np.kron(image, np.ones((5, 5), "uint8")) for image in digits[0][:20]]
    save_folders(tmp_path, images, digits[1][:20], ending)
    with pytest.warns(UserWarning, match="held out"):
        (x_train, _), (x_test, _) = load_image_folders(tmp_path)
    assert len(x_train) + len(x_test) == 20
    assert x_train[:, 0].max() < 60 < 250 < x_train.max()


def test_without_a_test_folder_every_digit_is_held_out(folders):
    with pytest.warns(UserWarning, match="there is no test folder: 43 pictures are held out"):
        _, (_, y_test) = load_image_folders(folders / "train")
    assert set(y_test) == set(range(10))


def test_unusable_files_are_named_together(folders):
    (folders / "train" / "3" / "notes.txt").write_text("not a picture")
    (folders / "train" / "4" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (50, 50), 255).save(folders / "test" / "5" / "blank.png")
    Image.new("L", (28, 28), 255).save(folders / "test" / "5" / "blank_28x28.png")
    (folders / "train" / "eleven").mkdir()
    with pytest.warns(UserWarning) as caught:
        (x_train, _), (x_test, _) = load_image_folders(folders)
    text = str(caught.pop().message)
    assert not caught.list and len(x_train) == 300 and len(x_test) == 100
    assert all(
        name in text
        for name in ("notes.txt", "broken.png", "blank.png", "blank_28x28.png", "eleven")
    )


def test_loading_leaves_no_file_behind(folders):
    before = sorted(folders.rglob("*"))
    load_image_folders(folders)
    assert sorted(folders.rglob("*")) == before


def test_a_missing_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(FileNotFoundError, match=f"There is no such folder: .*{name}"):
            load_image_folders(tmp_path / name)


def test_a_folder_without_digits_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected pictures to train on in"):
        load_image_folders(tmp_path)


def test_missing_digits_are_named(folders):
    shutil.rmtree(folders / "train" / "3")
    for path in (folders / "train" / "7").iterdir():
        path.write_text("not a picture")
    shutil.rmtree(folders / "test" / "5")
    with pytest.warns(UserWarning) as caught:
        load_image_folders(folders)
    lines = str(caught.pop().message).splitlines()
    assert lines[-2:] == [
        "  no usable picture to train on of 3, 7",
        "  no usable picture to test on of 5",
    ]


@needs_posix
def test_what_is_no_file_of_the_folder_is_named_and_never_waited_for(folders, tmp_path_factory):
    threes, outside = folders / "train" / "3", tmp_path_factory.mktemp("outside")
    picture = next(threes.iterdir())
    shutil.copy(picture, outside / "a.png")
    os.mkfifo(threes / "pipe.png")
    (threes / "out.png").symlink_to(outside / "a.png")
    (threes / "zero.png").symlink_to("/dev/zero")
    (threes / "nothing.png").symlink_to("nowhere")
    (threes / "folder.png").mkdir()
    (threes / "inside.png").symlink_to(picture)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(threes / "socket.png"))
        with pytest.warns(UserWarning) as caught:
            (x_train, _), _ = load_image_folders(folders)
    named = re.findall(r"train/3/(\w+)\.png", str(caught.pop().message))
    assert named == ["folder", "nothing", "out", "pipe", "socket", "zero"]
    assert len(x_train) == 301


@needs_posix
@pytest.mark.parametrize("name", ["test", "train/3"])
def test_a_folder_that_is_a_link_out_is_named_and_not_read(folders, tmp_path_factory, name):
    moved = shutil.move(folders / name, tmp_path_factory.mktemp("outside") / "moved")
    (folders / name).symlink_to(moved)
    if name == "test":
        with pytest.raises(FileNotFoundError, match="test: a link that leaves the folder"):
            load_image_folders(folders)
    else:
        with pytest.warns(UserWarning, match="train/3: a link that leaves the folder"):
            load_image_folders(folders)


def test_the_named_folder_itself_may_be_a_link(folders, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folders)
    assert len(load_image_folders(link)[0][0]) == 300


def test_a_file_that_is_far_too_large_is_named_and_not_read(folders):
    with open(folders / "train" / "3" / "huge.png", "wb") as file:
        file.truncate(2**40)  # sparse: it takes no room
    with pytest.warns(UserWarning, match=r"huge\.png: Expected a file of at most"):
        load_image_folders(folders)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="this user may read everything"
)
def test_a_file_that_may_not_be_read_is_named(folders):
    next((folders / "train" / "3").iterdir()).chmod(0)
    with pytest.warns(UserWarning, match="Permission denied"):
        (x_train, _), _ = load_image_folders(folders)
    assert len(x_train) == 299


def test_nothing_to_test_on_is_refused(folders):
    (folders / "alone" / "3").mkdir(parents=True)
    shutil.copy(next((folders / "train" / "3").iterdir()), folders / "alone" / "3")
    with pytest.raises(FileNotFoundError, match="two pictures or more of a digit"):
        load_image_folders(folders / "alone")


def test_the_split_gives_every_digit_its_share():
    labels = np.repeat(np.arange(10, dtype="uint8"), 60)  # sorted, as folders are
    kept, held_out = stratified_split(labels, 1 / 6, seed=0)
    assert np.bincount(labels[held_out]).tolist() == [10] * 10
    assert sorted([*kept, *held_out]) == list(range(600))


def test_the_split_leaves_rare_digits_to_training():
    kept, held_out = stratified_split(np.array([0, 1, 1], "uint8"), 0.5, seed=0)
    assert 0 in kept and len(held_out) == 1


def test_the_held_out_pictures_follow_the_seed(folders):
    with pytest.warns(UserWarning, match="held out"):
        first, again, other = (load_image_folders(folders / "train", seed=i) for i in (0, 0, 1))
    assert np.array_equal(first[1][0], again[1][0])
    assert not np.array_equal(first[1][0], other[1][0])
    assert len({image.tobytes() for images, _ in first for image in images}) == 300


def memory(name):
    """Return a figure from this process's status in bytes."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_a_picture_takes_little_more_than_its_784_bytes(tmp_path, digits):
    save_folders(tmp_path / "train", *digits)
    for path in list(tmp_path.rglob("*.png")):
        for i in range(100):
            os.link(path, path.with_name(f"{path.stem}_{i:07d}.png"))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory("VmRSS")
    with pytest.warns(UserWarning, match="held out"):
        (x_train, _), (x_test, _) = load_image_folders(tmp_path)
    grown = (memory("VmHWM") - before) / 40_400
    assert len(x_train) + len(x_test) == 40_400 and grown < 1300


NAMES = {
    "3": 3, "digit_3": 3, "Digit 7": 7, "class-0": 0, "three": 3, "Zero": 0, "Sample001": 0,
    "Sample010": 9, "Sample011": None, "10": None, "eleven": None, "3a": None, "train": None,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_stands_for_the_digit_that_it_names(name):
    assert label_of(name) == NAMES[name]


FILES = {
    "3_12.png": 3,
    "3.jpg": 3,
    "7-a.png": 7,
    "digit5_01.png": 5,
    "12.png": None,
    "a3.png": None,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_by_its_digit(name):
    assert label_in(name) == FILES[name]


def label_files(root, names):
    """Rename the pictures of `root/train/0-9`; names(digit, number) is a path below root."""
    for path in list((root / "train").rglob("*.png")):
        new = root / names(int(path.parent.name), path.stem)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)
    shutil.rmtree(root / "train")


LAYOUTS = {
    "digit_3": lambda digit, number: f"digit_{digit}/{number}.png",
    "3_12.png": lambda digit, number: f"{digit}_{number}.png",
}


def load(root):
    with pytest.warns(UserWarning) as caught:
        data = load_image_folders(root)
    return data, str(caught.pop().message)


@pytest.mark.parametrize("name", ["digit_3", "3_12.png"])
def test_other_layouts_load_the_same_pictures(folders, name):
    (x_train, y_train), _ = load_image_folders(folders)
    label_files(folders, LAYOUTS[name])
    ((x, y), (_, y_test)), text = load(folders)
    assert np.array_equal(x, x_train) and np.array_equal(y, y_train) and len(y_test) == 100
    assert text.count("labels are taken from the") == 1 and "is 0, and so on" in text


def test_training_and_testing_are_read_like_train_and_test(folders):
    before = load_image_folders(folders)
    for part in "train", "test":
        (folders / part).rename(folders / f"{part}ing")
    for data, expected in zip(load_image_folders(folders), before):
        assert np.array_equal(data[0], expected[0]) and np.array_equal(data[1], expected[1])


def test_a_file_of_labels_loads_the_same_pictures(folders):
    before, _ = load_image_folders(folders)
    paths = sorted((folders / "train").rglob("*.png"))
    rows = [f"{path.relative_to(folders).as_posix()},{path.parent.name}" for path in paths]
    extra = ["train/0/missing.png,0", "notes.txt,10"]
    (folders / "labels.csv").write_text("\n".join(["image,digit", *rows, *extra]))
    (train, test), text = load(folders / "labels.csv")
    assert {image.tobytes() for images, _ in (train, test) for image in images} == {
        image.tobytes() for image in before[0]
    }
    assert "expected labels 0 to 9, got 10 as well" in text
    assert "train/0/missing.png: there is no such file" in text and "held out" in text


def test_a_file_without_labels_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("a.png\nb.png\n")
    with pytest.raises(ValueError, match="Expected rows of path,label in"):
        load_image_folders(tmp_path / "labels.csv")


def test_a_file_of_pixels_is_refused(tmp_path):
    names = ",".join(f"pixel{i}" for i in range(784))
    (tmp_path / "train.csv").write_text(f"label,{names}\n")  # as Kaggle has it
    with pytest.raises(ValueError, match=r"got rows of pixels: see docs/scaling\.md"):
        load_image_folders(tmp_path / "train.csv")
