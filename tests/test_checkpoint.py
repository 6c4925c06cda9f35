"""A run that was killed goes on as if nothing had happened."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import save_folders, save_train_and_test
from test_mnist_dnn import OPTIONS

import mnist_dnn
from digits import checkpoint
from digits.checkpoint import Checkpoint
from mnist_dnn import Pictures, build_dnn, main, train

SCRIPT = Path(__file__).parents[1] / "mnist_dnn.py"
FLAGS = ["--epochs", "12", "--batch-size", "32", "--synthetic-share", "0", "--ensemble", "2"]
FLAGS += ["--patience", "3"]
WORDS = {"--epochs": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Drawn digits as train/0-9 and test/0-9."""
    return save_train_and_test(tmp_path_factory.mktemp("digits"), digits, 300)


def weights(path):
    """Return all arrays in a .h5 file by their names."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {})
        )
    return found


def states(folder):
    """Return when each checkpoint in a folder was written."""
    found = {}
    for path in folder.glob("*.checkpoint-[12]"):
        with contextlib.suppress(FileNotFoundError):  # the run has ended meanwhile
            found[path.name] = path.stat().st_mtime_ns
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_again_and_again_it_ends_with_the_same_weights(folders, tmp_path):
    command = [sys.executable, SCRIPT, *FLAGS, "--data-dir", folders, "--output"]
    whole, torn = tmp_path / "whole" / "a.h5", tmp_path / "torn" / "a.h5"
    subprocess.run([*command, whole], check=True, capture_output=True)
    rng, kills = np.random.default_rng(0), 0
    for _ in range(3):
        before = states(torn.parent)
        process = subprocess.Popen([*command, torn, "--resume"], stderr=subprocess.DEVNULL)
        wait_for(lambda: process.poll() is not None or states(torn.parent) != before)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))  # in an epoch, in a save, or between the two networks
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2
    subprocess.run([*command, torn, "--resume"], check=True, capture_output=True)
    expected, got = weights(whole), weights(torn)
    assert expected and all(np.array_equal(expected[name], got[name]) for name in expected)
    names = {path.name for path in torn.parent.iterdir() if not path.name.endswith(".new")}
    assert names == {"a.h5", "training_curves.png", "confusion_matrix.png"}


def run(digits, path, epochs, resume=False, until=None):
    """Train a small network on drawn digits, perhaps interrupted after `until` epochs."""
    keras.utils.set_random_seed(1)
    network, kept = build_dnn(hidden_units=16), Checkpoint(path, WORDS)
    if resume:
        kept.resume()
    if until:
        kept.on_epoch_begin = lambda epoch, logs=None: epoch == until and [][0]
    wrong = Pictures(digits[0], (digits[1] + 1) % 10)  # the better it learns, the worse it gets
    options = OPTIONS | {"epochs": epochs, "patience": 2}
    try:
        return network, train(network, Pictures(*digits), wrong, **options, checkpoint=kept).history
    except IndexError:
        return network, None


def test_early_stopping_counts_on(digits, tmp_path):
    network, history = run(digits, tmp_path / "whole", 20)
    run(digits, tmp_path / "torn", 20, until=2)
    resumed, resumed_history = run(digits, tmp_path / "torn", 20, resume=True)
    assert history == resumed_history and 3 <= len(history["loss"]) < 20
    assert all(map(np.array_equal, network.get_weights(), resumed.get_weights()))


def test_a_finished_run_is_not_trained_again(digits, tmp_path):
    network, history = run(digits, tmp_path / "a", 20)
    again, same_history = run(digits, tmp_path / "a", 20, resume=True)
    assert history == same_history
    assert all(map(np.array_equal, network.get_weights(), again.get_weights()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--epochs", "5"], "had --epochs 12, this one has 5"),
        (["--seed", "4"], "had --seed 0, this one has 4"),
        (["other pictures"], "had pictures with the checksum"),
        (["other network"], "had a network with the weights 2,327,818, this one has"),
        (["--teacher", "MODEL"], "had a softened teacher with the checksum None"),
    ],
)
def test_a_run_of_other_flags_or_pictures_is_refused(
    folders, digits, model_path, tmp_path, change, words, monkeypatch
):
    path, change = tmp_path / "a.h5", [str(model_path) if c == "MODEL" else c for c in change]
    interrupt(folders, path)
    if change == ["other pictures"]:
        change, folders = [], tmp_path
        save_folders(tmp_path / "train", digits[0][10:300], digits[1][10:300])
        save_folders(tmp_path / "test", digits[0][300:], digits[1][300:])
    if change == ["other network"]:  # of an older version of the program
        change = []
        monkeypatch.setitem(mnist_dnn.BUILDERS, "dense", lambda: build_dnn(16))
    with pytest.raises(SystemExit, match=words):
        main([*FLAGS, "--data-dir", str(folders), "--output", str(path), "--resume", *change])
    assert not path.exists()


def interrupt(folders, path, network=1, after=1):
    """Leave the checkpoint of a run beside `path` that ended after so many epochs of a network."""

    def stop(self, epoch, logs=None):
        if self.path.name.endswith(f"-{network}") and epoch == after:
            raise IndexError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_begin", stop)
        with pytest.raises(IndexError):
            main([*FLAGS, "--data-dir", str(folders), "--output", str(path)])


def test_an_interrupted_run_is_named_and_the_new_one_takes_its_place(folders, tmp_path):
    path = tmp_path / "a.h5"
    interrupt(folders, path)
    flags = [*FLAGS, "--epochs", "1", "--data-dir", str(folders), "--output", str(path)]
    with pytest.warns(UserWarning, match="interrupted run is left in .*--resume would go on"):
        assert main(flags) == 0
    assert path.exists() and not list(tmp_path.glob("*checkpoint*"))


@pytest.mark.parametrize(("network", "after"), [(1, 1), (2, 0)])
def test_what_an_older_run_left_of_a_later_network_does_no_harm(
    folders, tmp_path, capsys, network, after
):
    path = tmp_path / "a.h5"
    Path(f"{path}.checkpoint-2").write_bytes(b"of an older run, with other flags")
    interrupt(folders, path, network, after)
    assert main([*FLAGS, "--data-dir", str(folders), "--output", str(path), "--resume"]) == 0
    assert (
        f"Network 1 {'goes on' if after else 'is finished'} after epoch" in capsys.readouterr().out
    )
    assert not list(tmp_path.glob("*checkpoint*"))


def test_what_is_no_checkpoint_is_refused(folders, tmp_path):
    (tmp_path / "a.h5.checkpoint-1").write_bytes(b"PK\x03\x04 half a file")
    flags = [*FLAGS, "--data-dir", str(folders), "--output", str(tmp_path / "a.h5"), "--resume"]
    with pytest.raises(SystemExit, match="Expected the checkpoint of a run"):
        main(flags)


def test_a_full_disk_does_not_end_training(digits, tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.warns(UserWarning, match=r"Epoch \d+ could not be kept.*No space left"):
        _, history = run(digits, tmp_path / "a", 3)
    assert len(history["loss"]) == 3 and not list(tmp_path.iterdir())
