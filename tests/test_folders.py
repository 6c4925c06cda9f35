import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import save_folders
from PIL import Image

from digits.cores import ProcessEndedError
from digits.folders import CACHE, load_image_folders, stratified_split

needs_posix = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows does not remove what is mapped, nor tell all changes"
)


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


def test_a_folder_without_digits_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected pictures in"):
        load_image_folders(tmp_path)
    assert not list(tmp_path.iterdir())


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


# The cache


def same(data, others):
    pairs = zip([*data[0], *data[1]], [*others[0], *others[1]])
    return all(np.array_equal(a, b) for a, b in pairs)


def load_afresh(root, elsewhere):
    """Load what is in `root` from a copy that has no cache."""
    shutil.copytree(root, elsewhere, ignore=shutil.ignore_patterns(CACHE))
    return load_image_folders(elsewhere)


def test_the_second_load_is_identical_and_decodes_nothing(folders, monkeypatch):
    first = load_image_folders(folders)
    monkeypatch.setattr(folders, "open_picture", None)
    assert same(load_image_folders(folders), first)


def test_the_split_is_kept_and_follows_its_seed(folders, monkeypatch):
    with pytest.warns(UserWarning, match="held out"):
        first, again, other = (load_image_folders(folders / "train", seed=i) for i in (0, 0, 1))
    assert same(first, again) and not same(first, other)
    pictures = {image.tobytes() for images, _ in first for image in images}
    assert len(pictures) == 300


def replace_unseen(path):
    """Put another picture of the same size and time in a file's place, as `cp -p` may."""
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda path: shutil.copy(path.parents[2] / "test/3" / path.name, path),
        lambda path: shutil.copy(path, path.with_name("more.png")),
        lambda path: path.unlink(),
        lambda path: path.rename(path.with_name("z.png")),
        lambda path: path.rename(path.parents[1] / "4" / "new.png"),
        lambda path: path.write_text("no picture"),
        pytest.param(replace_unseen, marks=needs_posix),
    ],
    ids=["changed", "added", "removed", "renamed", "moved", "broken", "same size and time"],
)
def test_a_changed_folder_is_noticed(folders, tmp_path_factory, change):
    path = sorted((folders / "train" / "3").iterdir())[0]
    shutil.copy(sorted((folders / "test" / "3").iterdir())[0], folders / "test" / "3" / path.name)
    load_image_folders(folders)
    before = [file.name for file in (folders / CACHE).iterdir()]
    change(path)
    fresh = load_afresh(folders, tmp_path_factory.mktemp("copy") / "again")
    assert same(load_image_folders(folders), fresh)
    after = [file.name for file in (folders / CACHE).iterdir()]
    assert len(before) == 1 and len(after) == 2 and before[0] in after
    os.utime(folders / CACHE / before[0], (0, 0))  # by then no other process uses it any more
    load_image_folders(folders)
    assert [file.name for file in (folders / CACHE).iterdir()] == list(set(after) - set(before))


def test_another_decoder_is_noticed(folders, monkeypatch):
    load_image_folders(folders)
    monkeypatch.setattr("PIL.__version__", "99")
    monkeypatch.setattr(folders, "open_picture", None)
    with pytest.raises(TypeError):
        load_image_folders(folders)


def test_the_second_load_names_unusable_files_too(folders):
    (folders / "train" / "3" / "notes.txt").write_text("not a picture")
    messages = []
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"3.notes\.txt: Expected a PNG") as caught:
            load_image_folders(folders)
        messages.append(str(caught.pop().message))
    assert messages[0] == messages[1]


def test_a_killed_start_leaves_no_cache(folders, tmp_path_factory):
    code = """if True:
        import sys, time, picture_folders as module
        real = module.open_picture
        module._open_in_one_go = lambda path: time.sleep(99) if "n/9" in path else real(path)
        module.load_image_folders(sys.argv[1])"""
    process = subprocess.Popen([sys.executable, "-c", code, folders], cwd=Path(__file__).parents[1])
    while not any(file.stat().st_size for file in folders.glob(f"{CACHE}/*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    (torn,) = (folders / CACHE).iterdir()
    fresh = load_afresh(folders, tmp_path_factory.mktemp("copy") / "again")
    assert same(load_image_folders(folders), fresh)
    assert torn.exists()  # it could be another process's
    os.utime(torn, (0, 0))
    assert same(load_image_folders(folders), fresh)
    assert not torn.exists() and len(list((folders / CACHE).iterdir())) == 1


def test_a_file_that_may_not_be_read_is_not_remembered_as_broken(folders, monkeypatch):
    forbidden = str(min((folders / "train" / "3").iterdir()))

    def refuse(path, *args, **options):
        if path == forbidden:
            raise PermissionError(13, "Permission denied", path)
        return open(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(picture_folders, "open", refuse, raising=False)
        with pytest.raises(PermissionError, match="Permission denied"):
            load_image_folders(folders)
    assert len(load_image_folders(folders)[0][0]) == 300


def test_a_lost_process_is_not_taken_for_a_full_disk(folders, monkeypatch):
    def lose(function, tasks):
        raise ProcessEndedError("lost")

    monkeypatch.setattr(folders, "CHUNK", 100)
    monkeypatch.setattr(folders, "in_processes", lose)
    with pytest.raises(ProcessEndedError, match="lost"):
        load_image_folders(folders)
    assert not list((folders / CACHE).iterdir())


@needs_posix
def test_a_torn_cache_is_written_again(folders):
    first = load_image_folders(folders)
    (cache,) = (folders / CACHE).iterdir()
    whole = cache.read_bytes()
    for torn in (b"", whole[:-100], whole[:-8] + bytes(8), b"\0" * len(whole)):
        cache.unlink()  # what is mapped stays as it is
        cache.write_bytes(torn)
        assert same(load_image_folders(folders), first) and cache.read_bytes() == whole


def test_where_nothing_can_be_written_memory_serves(folders, tmp_path_factory):
    (folders / CACHE).touch()  # a file in the folder's place stops the superuser as well
    fresh = load_afresh(folders, tmp_path_factory.mktemp("copy") / "again")
    assert same(load_image_folders(folders), fresh)


def test_when_the_disk_is_full_memory_serves(folders, tmp_path_factory):
    resource = pytest.importorskip("resource")
    fresh = load_afresh(folders, tmp_path_factory.mktemp("copy") / "again")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # of 313,600
        data = load_image_folders(folders)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(data, fresh) and not list((folders / CACHE).iterdir())


@needs_posix
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_several_starts_at_once_get_along(folders):
    root = folders / "train"
    expected = [load_image_folders(root, seed=seed) for seed in range(2)]
    for _ in range(3):
        shutil.rmtree(root / CACHE)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: load_image_folders(root, seed=i % 2), range(8)))
        assert all(same(data, expected[i % 2]) for i, data in enumerate(found))


def memory(name):
    """Return a figure from this process's status in bytes."""
    return 1024 * int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("in_memory", "limit"), [(False, 300), (True, 1000)])
def test_a_picture_takes_at_most_1_kb(tmp_path, digits, in_memory, limit):
    save_folders(tmp_path / "train", *digits)
    for path in list(tmp_path.rglob("*.png")):
        for i in range(100):
            os.link(path, path.with_name(f"{path.stem}_{i:07d}.png"))
    if in_memory:
        (tmp_path / CACHE).touch()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    with pytest.warns(UserWarning, match="held out"):
        (x_train, _), (x_test, _) = load_image_folders(tmp_path)
    grown = (memory("VmHWM") - before) / 40_400
    assert len(x_train) + len(x_test) == 40_400 and grown < limit
