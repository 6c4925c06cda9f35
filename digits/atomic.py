"""Replace files so that they are never half-written, even when processes are killed or compete.

A new file is written in a folder of its own beside the old one, `.saving-x`, and then moved. Its
writer holds a lock on `.saving-x.lock`, which ends with the process: so the next save can
distinguish what a killed run left, which it removes, from what another run is writing.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PREFIX = ".saving-"
MARK = b"Written by digits/atomic.py. If no run is saving, this file and its folder can go.\n"

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Provide a path to write a new file or folder at, then replace `path` with it.

    If the block raises, `path` stays as it was. Leftovers of killed saves beside it are removed.

    Raises:
        OSError: nothing can be written beside `path`, or it cannot be replaced.
    """
    path = path.absolute()
    _remove_leftovers(path.parent)
    with _scratch_folder(path.parent) as folder:
        new = folder / "new" / path.name
        new.parent.mkdir()
        yield new
        _write_through(new)
        _move(new, path)


@contextlib.contextmanager
def _scratch_folder(parent):
    """Make a folder `.saving-x` and remove it at the end; `.saving-x.lock` is locked meanwhile."""
    number, name = tempfile.mkstemp(dir=parent, prefix=PREFIX, suffix=".lock")
    folder = Path(name).with_suffix("")
    with contextlib.ExitStack() as stack:
        stack.callback(Path(name).unlink, missing_ok=True)  # last: until then it marks the owner
        lock = stack.enter_context(open(number, "wb"))
        with contextlib.suppress(OSError):  # some network drives have no locks
            _lock(lock)
        lock.write(MARK)
        lock.flush()
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextlib.contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Keep other runs from saving to `path`; the reservation ends with this process at the latest.

    Raises:
        BlockingIOError: another process has reserved it.
    """
    name = path.absolute().with_name(f"{PREFIX}{path.name}.lock")
    with open(name, "a+b") as file:
        if not _reserve(file, name):
            raise BlockingIOError(
                f"Another run is saving to {path}. Wait for it, or choose another --output"
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that is open
                name.unlink()


def _reserve(file, name):
    """Lock a file; return whether that worked, and its holder has not just removed it."""
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # some network drives have no locks
        return True
    return name.exists() and os.path.samestat(name.stat(), os.fstat(file.fileno()))


def _write_through(new):
    """Flush all contents to disk before they get their final name, in case of a power cut."""
    for path in [new, *new.rglob("*")]:
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file)


def _move(new, path):
    """Move `new` to `path`; an old folder there is set aside, and restored if that fails."""
    if not path.is_dir():
        new.replace(path)
        return
    old = new.parents[1] / "old" / path.name
    old.parent.mkdir()
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise


def _remove_leftovers(parent):
    """Remove what killed saves left: folders beside a lock file with our mark that nobody holds."""
    for path in parent.glob(f"{PREFIX}*.lock"):
        with contextlib.suppress(OSError):  # removed meanwhile, or locked: its writer is at work
            content, folder = _read_abandoned(path), path.with_suffix("")
            if content == MARK and folder.is_dir() and not folder.is_symlink():
                _put_back(folder / "old", parent)
                shutil.rmtree(folder)
            if content in (MARK, b""):  # empty: a reservation, or killed before the mark
                path.unlink()


def _read_abandoned(path):
    """Return what a lock file holds; raise OSError if it is locked, or is no file."""
    if path.is_symlink() or not path.is_file():
        raise OSError(f"Expected a file, got something else: {path}")
    with open(path, "rb+") as lock:
        _lock(lock)
        return lock.read(len(MARK) + 1)


def _put_back(old, parent):
    """Restore an old folder that a killed save had set aside but not yet replaced."""
    ours = old.is_dir() and not old.is_symlink()
    for path in old.iterdir() if ours else ():
        if not (parent / path.name).exists():
            path.rename(parent / path.name)
