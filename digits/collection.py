"""Keep the digits that people correct, in folders that a network can be trained on."""

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from digits.atomic import replacing

NO_DIGIT = "none"  # the label of what is no digit
LABELS = (*"0123456789", NO_DIGIT)
MAX_PICTURES = 10_000
MAX_BYTES = 100 * 2**20  # of all files in the folder


class FullError(OSError):
    """The folder holds as many pictures, or bytes, as it may."""


class Collection:
    """A folder with `train/0` to `train/9` and `nondigits`, as `load_image_folders` expects it.

    Args:
        root: the folder; what is missing of it is made when a picture is kept.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._lock = threading.Lock()

    def keep(self, pixels: np.ndarray, label: str) -> Path:
        """Write an image as a PNG named by its content; it has one label, the latest.

        Args:
            pixels: uint8 (28, 28), in MNIST's form.
            label: one of LABELS.

        Returns:
            Where it is, relative to the root.

        Raises:
            FullError: there is no room for it.
            OSError: it cannot be written, or a link leads out of the folder.
        """
        name = hashlib.sha256(pixels.tobytes()).hexdigest()[:32] + ".png"
        path = self._folder(label) / name
        with self._lock:
            if not path.exists():
                self._require_room()
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as new:
                    Image.fromarray(pixels).save(new)
            for other in LABELS:
                if other != label:
                    (self._folder(other) / name).unlink(missing_ok=True)
        return path.relative_to(self.root)

    def _folder(self, label):
        """Return a label's folder; raise OSError if a link there leaves the root."""
        folder = self.root / ("nondigits" if label == NO_DIGIT else f"train/{label}")
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise OSError(f"Expected a folder, got a link that leaves {self.root}: {folder}")
        return folder

    def _require_room(self):
        """Raise FullError if the folder holds too many files, or too large ones, of any kind."""
        files = (Path(at, name) for at, _, names in os.walk(self.root) for name in names)
        sizes = [file.lstat().st_size for file in files]
        if len(sizes) >= MAX_PICTURES or sum(sizes) >= MAX_BYTES:
            raise FullError("No more pictures can be kept here: the folder is full.")
