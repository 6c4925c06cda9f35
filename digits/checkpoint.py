"""Keep all of a training run after each epoch, so that a killed one goes on as if never killed."""

import io
import json
import os
import warnings
from pathlib import Path

import keras
import numpy as np

from digits.hosts import from_first, is_first

EARLY_STOPPING = ("wait", "best", "best_epoch", "stopped_epoch")  # what Keras's counts with
ARRAYS = ("variables", "best_weights")  # lists of arrays; all else in a checkpoint is JSON


class Checkpoint(keras.callbacks.Callback):
    """Writes weights, optimizer, random state, early stopping and history after each epoch.

    Args:
        path: file to write; it is at every moment absent or whole.
        settings: dict of str to what JSON can hold: all that the run's course depends on.
    """

    def __init__(self, path, settings):
        super().__init__()
        self.path, self.settings, self.state = Path(path), settings, None
        self.first_epoch, self.finished = 0, False

    def resume(self):
        """Go on with the run that was interrupted, from the first epoch that it did not finish.

        Returns:
            False if there is none.

        Raises:
            ValueError: it had other settings, or the file is none of ours.
        """
        content = from_first(self.path.read_bytes() if self.path.exists() else b"")
        if not content:
            return False
        state = read_checkpoint(io.BytesIO(content), self.path)
        settings = state["settings"]
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise ValueError(
                    f"The interrupted run in {self.path} had {name} {settings.get(name)}, this one "
                    f"has {value}. Give it the same flags and pictures, or leave out --resume."
                )
        self.state, self.first_epoch, self.finished = state, state["epochs"], state["finished"]
        return True

    def follow(self, early_stopping, history):
        """Name the callbacks whose state belongs to the run; they must come before this one."""
        self.early_stopping, self.history = early_stopping, history

    def _variables(self):
        """Return all that training changes: weights, seeds of dropout, moments of the optimizer."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        layers = [variable for layer in self.model.layers for variable in layer.variables]
        return layers + optimizer.variables

    def on_train_begin(self, logs=None):
        if self.state is None:
            return
        for variable, value in zip(self._variables(), self.state["variables"], strict=True):
            variable.assign(value)
        for name in EARLY_STOPPING:
            setattr(self.early_stopping, name, self.state["early_stopping"][name])
        self.early_stopping.best_weights = self.state["best_weights"]
        self.history.history = self.state["history"]
        self.state = None  # it is as large as the model

    def on_epoch_end(self, epoch, logs=None):
        self.finished = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not is_first():
            return
        state = {
            "settings": self.settings,
            "epochs": epoch + 1,
            "finished": self.finished,
            "early_stopping": {name: getattr(self.early_stopping, name) for name in EARLY_STOPPING},
            "history": self.history.history,
            "variables": [keras.ops.convert_to_numpy(each) for each in self._variables()],
            "best_weights": self.early_stopping.best_weights,
        }
        try:
            write_checkpoint(self.path, state)
        except OSError as error:
            warnings.warn(
                f"Epoch {epoch + 1} could not be kept in {self.path} ({error}). Training goes on; "
                "--resume would start from the last epoch that was kept",
                stacklevel=2,
            )


def write_checkpoint(path, state):
    """Write beside `path` and move there what `read_checkpoint` returns."""
    arrays = {f"{name}/{i}": a for name in ARRAYS for i, a in enumerate(state[name])}
    words = json.dumps({name: value for name, value in state.items() if name not in ARRAYS})
    new = path.with_name(f".{path.name}.new")  # what a kill leaves is overwritten next time
    try:
        with open(new, "wb") as file:
            np.savez(file, state=np.frombuffer(words.encode(), "uint8"), **arrays)
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty file under the name
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_checkpoint(file, path):
    """Return a dict: settings, epochs, finished, early_stopping, history, variables, best_weights.

    Args:
        file: binary file object.
        path: its name, for the message.

    Raises:
        ValueError: the file is no checkpoint.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            state = json.loads(arrays["state"].tobytes())
            for name in ARRAYS:
                count = sum(key.startswith(f"{name}/") for key in arrays)
                state[name] = [arrays[f"{name}/{i}"] for i in range(count)]
    except Exception as error:  # zipfile, NumPy and json each raise their own
        raise ValueError(
            f"Expected the checkpoint of a run, got something else: {path}. Remove it, start anew"
        ) from error
    return state
