"""The model of the service, shared by all its threads."""

import threading
from pathlib import Path

import numpy as np

from digits.dense_numpy import UnknownModelError, load_dense, require_model
from digits.reading import Predict


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
        """Return the model as a function, warmed up.

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
