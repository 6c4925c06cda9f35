"""A run that was killed continues as if nothing had happened."""

import contextlib
import io
import shutil
import subprocess
import sys
import threading
import time
import warnings
from _thread import interrupt_main
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import fit, save_folders, save_train_and_test

from digits.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from mnist_dnn import build_dnn, main

ROOT = Path(__file__).parents[1]
FLAGS = ["--epochs", "12", "--batch-size", "32", "--ensemble", "2"]
FLAGS += ["--synthetic-share", "0", "--nondigits", "0"]
FLAGS += ["--patience", "3"]
SETTINGS = {"--epochs": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Synthetic digits as train/0-9 and test/0-9."""
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


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_weights(folders, tmp_path):
    command = [sys.executable, ROOT / "mnist_dnn.py", *FLAGS, "--data-dir", folders, "--output"]
    whole, killed = tmp_path / "whole" / "a.h5", tmp_path / "killed" / "a.h5"
    subprocess.run([*command, whole], check=True, capture_output=True)
    rng, kills = np.random.default_rng(0), 0
    for _ in range(3):
        before = states(killed.parent)
        process = subprocess.Popen([*command, killed, "--resume"], stderr=subprocess.DEVNULL)
        wait_for(lambda: process.poll() is not None or states(killed.parent) != before)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))  # in an epoch, in a save, or between the two networks
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2
    subprocess.run([*command, killed, "--resume"], check=True, capture_output=True)
    expected, got = weights(whole), weights(killed)
    assert expected and all(np.array_equal(expected[name], got[name]) for name in expected)
    names = {path.name for path in killed.parent.iterdir()}
    assert names == {"a.h5", "training_curves.png", "confusion_matrix.png"}


WRITE = """
import sys
import numpy as np
from pathlib import Path
from digits.checkpoint import write_checkpoint
print("ready", flush=True)
for epoch in range(200):
    arrays = [np.full(300_000, epoch, "float32")]
    state = dict.fromkeys(("settings", "finished", "early_stopping", "history"))
    state |= {"epochs": epoch, "variables": arrays, "best_weights": arrays}
    write_checkpoint(Path(sys.argv[1]), state)
"""


@pytest.mark.slow
def test_two_runs_with_one_output_never_tear_their_checkpoint(tmp_path):
    path, reads = tmp_path / "a", 0
    command = [sys.executable, "-c", WRITE, path]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    while any(run.poll() is None for run in runs):
        if path.exists():
            state = read_checkpoint(io.BytesIO(path.read_bytes()), path)  # raises if torn
            assert (state["variables"][0] == state["epochs"]).all()
            reads += 1
    for run in runs:
        run.communicate()
        assert run.returncode == 0
    assert reads > 50 and [each.name for each in tmp_path.iterdir()] == ["a"]


class Interrupted(Checkpoint):
    """A checkpoint of a run that ends when it has finished some epochs."""

    epochs = None

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise InterruptedError


def run(digits, path, epochs, resume=False, until=None):
    """Train a small network on synthetic digits, interrupted if it comes to `until` epochs."""
    keras.utils.set_random_seed(1)
    network, kept = build_dnn(hidden_units=16), Interrupted(path, SETTINGS)
    kept.epochs = until
    if resume:
        assert kept.resume()
    wrong = digits[0], (digits[1] + 1) % 10  # the better it learns, the worse it gets
    options = {"epochs": epochs, "learning_rate": 4e-3, "patience": 2, "checkpoint": kept}
    try:
        return network, fit(network, digits, wrong, **options).history
    except InterruptedError:
        return network, None


def change(checkpoint, settings=None, **entries):
    """Change what is in a checkpoint."""
    state = read_checkpoint(io.BytesIO(checkpoint.read_bytes()), checkpoint)
    write_checkpoint(
        checkpoint, state | entries | {"settings": state["settings"] | (settings or {})}
    )


@pytest.fixture(scope="module")
def stored(digits, tmp_path_factory):
    """The checkpoint of a run that was interrupted after two epochs."""
    path = tmp_path_factory.mktemp("stored") / "a"
    run(digits, path, 20, until=2)
    return path


@pytest.mark.slow
def test_early_stopping_continues_its_count(digits, stored, tmp_path):
    network, history = run(digits, tmp_path / "whole", 20)
    path = Path(shutil.copy(stored, tmp_path))
    resumed, resumed_history = run(digits, path, 20, resume=True)
    assert history == resumed_history and 3 <= len(history["loss"]) < 20
    assert all(map(np.array_equal, network.get_weights(), resumed.get_weights()))


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(digits, tmp_path):
    network, history = run(digits, tmp_path / "a", 20)
    again, same_history = run(digits, tmp_path / "a", 20, resume=True)
    assert history == same_history
    assert all(map(np.array_equal, network.get_weights(), again.get_weights()))


@pytest.mark.parametrize("finished", [False, True])
def test_a_checkpoint_says_how_far_a_run_came(stored, tmp_path, finished):
    path = Path(shutil.copy(stored, tmp_path))
    change(path, finished=finished)
    checkpoint = Checkpoint(path, SETTINGS)
    assert checkpoint.resume()
    assert (checkpoint.first_epoch, checkpoint.finished) == (2, finished)


def test_a_run_with_other_settings_is_refused(stored):
    with pytest.raises(ValueError, match="had --epochs 8, this one has 9"):
        Checkpoint(stored, {"--epochs": 9}).resume()


def test_where_there_is_no_checkpoint_nothing_is_resumed(tmp_path):
    assert not Checkpoint(tmp_path / "a", SETTINGS).resume()


def test_a_checkpoint_of_another_network_is_refused(digits, stored):
    checkpoint = Checkpoint(stored, SETTINGS)
    checkpoint.resume()
    with pytest.raises(ValueError, match="Expected a checkpoint of the same network"):
        fit(build_dnn(hidden_units=8), digits, digits, epochs=20, checkpoint=checkpoint)


def test_a_full_disk_does_not_end_training(digits, tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.warns(UserWarning, match=r"Epoch \d+ could not be stored.*too large"):
            _, history = run(digits, tmp_path / "a", 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(history["loss"]) == 3 and not list(tmp_path.iterdir())


def damaged(content):
    """Return checkpoints that are not what they should be, by what is wrong."""
    with np.load(io.BytesIO(content)) as arrays:
        parts = dict(arrays)
    compressed, incomplete = io.BytesIO(), io.BytesIO()
    np.savez_compressed(compressed, **parts)
    np.savez(incomplete, **parts | {"state": np.frombuffer(b'{"epochs": 3}', "uint8")})
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return {
        "text": b"of another program",
        "torn": content[:-100],
        "one bit flipped": flipped,
        "compressed": compressed.getvalue(),
        "incomplete": incomplete.getvalue(),
        "pickled": b"\x80\x04K\x01.",
    }


def test_a_damaged_checkpoint_is_refused(stored, tmp_path):
    for name, content in damaged(stored.read_bytes()).items():
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(ValueError, match=r"Expected the checkpoint of a run, got .*Remove it"):
            Checkpoint(tmp_path / "a", SETTINGS).resume()
            pytest.fail(name)


@pytest.fixture(scope="module")
def interrupted(folders, tmp_path_factory):
    """The checkpoint that a run leaves at Ctrl-C."""
    output = tmp_path_factory.mktemp("interrupted") / "a.h5"
    checkpoint = Path(f"{output}.checkpoint-1")
    watcher = threading.Thread(
        target=lambda: (wait_for(checkpoint.exists), interrupt_main()), daemon=True
    )
    watcher.start()
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # it says that it was interrupted
        assert main([*FLAGS, "--data-dir", str(folders), "--output", str(output)]) == 0
    watcher.join()
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "5"], "had --epochs 12, this one has 5"),
        (["--seed", "4"], "had --seed 0, this one has 4"),
        (["--teacher", "MODEL"], "had a teacher with the checksum None"),
    ],
)
def test_a_run_with_other_flags_is_refused(
    folders, interrupted, model_path, tmp_path, flags, words
):
    shutil.copy(interrupted, tmp_path)
    flags = [str(model_path) if flag == "MODEL" else flag for flag in flags]
    output = ["--output", str(tmp_path / "a.h5"), "--resume"]
    with pytest.raises(SystemExit, match=words):
        main([*FLAGS, "--data-dir", str(folders), *output, *flags])
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.slow
def test_a_run_with_other_pictures_is_refused(digits, interrupted, tmp_path):
    shutil.copy(interrupted, tmp_path)
    save_folders(tmp_path / "train", digits[0][10:300], digits[1][10:300])
    save_folders(tmp_path / "test", digits[0][300:], digits[1][300:])
    output = ["--output", str(tmp_path / "a.h5"), "--resume"]
    with pytest.raises(SystemExit, match="had pictures with the checksum"):
        main([*FLAGS, "--data-dir", str(tmp_path), *output])


@pytest.mark.slow
def test_a_run_of_another_version_is_refused(folders, interrupted, tmp_path):
    change(Path(shutil.copy(interrupted, tmp_path)), {"a number of weights of": "1"})
    output = ["--output", str(tmp_path / "a.h5"), "--resume"]
    with pytest.raises(SystemExit, match="had a number of weights of 1, this one has 2,327,818"):
        main([*FLAGS, "--data-dir", str(folders), *output])


@pytest.mark.slow
@pytest.mark.parametrize("finished", [False, True])
def test_what_an_older_run_left_of_a_later_network_does_no_harm(
    folders, interrupted, tmp_path, capsys, finished
):
    change(Path(shutil.copy(interrupted, tmp_path)), finished=finished)
    (tmp_path / "a.h5.checkpoint-2").write_bytes(b"of an older run, with other flags")
    output = ["--output", str(tmp_path / "a.h5"), "--resume"]
    assert main([*FLAGS, "--data-dir", str(folders), *output]) == 0
    state = "is finished" if finished else "continues"
    assert f"Network 1 {state} after epoch" in capsys.readouterr().out
    assert not list(tmp_path.glob("*checkpoint*"))


@pytest.mark.slow
def test_a_new_run_says_that_it_replaces_an_interrupted_one(
    folders, interrupted, tmp_path, recwarn, capsys
):
    shutil.copy(interrupted, tmp_path)
    flags = [*FLAGS, "--epochs", "1", "--data-dir", str(folders)]
    warnings.simplefilter("default")
    assert main([*flags, "--output", str(tmp_path / "a.h5")]) == 0
    assert "replaces the interrupted one in" in capsys.readouterr().err
    assert (tmp_path / "a.h5").exists() and not list(tmp_path.glob("*checkpoint*"))
