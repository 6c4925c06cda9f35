"""The model of the service, shared by all its threads; a new file in its place is taken up."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from digits.dense_numpy import UnknownModelError, load_dense, require_model
from digits.model_files import require_sensible
from digits.reading import Predict

PAUSE = 1.0  # seconds between two looks at the file


class LiveModel:
    """A model that is loaded at the start, or as soon as there is one, and again when it changes.

    A new file is loaded in the background and then replaces the model; if it is broken, the model
    stays as it was. It is loaded once two looks find it unchanged: it may be half copied before.

    Args:
        path: where it is, or will be.
        trusted: whether it may be a SavedModel, which is a program.
    """

    def __init__(self, path: Path | str, trusted: bool = False):
        self.path, self.trusted = path, trusted
        self._predict: Predict | None = None
        self._lock = threading.Lock()  # held by the thread that loads, or looks at the file
        self._loaded = self._seen = _stamp(path)
        self._next_look = 0.0

    def load(self) -> Predict:
        """Return the model as a function, warmed up.

        Raises:
            FileNotFoundError: there is no model at the path.
            ValueError: what is there is no model that reads digits, or a SavedModel without trust.
        """
        if self._predict is None:
            return self._load_first()
        if time.monotonic() > self._next_look and self._lock.acquire(blocking=False):
            self._next_look = time.monotonic() + PAUSE
            threading.Thread(target=self._look, daemon=True).start()
        return self._predict

    def _load_first(self):
        with self._lock:
            if self._predict is None:
                self._loaded = self._seen = _stamp(self.path)
                self._predict = self._load()
            return self._predict

    def _load(self):
        if Path(self.path).is_dir() and not self.trusted:
            raise ValueError(
                f"A SavedModel is a program that may do anything: {self.path}. "
                "If you trust it, start with --trust-saved-model"
            )
        predict = load_predict(self.path)
        require_sensible(predict, self.path)
        return predict

    def _look(self):
        """Load the file if it is new; the thread that started this one has taken the lock."""
        try:
            stamp, before = _stamp(self.path), self._seen
            self._seen = stamp
            if stamp == before and stamp not in (None, self._loaded):
                self._loaded = stamp  # a broken file is not tried again
                self._predict = self._load()
                print(f"The new model at {self.path} is used from now on", file=sys.stderr)
        except Exception as error:  # of any kind: the service goes on
            print(f"Warning: the model before it is kept. {error}", file=sys.stderr)
        finally:
            self._lock.release()


def _stamp(path):
    """Return what changes with a file: its time of change, in nanoseconds, and size; or None."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def load_predict(path: Path | str) -> Predict:
    """Load a model, without TensorFlow if it is a stack of Dense layers in a .h5 file.

    Raises:
        FileNotFoundError: there is no model at `path`.
        ValueError: the file there is not a model that reads digits.
    """
    require_model(path)
    try:
        return load_dense(path)
    except UnknownModelError:
        from digits.quiet import load_tensorflow

        load_tensorflow()
        from digits.networks import predict_images
        from digits.saving import load_trained_model

        model = load_trained_model(path)
        predict_images(np.zeros((1, 28, 28), "uint8"), model)  # the first call is slow
        return lambda images: predict_images(images, model)
