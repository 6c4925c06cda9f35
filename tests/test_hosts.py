"""Real processes on this machine train together, over the loopback, as hosts would."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import save_folders, save_train_and_test

from digits.synthetic import draw_digits
from mnist_dnn import main

pytest.importorskip("jax", reason="training on several hosts needs JAX")
ROOT = Path(__file__).parents[1]
FLAGS = ["--distributed", "--epochs", "3", "--batch-size", "64"]
FLAGS += ["--synthetic-share", "0", "--nondigits", "0"]
# trains on folders, and notes the pictures of the first epoch and the weights in the end
HOST = """
import sys
import keras
import numpy as np
from digits import hosts
from digits.batches import Pictures
from digits.batches import Batches
from mnist_dnn import build_dnn, load_image_folders, train

seen = []
class Noted(Pictures):
    def gather(self, *indices):
        seen.append(self.rows[indices])
        return super().gather(*indices)

notes, folders, batch_size, epochs = sys.argv[1:]
hosts.start()
training, test = load_image_folders(folders)
keras.utils.set_random_seed(0)
network, pictures = build_dnn(hidden_units=32), Noted(*training)
batches = Batches(pictures, pictures.select([]), int(batch_size))
train(network, batches, Pictures(*test), epochs=int(epochs))
(network,) = hosts.detach([network])
np.savez(notes, *network.get_weights(), batches=np.concatenate(seen[: batches.steps]))
"""


def environments(count):
    """Return the environments of processes on this machine that are to train together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
    }
    return [{**together, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)} for i in range(count)]


def start(command, environment):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], env=environment, cwd=ROOT, **pipes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, digits):
    """Synthetic digits as train/0-9 and test/0-9."""
    return save_train_and_test(tmp_path_factory.mktemp("digits"), digits, 260)


def start_hosts(count, folders, output, *flags, last=()):
    """Start `count` processes of mnist_dnn.py; the last one gets the flags in `last` as well."""
    command = ["mnist_dnn.py", *FLAGS, *flags, "--data-dir", folders, "--output", output]
    *others, final = environments(count)
    return [start(command, each) for each in others] + [start([*command, *last], final)]


def finish(hosts, seconds=240):
    """Wait for processes; return what each said."""
    try:
        return [host.communicate(timeout=seconds) for host in hosts]
    finally:
        for host in hosts:
            host.kill()


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_hosts_share_the_pictures_and_end_with_equal_weights(folders, tmp_path, count):
    paths = [tmp_path / f"{number}.npz" for number in range(count)]
    pairs = zip(paths, environments(count))
    hosts = [start(["-c", HOST, path, folders, "64", "3"], each) for path, each in pairs]
    said = finish(hosts)
    assert [host.returncode for host in hosts] == [0] * count, said
    notes = [np.load(path) for path in paths]
    for name in set(notes[0].files) - {"batches"}:
        assert all(np.array_equal(notes[0][name], each[name]) for each in notes[1:])
    seen = np.concatenate([each["batches"] for each in notes])
    assert len(seen) == len(set(seen)) > 250  # of 260; each device has as many


@pytest.mark.slow
def test_the_first_host_prints_and_saves(folders, tmp_path):
    hosts = start_hosts(2, folders, tmp_path / "a.h5")
    said = finish(hosts)
    assert [host.returncode for host in hosts] == [0, 0], said
    assert "Saved" in said[0][0] and "pictures" not in said[1][0] and "Saved" not in said[1][0]
    assert (tmp_path / "a.h5").exists()


@pytest.mark.slow
def test_a_lost_host_ends_the_others_and_they_resume(folders, tmp_path):
    output, kept = tmp_path / "a.h5", tmp_path / "a.h5.checkpoint-2"
    flags = ["--epochs", "30", "--patience", "30", "--ensemble", "2"]
    hosts = start_hosts(2, folders, output, *flags)
    while not kept.exists() and hosts[1].poll() is None:
        time.sleep(0.1)
    hosts[1].kill()
    start = time.monotonic()
    said = finish(hosts)
    assert time.monotonic() - start < 60 and hosts[0].returncode == 1
    assert "Another host was lost" in said[0][1] and "--resume" in said[0][1]
    assert kept.exists() and not output.exists()
    said = finish(start_hosts(2, folders, output, *flags, "--resume"))
    assert "Network 1 is finished after epoch 30\nNetwork 2 continues" in said[0][0], said
    assert output.exists()
    assert not kept.exists()


@pytest.mark.slow
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


@pytest.mark.slow
def test_three_devices_of_one_machine_are_used(tmp_path):
    images, labels = draw_digits(10_000, seed=4)  # 768 or more of them are validated in batches
    save_folders(tmp_path / "train", images, labels)
    save_folders(tmp_path / "test", images[:100], labels[:100])
    devices = "--xla_force_host_platform_device_count=3"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": devices}
    host = start(["-c", HOST, tmp_path / "notes.npz", tmp_path, "512", "1"], environment)
    said = finish([host])
    assert host.returncode == 0, said
    assert len(np.load(tmp_path / "notes.npz")["batches"]) % 3 == 0  # a share for each device


def test_without_jax_it_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit, match=r"KERAS_BACKEND=jax python mnist_dnn\.py --distributed"):
        main([*FLAGS, "--output", str(tmp_path / "a.h5")])
