import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mnist_dnn
from mnist_dnn import load_image_folders
from save_mnist_as_images import main, save_as_images

ROOT = Path(__file__).parents[1]


@pytest.fixture
def small_mnist(monkeypatch, digits):
    images, labels = digits
    parts = (images[:300], labels[:300]), (images[300:], labels[300:])
    monkeypatch.setattr(mnist_dnn, "load_mnist", lambda: parts)
    return parts


def test_saved_images_load_back_identical(small_mnist, tmp_path, capsys):
    main(["--output-dir", str(tmp_path)])
    assert "300 images, 300 of them new" in capsys.readouterr().out
    for (images, labels), (loaded, again) in zip(small_mnist, load_image_folders(tmp_path)):
        order = np.argsort(labels, kind="stable")
        assert np.array_equal(loaded, images[order]) and np.array_equal(again, labels[order])


def test_a_second_run_changes_nothing(small_mnist, tmp_path, capsys):
    main(["--output-dir", str(tmp_path)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    main(["--output-dir", str(tmp_path)])
    assert "300 images, 0 of them new" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize("size", [0, 50, 100])
def test_truncated_files_are_rewritten(digits, tmp_path, size):
    save_as_images(*digits, tmp_path)
    truncated = next(tmp_path.glob("*/*.png"))
    truncated.write_bytes(truncated.read_bytes()[:size])
    assert save_as_images(*digits, tmp_path) == 1
    assert np.array_equal(Image.open(truncated), digits[0][int(truncated.stem)])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
def test_killed_again_and_again_it_ends_with_whole_files(digits, tmp_path):
    np.savez(tmp_path / "digits.npz", images=digits[0], labels=digits[1])
    code = (
        "import sys, numpy as np; from save_mnist_as_images import save_as_images;"
        "save_as_images(*np.load(sys.argv[1]).values(), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, tmp_path / "digits.npz", tmp_path / "images"]
    for delay in np.linspace(0.1, 0.5, 10):
        process = subprocess.Popen(command, cwd=ROOT)
        time.sleep(delay)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, cwd=ROOT)
    assert save_as_images(*digits, tmp_path / "images") == 0
    assert len(list(tmp_path.glob("images/*/*"))) == 400


def test_help_does_not_wait_for_tensorflow():
    code = "import save_mnist_as_images, sys; sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_network_gets_a_sentence(monkeypatch):
    def fail():
        raise ConnectionError("MNIST could not be downloaded")

    monkeypatch.setattr(mnist_dnn, "load_mnist", fail)
    with pytest.raises(SystemExit, match="Error: MNIST could not be downloaded"):
        main([])


@pytest.mark.mnist
def test_mnists_counts_hold_on_disk(mnist, tmp_path):
    images, labels = mnist[1]
    save_as_images(images[:2000], labels[:2000], tmp_path)
    counts = [len(list((tmp_path / str(digit)).iterdir())) for digit in range(10)]
    assert counts == np.bincount(labels[:2000]).tolist()
    assert [path.suffix for path in tmp_path.rglob(".*")] == []
