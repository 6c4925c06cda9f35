"""Real processes on this machine train together, over the loopback, as hosts would."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import save_folders, save_train_and_test
from hosts import environments
from test_checkpoint import wait_for, weights

from digits.synthetic import draw_digits
from mnist_dnn import main

pytest.importorskip("jax", reason="training on several hosts needs JAX")
ROOT = Path(__file__).parents[1]
FLAGS = ["--distributed", "--epochs", "3", "--batch-size", "64", "--synthetic-share", "0"]
# what mnist_dnn.py does, and a note of the pictures seen and the weights in the end
HOST = """
import sys, numpy as np
import batches, distributed, mnist_dnn
seen, notes = [], sys.argv.pop(1)
gather, detach = augment.Pictures.gather, hosts.detach
def gather_and_note(pictures, places=slice(None)):
    seen.append(pictures.rows[places])
    return gather(pictures, places)
def detach_and_note(models):
    np.savez(notes, *models[0].get_weights(), batches=np.concatenate(seen[1:5]))
    return detach(models)
augment.Pictures.gather, hosts.detach = gather_and_note, detach_and_note
sys.exit(mnist_dnn.main())
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Drawn digits as train/0-9 and test/0-9."""
    return save_train_and_test(tmp_path_factory.mktemp("digits"), digits, 260)


def start_hosts(count, folders, output, *flags, last=()):
    """Start processes that train together; their notes are beside `output`.

    Args:
        flags: for all; `last` only for the last one.
    """
    hosts = []
    for number, environment in enumerate(environments(count)):
        command = [sys.executable, "-c", HOST, f"{output}-{number}.npz", *FLAGS, *flags]
        command += ["--data-dir", folders, "--output", output]
        command += last if number == count - 1 else ()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        hosts.append(subprocess.Popen(command, env=environment, cwd=ROOT, **pipes))
    return hosts


def finish(hosts, seconds=240):
    """Wait for processes; return what each said."""
    try:
        return [host.communicate(timeout=seconds) for host in hosts]
    finally:
        for host in hosts:
            host.kill()


@pytest.mark.parametrize("count", [2, 3])
def test_hosts_share_the_pictures_and_end_with_equal_weights(folders, tmp_path, count):
    hosts = start_hosts(count, folders, tmp_path / "a.h5")
    said = finish(hosts)
    assert [host.returncode for host in hosts] == [0] * count, said
    assert "Saved" in said[0][0] and not any("pictures" in out for out, _ in said[1:])
    notes = [np.load(tmp_path / f"a.h5-{number}.npz") for number in range(count)]
    for name in set(notes[0].files) - {"batches"}:
        assert all(np.array_equal(notes[0][name], each[name]) for each in notes[1:])
    seen = np.concatenate([each["batches"] for each in notes])
    assert len(seen) == len(set(seen)) > 200  # the first epoch, in four batches
    saved = weights(tmp_path / "a.h5")
    assert any(np.array_equal(notes[0]["arr_0"], values) for values in saved.values())


def test_a_lost_host_ends_the_others_and_they_resume(folders, tmp_path):
    output, kept = tmp_path / "a.h5", tmp_path / "a.h5.checkpoint-2"
    flags = ["--epochs", "30", "--patience", "30", "--ensemble", "2"]
    hosts = start_hosts(2, folders, output, *flags)
    wait_for(lambda: kept.exists() or hosts[1].poll() is not None)
    hosts[1].kill()
    start = time.monotonic()
    said = finish(hosts)
    assert time.monotonic() - start < 60 and hosts[0].returncode == 1
    assert "Another host was lost" in said[0][1] and "--resume" in said[0][1]
    assert kept.exists() and not output.exists()
    said = finish(start_hosts(2, folders, output, *flags, "--resume"))
    assert "Network 1 is finished after epoch 30\nNetwork 2 goes on" in said[0][0], said
    assert output.exists()
    assert not kept.exists()


@pytest.mark.parametrize("difference", ["pictures", "flags"])
def test_hosts_with_other_pictures_or_flags_end(folders, digits, tmp_path, difference):
    save_folders(tmp_path / "other/train", digits[0][:260], (digits[1][:260] + 1) % 10)
    save_folders(tmp_path / "other/test", digits[0][260:], digits[1][260:])
    last = {"pictures": ["--data-dir", tmp_path / "other"], "flags": ["--seed", "1"]}[difference]
    hosts = start_hosts(2, folders, tmp_path / "a.h5", last=last)
    said = finish(hosts)
    assert all(host.returncode for host in hosts)
    assert any(f"Expected the same {difference} on all hosts" in err for _, err in said), said
    assert not (tmp_path / "a.h5").exists()


def test_three_devices_of_one_machine_are_used(tmp_path):
    images, labels = draw_digits(10_000, seed=4)  # 768 or more of them are validated in batches
    save_folders(tmp_path / "train", images, labels)
    save_folders(tmp_path / "test", images[:100], labels[:100])
    devices = "--xla_force_host_platform_device_count=3"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": devices}
    notes, output = tmp_path / "notes.npz", tmp_path / "a.h5"
    command = [sys.executable, "-c", HOST, notes, *FLAGS, "--epochs", "1", "--batch-size", "512"]
    said = subprocess.run(
        [*command, "--data-dir", tmp_path, "--output", output],
        env=environment, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert output.exists(), said
    assert len(np.load(notes)["batches"]) % 3 == 0  # a share for each device


def test_without_jax_it_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit, match=r"KERAS_BACKEND=jax python mnist_dnn\.py --distributed"):
        main([*FLAGS, "--output", str(tmp_path / "a.h5")])
