"""Load folders of digit pictures as MNIST comes, in little memory, and fast the second time.

The first start decodes every file, brings it to MNIST's form and appends it to a cache file in the
folder. The arrays are that file, mapped: the system reads pages as they are needed, and may drop
them again. The file's name is a fingerprint of all files, so that any change leads to another one.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import mmap
import os
import stat
import time
import uuid
import warnings
from pathlib import Path

import numpy as np
import PIL

from digits.cores import in_processes
from digits.files import open_picture
from digits.find import NoDigitError, find_digits, pil_to_mnist
from digits.form import is_normalised

CACHE = ".decoded_pictures"  # in the root; the names of unfinished files in it have a suffix
ABANDONED = 3600  # seconds without a write: whoever began this unfinished file is gone
CHUNK = 1000  # pictures in memory before they are written
SMALL = 65536  # bytes
PIXELS = 784  # bytes of a picture


def load_image_folders(root, test_share=1 / 7, seed=0):
    """Load pictures from `root/train/0-9/*` and `root/test/0-9/*`.

    A `root` with the folders 0-9 directly inside is a training folder. Without a test folder, a
    seeded stratified share of the training pictures is held out. Pictures may have any size and
    mode: each goes through `pil_to_mnist`, which leaves pictures that already are like MNIST's as
    they are. Files that cannot be used are skipped and named in one warning.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: uint8 (n, 28, 28), ink bright, and uint8 (n,), by
        digit. Pictures are mapped from a cache file in `root`, read-only, or in memory where no
        such file can be written.

    Raises:
        FileNotFoundError: there are no folders named 0-9 with usable pictures to train and to test.
        OSError: a file may not be read.
    """
    root, problems = Path(root), []
    digest = hashlib.sha256(_preprocessing())
    train = "train" if (root / "train").is_dir() else "."
    parts = [_list_digits(root, train, digest, problems)]
    if hold_out := not (root / "test").is_dir():
        digest.update(f"{test_share} {seed}".encode())
        parts = _hold_out(parts[0], test_share, seed)
    else:
        parts.append(_list_digits(root, "test", digest, problems))
    _require_pictures(root, [sum(len(names) for *_, names in part) for part in parts], problems)
    decoded, about = _decode_once(root, parts, digest.hexdigest())
    problems += about["problems"]
    labels = [np.repeat(np.arange(10, dtype="uint8"), counts) for counts in about["counts"]]
    sizes = [len(each) for each in labels]
    _require_pictures(root, sizes, problems)
    if hold_out:
        problems.append(f"there is no test folder: {sizes[1]:,} pictures are held out for it")
    if problems:
        warnings.warn(f"{root}:\n  " + "\n  ".join(problems), stacklevel=2)
    images = np.frombuffer(decoded, "uint8", sum(sizes) * PIXELS).reshape(-1, 28, 28)
    return (images[: sizes[0]], labels[0]), (images[sizes[0] :], labels[1])


def stratified_split(labels, share, seed):
    """Split indices at random so that every class gives the same share, and keeps at least one.

    Args:
        labels: uint8 (n,).
        share: of each class to hold out, 0-1.

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


# What there is to read


def _preprocessing():
    """Return a digest of all that decides on how a file is decoded."""
    sources = ("folders.py", "files.py", "find.py")
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in sources)
    return hashlib.sha256(code + PIL.__version__.encode()).digest()


def _list_digits(root, part, digest, problems):
    """List the files in `root/part/0-9`, and add their names, sizes and times to `digest`.

    Returns:
        A list of `(digit, folder below root, sorted names)`.
    """
    found, top = [], root / part
    for folder in sorted(top.iterdir()) if top.is_dir() else []:
        below = folder.relative_to(root)
        if folder.name in tuple("0123456789") and folder.is_dir():
            with os.scandir(folder) as entries:
                files = sorted(_describe(each) for each in entries if each.name[0] != ".")
            digest.update(f"\0{below.as_posix()}\0".encode())
            for file in files:
                digest.update(os.fsencode(file))
            found.append((int(folder.name), below, [file.split("\0")[0] for file in files]))
        elif not folder.name.startswith(".") and folder.is_dir():
            problems.append(f"{below}: expected a folder named 0, 1, ... or 9")
    return found


def _describe(entry):
    """Return a file's name, size and times of change in one string: a tuple takes more memory."""
    try:
        status = entry.stat()
    except OSError:  # a link to nothing, or gone meanwhile
        return f"{entry.name}\0"
    times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"  # some copies and rights change one only
    return f"{entry.name}\0{status.st_size}\0{times}\0"


def _hold_out(training, share, seed):
    """Split what `_list_digits` found in two, digit by digit."""
    parts = [], []
    for digit, folder, names in training:
        for part, chosen in zip(parts, stratified_split(np.zeros(len(names)), share, seed)):
            part.append((digit, folder, [names[i] for i in np.sort(chosen)]))
    return parts


def _require_pictures(root, counts, problems):
    """Raise FileNotFoundError unless there are pictures to train on and to test on."""
    places = (
        f"{root / '0'} ... {root / '9'}, or in train/0 ... train/9 below it",
        f"{root / 'test' / '0'} ... {root / 'test' / '9'}, or no test folder and two pictures or "
        "more of a digit, to hold one out",
    )
    for count, place in zip(counts, places):
        if not count:
            hints = " ".join(problems[:3])
            raise FileNotFoundError(
                f"Expected pictures in {place}, got none that can be read. {hints}"
            )


# The cache


