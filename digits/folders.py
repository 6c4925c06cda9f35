"""Load folders of digit pictures into arrays like MNIST's; all cores decode them."""

import functools
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from digits.cores import in_processes
from digits.decoding import one_digit, read_pictures
from digits.files import leaves
from digits.labels import Files, label_in, label_of, read_labels, sort_by_digit

TEST_SHARE = 1 / 7  # of the training pictures to hold out where there is no test folder
CHUNK = 1000  # files that a process decodes at a time
Data = tuple[np.ndarray, np.ndarray]


def load_image_folders(
    root: Path | str, test_share: float = TEST_SHARE, seed: int = 0
) -> tuple[Data, Data]:
    """Load pictures from `root/train/0-9/*` and `root/test/0-9/*`, or those that a CSV file names.

    Folders may also be called digit_3, three or Sample004, or all files lie in one folder and
    begin with their digit, as in 3_12.png. `root` may be a CSV file of path,label. `training` and
    `testing` are other names for `train` and `test`.

    A `root` with the folders 0-9 directly inside is a training folder. Without a test folder, a
    seeded stratified share of the training pictures is held out. Pictures may have any size and
    mode: each goes through `pil_to_mnist`, which returns images already in MNIST's form unchanged.
    One warning names the files that cannot be used and the digits that have no picture.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: uint8 (n, 28, 28), ink bright, and uint8 (n,),
        sorted by digit.

    Raises:
        FileNotFoundError: there is no such folder, or no usable picture to train on or to test on.
    """
    root = Path(root)
    problems: list[str] = []
    test: Files | None = None
    if root.suffix.lower() == ".csv" and root.is_file():
        paths, labels = read_labels(root, problems)
        root = root.parent
    elif root.is_dir():
        paths, labels = _list_files(root, _part(root, "train", "training"), problems)
        if part := _part(root, "test", "testing"):
            test = _list_files(root, part, problems)
    else:
        raise FileNotFoundError(f"There is no such folder: {root}")
    if test is None:
        kept, held_out = map(np.sort, stratified_split(labels, test_share, seed))
        test = [paths[i] for i in held_out], labels[held_out]
        paths, labels = [paths[i] for i in kept], labels[kept]
        problems.append(f"there is no test folder: {len(held_out):,} pictures are held out for it")
    training = _decode(root, paths, labels, problems)
    testing = _decode(root, test[0], test[1], problems)
    _require_pictures(root, training[1], testing[1], problems)
    if problems:
        warnings.warn(f"{root}:\n  " + "\n  ".join(problems), stacklevel=2)
    return training, testing


def load_nondigits(root: Path | str) -> np.ndarray:
    """Load the pictures in `root/nondigits`, where there are any: each of one thing, no digit.

    Returns:
        uint8 (n, 28, 28), ink bright. One warning names the files that cannot be used.
    """
    root = Path(root)
    problems: list[str] = []
    folder = root / "nondigits"
    entries = _scan(folder) if folder.is_dir() and not leaves(folder, root) else []
    paths = [entry.path for entry in entries if _is_picture(entry, root, problems)]
    images, _ = _decode(root, paths, np.zeros(len(paths), "uint8"), problems)
    if problems:
        warnings.warn(f"{root}:\n  " + "\n  ".join(problems), stacklevel=2)
    return images


def stratified_split(
    labels: np.ndarray, share: float, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices at random: the same share of every class, which keeps at least one.

    Args:
        labels: int (n,).
        share: of each class to hold out, 0-1.
        seed: of the order.

    Returns:
        Indices to keep and indices held out, int64, both in random order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), bool)
    for digit in np.unique(labels):
        members = order[labels[order] == digit]
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held_out[members[:count]] = True
    return order[~held_out[order]], order[held_out[order]]


def _part(root, *names):
    """Return the first of these names that a folder in `root` has, or an empty one."""
    return next((name for name in names if (root / name).is_dir()), "")


