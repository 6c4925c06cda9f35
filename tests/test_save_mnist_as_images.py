from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import save_mnist_as_images
from mnist_dnn import load_image_folders
from save_mnist_as_images import main, save_as_images


@pytest.fixture
def small_mnist(monkeypatch, digits):
    images, labels = digits
    parts = (images[:300], labels[:300]), (images[300:], labels[300:])
    monkeypatch.setattr(save_mnist_as_images, "load_mnist", lambda: parts)
    return parts


def test_saved_images_load_back_identical(small_mnist, tmp_path, capsys):
    main(["--output-dir", str(tmp_path)])
    assert "300 pictures, 300 of them new" in capsys.readouterr().out
    for (images, labels), (loaded, again) in zip(small_mnist, load_image_folders(tmp_path)):
        order = np.argsort(labels, kind="stable")
        assert np.array_equal(loaded, images[order]) and np.array_equal(again, labels[order])


def test_a_second_run_changes_nothing(small_mnist, tmp_path, capsys):
    main(["--output-dir", str(tmp_path)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    main(["--output-dir", str(tmp_path)])
    assert "300 pictures, 0 of them new" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before


def test_an_interrupted_run_leaves_whole_files_and_goes_on(digits, tmp_path, monkeypatch):
    save, calls = Image.Image.save, []

    def tear(self, path):
        calls.append(path)
        if len(calls) == 50:
            Path(path).write_bytes(b"half a pic")
            raise KeyboardInterrupt
        save(self, path)

    monkeypatch.setattr(Image.Image, "save", tear)
    with pytest.raises(KeyboardInterrupt):
        save_as_images(*digits, tmp_path)
    monkeypatch.setattr(Image.Image, "save", save)
    whole = list(tmp_path.glob("*/*.png"))
    assert len(whole) == 49
    whole[0].write_bytes(whole[0].read_bytes()[:50])  # as after a power cut
    assert save_as_images(*digits, tmp_path) == 400 - 48
    for path in tmp_path.glob("*/*.png"):
        assert np.array_equal(Image.open(path), digits[0][int(path.stem)])


def test_no_network_gets_a_sentence(monkeypatch):
    def fail():
        raise ConnectionError("MNIST could not be downloaded")

    monkeypatch.setattr(save_mnist_as_images, "load_mnist", fail)
    with pytest.raises(SystemExit, match="Error: MNIST could not be downloaded"):
        main([])


@pytest.mark.mnist
def test_mnists_counts_hold_on_disk(mnist, tmp_path):
    images, labels = mnist[1]
    save_as_images(images[:2000], labels[:2000], tmp_path)
    counts = [len(list((tmp_path / str(digit)).iterdir())) for digit in range(10)]
    assert counts == np.bincount(labels[:2000]).tolist()
    assert [path.suffix for path in tmp_path.rglob(".*")] == []