def _decode_once(root, parts, name):
    """Map the cache file of this name, and write it first where there is none.

    Args:
        parts: what to train and to test on, each as `_list_digits` returns it.

    Returns:
        A mmap that begins with the pictures, and what `_decode` says about them.
    """
    path = root / CACHE / name
    for write in (False, True):
        with contextlib.suppress(OSError, ValueError):  # missing, torn; a full or read-only disk
            if write:
                _write_cache(path, root, parts)
            decoded, about = _map_cache(path)
            _remove_others(path)
            return decoded, about
    count = sum(len(names) for part in parts for *_, names in part)
    decoded = mmap.mmap(-1, PIXELS * count)  # memory that is taken as it is written
    return decoded, _decode(root, parts, decoded)


def _write_cache(path, root, parts):
    """Decode all pictures into a file that gets its name when it is whole.

    It ends with what `_decode` says, as JSON, and with the length of that in 8 bytes.
    """
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        with open(new, "xb") as file:
            about = json.dumps(_decode(root, parts, file)).encode()
            file.write(about + len(about).to_bytes(8, "little"))
            file.flush()
            os.fsync(file)  # or a power cut could leave a name without contents
        if not _is_whole(path):  # another process may have been faster, and have mapped it
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _map_cache(path):
    """Return what `_decode_once` does; raise OSError or ValueError unless the file is whole."""
    with open(path, "rb") as file:
        decoded = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(decoded[-8:], "little")
    return decoded, json.loads(decoded[-8 - length : -8])


def _is_whole(path):
    """Tell whether there is a cache file that can be mapped."""
    with contextlib.suppress(OSError, ValueError):
        _map_cache(path)
        return True
    return False


def _remove_others(path):
    """Remove cache files of other fingerprints, and what killed processes left."""
    for other in path.parent.iterdir():
        with contextlib.suppress(OSError):  # Windows keeps what another process has mapped
            age = time.time() - other.stat().st_mtime
            if other != path and age > ABANDONED:  # a host that shares the folder may map it
                other.unlink()


# Decoding


def _decode(root, parts, file):
    """Decode all files and write the pictures that can be used, uint8 (28, 28) each, to `file`.

    Args:
        parts: as for `_decode_once`.
        file: anything with a `write` that takes bytes.

    Returns:
        A dict: `counts` of pictures written, by part and digit, and `problems`, a sentence for
        each file that cannot be used.
    """
    import keras  # not for the processes that read pictures

    total = sum(len(names) for part in parts for *_, names in part)
    progress = keras.utils.Progbar(total, unit_name="picture")
    counts, problems = [[0] * 10 for _ in parts], []
    read = functools.partial(read_pictures, find=_the_digit)
    chunks, work = itertools.tee(_chunks(root, parts))
    share = in_processes if total > CHUNK else map  # few are read here before a process starts
    pictures = share(read, (paths for *_, paths in work))
    for (number, digit, paths), (images, _, wrong) in zip(chunks, pictures):
        file.write(images)
        counts[number][digit] += len(images)
        problems += [
            f"{Path(path).relative_to(root)}: {words}" for path, words in zip(paths, wrong) if words
        ]
        progress.add(len(paths))
    return {"counts": counts, "problems": problems}


def _chunks(root, parts):
    """Yield `(number of the part, digit, at most CHUNK paths)`."""
    for number, part in enumerate(parts):
        for digit, folder, names in part:
            place = f"{root / folder}{os.sep}"
            for start in range(0, len(names), CHUNK):
                yield number, digit, [place + name for name in names[start : start + CHUNK]]


def read_pictures(paths, find, problem=ValueError):
    """Read picture files, and bring the digits in them to MNIST's form.

    Args:
        paths: file names.
        find: `find(image)` returns the digits in a PIL image, each uint8 (28, 28), or raises
            NoDigitError. Pictures that already have MNIST's form are taken as they are.
        problem: class of errors, or a tuple of them, that are told and not raised: a file that is
            no picture is a ValueError, one that may not be read, now or by this user, an OSError.

    Returns:
        Digits in the order of the files, uint8 (k, 28, 28); how many each file has, a list of n
        int; and what is wrong with each, a list of n strings, empty where nothing is.
    """
    found, problems, small = [[] for _ in paths], [""] * len(paths), {}
    for i, path in enumerate(paths):
        try:
            image = _open_in_one_go(path)
            if image.mode == "L" and image.size == (28, 28):
                small[i] = image
            else:
                found[i] = find(image)
        except problem as error:
            problems[i] = str(error)
    pixels = _stack(map(np.asarray, small.values()))
    for i, image, same in zip(small, pixels, is_normalised(pixels)):
        try:
            found[i] = [image] if same else find(small[i])
        except NoDigitError as error:
            problems[i] = str(error)
    digits = _stack(digit for each in found for digit in each)
    return digits, [len(each) for each in found], problems


def _stack(pictures):
    """Return one array, uint8 (n, 28, 28), of any number of pictures."""
    return np.array([*pictures], "uint8").reshape(-1, 28, 28)


def _the_digit(image):
    """Return a list of the one digit in a picture."""
    return [pil_to_mnist(image)]


def all_digits(image):
    """Return a list of the digits in a picture, in reading order, each uint8 (28, 28)."""
    return [pixels for pixels, _ in find_digits(image)]


def _open_in_one_go(path):
    """Open a picture as `open_picture` does, but read a small file in one call, not in twenty.

    Raises:
        ValueError: the file is no picture, and so it will be at the next start.
        OSError: the file may not be read, now or by this user.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # a pipe can be read once only
                return open_picture(io.BytesIO(file.readall()))
            if status.st_size < SMALL:
                return open_picture(io.BytesIO(file.read(SMALL)))
    except OSError:
        if os.path.exists(path) and not os.path.isdir(path):
            raise
    return open_picture(path)
