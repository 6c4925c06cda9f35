"""The model of the service, shared by all its threads."""

import threading
from pathlib import Path

import numpy as np

from digits.dense_numpy import UnknownModelError, load_dense, require_model
from digits.model_files import require_sensible
from digits.reading import Predict


class LiveModel:
    """A model that is loaded once: at the start, or as soon as there is one.

    Args:
        path: where it is, or will be.
        trusted: whether it may be a SavedModel, which is a program.
    """

    def __init__(self, path: Path | str, trusted: bool = False):
        self.path, self.trusted = path, trusted
        self._predict: Predict | None = None
        self._lock = threading.Lock()

    def load(self) -> Predict:
        """Return the model as a function, warmed up.

        Raises:
            FileNotFoundError: there is no model at the path.
            ValueError: what is there is no model that reads digits, or a SavedModel without trust.
        """
        with self._lock:
            if self._predict is None:
                if Path(self.path).is_dir() and not self.trusted:
                    raise ValueError(
                        f"A SavedModel is a program that may do anything: {self.path}. "
                        "If you trust it, start with --trust-saved-model"
                    )
                predict = load_predict(self.path)
                require_sensible(predict, self.path)
                self._predict = predict
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
