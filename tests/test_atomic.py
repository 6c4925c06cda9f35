"""Files are never half-written, and what killed saves left is removed, and nothing else."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from digits.atomic import replacing, reserved

ROOT = Path(__file__).parents[1]
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
SAVE = """
import sys, time
from pathlib import Path
from digits.atomic import *
with replacing(Path(sys.argv[1])) as new:
    new.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
RESERVE = """
import sys
from pathlib import Path
from digits.atomic import reserved
with reserved(Path(sys.argv[1])):
    print("reserved", flush=True)
    sys.stdin.read()
"""
SAVE_AGAIN_AND_AGAIN = """
import sys
from pathlib import Path
from digits.atomic import replacing
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    with replacing(Path(sys.argv[1])) as new:
        new.write_bytes(bytes([i % 256]) * 300_000)
"""


def start(code, *arguments):
    """Start a process that runs this code, and wait for its first line."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    process.stdout.readline()
    return process


def end(process):
    process.kill()
    process.communicate()


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_new_one_takes_the_place_of_the_old(tmp_path, kind):
    for text in ("old", "new"):
        with replacing(tmp_path / "a") as new:
            if kind == "folder":
                new.mkdir()
            (new / "x" if kind == "folder" else new).write_text(text)
    path = tmp_path / "a" / "x" if kind == "folder" else tmp_path / "a"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a"]


def test_the_next_save_removes_what_a_killed_one_left(tmp_path):
    end(start(SAVE, tmp_path / "a"))
    end(start(RESERVE, tmp_path / "a"))
    assert len(os.listdir(tmp_path)) == 3
    with replacing(tmp_path / "b") as new:
        new.touch()
    assert os.listdir(tmp_path) == ["b"]


def test_a_save_at_work_is_left_alone(tmp_path):
    process = start(SAVE, tmp_path / "a")
    before = set(tmp_path.rglob("*"))
    with replacing(tmp_path / "b") as new:
        new.touch()
    assert set(tmp_path.rglob("*")) == before | {tmp_path / "b"}
    end(process)


@needs_posix
def test_what_is_not_ours_is_never_removed(tmp_path):
    end(start(SAVE, tmp_path / "a"))
    (lock,) = tmp_path.glob("*.lock")
    elsewhere = lock.with_suffix("").rename(tmp_path / "elsewhere")
    (tmp_path / ".saving-link.lock").symlink_to(lock.rename(tmp_path / "mark"))
    shutil.copy(tmp_path / "mark", tmp_path / ".saving-x.lock")
    (tmp_path / ".saving-x").symlink_to(elsewhere)
    os.mkfifo(tmp_path / ".saving-pipe.lock")
    (tmp_path / ".saving-holiday").mkdir()
    (tmp_path / ".saving-holiday.lock").write_text("of the bicycle")
    before = set(tmp_path.rglob("*"))
    with replacing(tmp_path / "b") as new:
        new.touch()
    assert set(tmp_path.rglob("*")) == before - {tmp_path / ".saving-x.lock"} | {tmp_path / "b"}


def test_a_folder_moved_away_by_a_killed_save_comes_back(tmp_path):
    end(start(SAVE, tmp_path / "a"))
    (lock,) = tmp_path.glob("*.lock")
    old = lock.with_suffix("") / "old" / "model"
    old.mkdir(parents=True)
    (old / "x").write_text("the only one")
    with replacing(tmp_path / "b") as new:
        new.touch()
    assert sorted(os.listdir(tmp_path)) == ["b", "model"]
    assert (tmp_path / "model" / "x").read_text() == "the only one"


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    path = tmp_path / "a.h5"
    first = start(RESERVE, path)
    words = "Another run is saving to .*a.h5.*choose another --output"
    with pytest.raises(BlockingIOError, match=words), reserved(path):
        pass
    with reserved(tmp_path / "b.h5"):
        pass
    end(first)
    with reserved(path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_two_writers_of_one_file_never_tear_it(tmp_path):
    path, sizes = tmp_path / "a", set()
    writers = [start(SAVE_AGAIN_AND_AGAIN, path, 300) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes() if path.exists() else bytes(300_000)
        sizes.add(len(content))
        assert content == content[:1] * 300_000
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert sizes == {300_000} and os.listdir(tmp_path) == ["a"]


@pytest.mark.slow
def test_kills_at_any_moment_leave_a_whole_file_and_nothing_that_stays(tmp_path):
    path, rng = tmp_path / "a", np.random.default_rng(0)
    for _ in range(20):
        writer = start(SAVE_AGAIN_AND_AGAIN, path, 10**6)
        time.sleep(rng.uniform(0, 0.1))
        end(writer)
        content = path.read_bytes() if path.exists() else bytes(300_000)
        assert content == content[:1] * 300_000
    with replacing(path) as new:
        new.touch()
    assert os.listdir(tmp_path) == ["a"]
