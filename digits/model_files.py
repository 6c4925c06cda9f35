"""Model files are data: what they may contain is checked before anything is read from them."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

MAX_BYTES = 2**30  # of all weights and the description of a model
MAX_DESCRIPTION = 2**20  # characters of the description: the bundled model has 8,000
MAX_PARTS = 10_000  # groups and weights in a file


def require_plain(path: Path | str) -> None:
    """Check a model file before Keras, or a reader of our own, reads its weights.

    Args:
        path: a .h5 or .keras file; a folder or a file of another kind is not looked at.

    Raises:
        ValueError: it, or its description, is larger than that of a network for digits; or it is a
            .h5 file whose weights lie outside it: such a file would show what is in other files.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        return
    if not path.is_file():
        raise ValueError(f"Expected a model file, got a pipe or device: {path}")
    _require_size(os.path.getsize(path), path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            _require_size(sum(part.file_size for part in parts), path)
            description = sum(part.file_size for part in parts if part.filename == "config.json")
            _require_size(description, path, MAX_DESCRIPTION)
    elif h5py.is_hdf5(path):
        with h5py.File(path) as file:
            _require_size(len(str(file.attrs.get("model_config"))), path, MAX_DESCRIPTION)
            _require_plain_hdf5(file, path)


def _require_size(size, path, most=MAX_BYTES):
    if size > most:
        raise ValueError(f"Expected a model of at most {most:,} bytes, got {size:,}: {path}")


def _require_plain_hdf5(file, path):
    """Check all links and weights of an open HDF5 file; no link is followed."""
    weights: list[h5py.Dataset] = []
    names: list[str] = []

    def is_link(name, link):  # None: look at the next
        names.append(name)
        return not isinstance(link, h5py.HardLink) or len(names) > MAX_PARTS or None

    def lies_elsewhere(name, part):
        if isinstance(part, h5py.Dataset):
            weights.append(part)
            return bool(part.external) or part.is_virtual or None

    if file.visititems_links(is_link):
        raise ValueError(f"Expected a model without links and with fewer parts, got {path}")
    if file.visititems(lies_elsewhere):
        raise ValueError(f"Expected weights inside the model file, not elsewhere: {path}")
    _require_size(sum(each.size * each.dtype.itemsize for each in weights), path)


def require_sensible(predict: Callable[[np.ndarray], np.ndarray], path: Path | str) -> None:
    """Check that a model distinguishes pictures, before it is served.

    Args:
        predict: from uint8 (n, 28, 28) to float32 (n, 10).
        path: where it comes from, for the message.

    Raises:
        ValueError: it answers with NaN, or the same for all pictures.
    """
    pictures = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype="uint8")
    pictures[0], pictures[1] = 0, 255
    with np.errstate(all="ignore"):
        answers = predict(pictures)
    if not np.isfinite(answers).all() or np.ptp(answers, axis=0).max() < 1e-6:
        raise ValueError(
            f"Expected a model that tells pictures apart, got one that answers with "
            f"{'the same for all' if np.isfinite(answers).all() else 'NaN'}: {path}"
        )