def _list_files(root, part, problems):
    """List the files in `root/part/0-9`, or those in `root/part` that are named by their digit."""
    if leaves(root / part, root):
        problems.append(f"{part}: a link that leaves the folder")
        return sort_by_digit([], [])
    paths: list[str] = []
    labels: list[int] = []
    renamed = []
    for folder in _scan(root / part):
        if not folder.is_dir() or folder.name in ("test", "testing", "nondigits"):
            continue
        name, digit = os.path.relpath(folder, root), label_of(folder.name)
        if digit is None:
            problems.append(f"{name}: expected a folder named 0, 1, ... or 9")
        elif leaves(folder, root):
            problems.append(f"{name}: a link that leaves the folder")
        else:
            files = [entry for entry in _scan(folder) if _is_picture(entry, root, problems)]
            paths += [entry.path for entry in files]
            labels += [digit] * len(files)
            renamed += [f"{name} is {digit}"] * (folder.name != str(digit))
    if renamed:
        problems.append(f"labels are taken from the folders' names: {renamed[0]}, and so on")
    return sort_by_digit(paths, labels) if paths else _list_named_files(root, part, problems)


def _list_named_files(root, part, problems):
    """List the files in `root/part` whose names begin with their digit, as in 3_12.png."""
    entries = [entry for entry in _scan(root / part) if not entry.is_dir()]
    named = [(e, digit) for e in entries if (digit := label_in(e.name)) is not None]
    found = [(entry, digit) for entry, digit in named if _is_picture(entry, root, problems)]
    if found:
        (first, digit), names = found[0], {entry.name for entry, _ in named}
        problems.append(
            f"labels are taken from the files' names: {first.name} is {digit}, and so on"
        )
        unnamed = [entry.name for entry in entries if entry.name not in names]
        problems += [f"{name}: expected a name like 3_12.png" for name in unnamed]
    return sort_by_digit([entry.path for entry, _ in found], [digit for _, digit in found])


def _scan(folder):
    """Return the entries of a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)


def _is_picture(entry, root, problems):
    """Return whether to open an entry; opening a pipe, say, would wait for a writer."""
    if leaves(entry, root):
        problem = "a link that leaves the folder"
    elif not entry.is_file():
        problem = "expected a picture file, got a folder, a pipe, a device or a broken link"
    else:
        return True
    problems.append(f"{os.path.relpath(entry, root)}: {problem}")
    return False


def _decode(root, paths, labels, problems):
    """Return the images that can be used, uint8 (k, 28, 28), and their labels, uint8 (k,)."""
    import keras  # here, so that the helpers need not load it

    verbose = 1 if sys.stdout.isatty() else 2  # 2: no control characters
    progress = keras.utils.Progbar(len(paths), unit_name="picture", verbose=verbose)
    images, counts, k = np.empty((len(paths), 28, 28), "uint8"), [], 0
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    results = in_processes(functools.partial(read_pictures, find=one_digit), chunks)
    for (digits, count, found), chunk in zip(results, chunks):
        images[k : k + len(digits)] = digits
        k += len(digits)
        counts += count
        pairs = zip(chunk, found)
        problems += [f"{os.path.relpath(path, root)}: {each}" for path, each in pairs if each]
        progress.add(len(chunk))
    return images[:k], labels[np.array(counts, bool)]


def _require_pictures(root, labels, test_labels, problems):
    """Raise FileNotFoundError if a part has no usable picture; name the digits that have none."""
    for found, purpose, place in (
        (labels, "to train on", f"{root}/train/0 ... 9 or {root}/0 ... 9"),
        (test_labels, "to test on", f"{root}/test/0 ... 9, or two pictures or more of a digit"),
    ):
        missing = ", ".join(str(digit) for digit in range(10) if digit not in found)
        if not len(found):
            hints = "; ".join(problems[:3])
            raise FileNotFoundError(
                f"Expected pictures {purpose} in {place}, got none that can be used. {hints}"
            )
        if missing:
            problems.append(f"no usable picture {purpose} of {missing}")
