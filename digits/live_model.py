"""The model that a service reads with, used by all its threads."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from digits.dense_numpy import UnknownModelError, load_dense, require_model

Predict = Callable[[np.ndarray], np.ndarray]  # uint8 (n, 28, 28), ink bright, to float32 (n, 10)


class LiveModel:
    """A model that is loaded once: at the start, or as soon as there is one.

    Args:
        path: where it is, or will be.
    """

    def __init__(self, path: Path | str):
        self.path = path
        self._predict: Predict | None = None
        self._lock = threading.Lock()

    def load(self) -> Predict:
        """Return the model as a function, warm.

        Raises:
            FileNotFoundError, ValueError: as for `load_predict`.
        """
        with self._lock:
            if self._predict is None:
                self._predict = load_predict(self.path)
            return self._predict


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
