"""Store a training run after each epoch, so that a killed one can resume with the same result."""

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np

from digits.atomic import replacing
from digits.hosts import from_first, is_first

EARLY_STOPPING = ("wait", "best", "best_epoch", "stopped_epoch")  # the state of Keras's callback
ARRAYS = ("variables", "best_weights")  # lists of arrays; the rest of a checkpoint is JSON
MAX_BYTES = 2**30  # of a checkpoint; that of the bundled model has 37 MB
KEYS = {"settings", "epochs", "finished", "early_stopping", "history", *ARRAYS}

State = dict[str, Any]


class Checkpoint(keras.callbacks.Callback):
    """Stores weights, optimizer, random state, early stopping and history after each epoch.

    Args:
        path: file to write; it is never half-written.
        settings: everything that determines the run, by its name in messages; values that JSON
            can hold.

    Attributes:
        first_epoch: the first epoch that the run has not finished, counted from 0.
        finished: whether the run has reached its last epoch, or stopped early.
    """

    def __init__(self, path: Path | str, settings: dict[str, Any]) -> None:
        super().__init__()
        self.path, self.settings = Path(path), settings
        self.first_epoch, self.finished = 0, False
        self._state: State | None = None

    def resume(self) -> bool:
        """Continue the interrupted run from the first epoch that it did not finish.

        Returns:
            False if there is none.

        Raises:
            ValueError: it had other settings, or the file is no checkpoint.
        """
        content = from_first(_read_file(self.path))
        if not content:
            return False
        state = read_checkpoint(io.BytesIO(content), self.path)
        for name, value in self.settings.items():
            before = state["settings"].get(name)
            if before != value:
                raise ValueError(
                    f"The interrupted run in {self.path} had {name} {before}, this one has "
                    f"{value}. Give it the same flags and pictures, or leave out --resume."
                )
        self._state, self.first_epoch, self.finished = state, state["epochs"], state["finished"]
        return True

    def follow(
        self, early_stopping: keras.callbacks.EarlyStopping, history: keras.callbacks.History
    ) -> None:
        """Name the callbacks whose state belongs to the run; they must come before this one."""
        self.early_stopping, self.history = early_stopping, history

    def on_train_begin(self, logs: Any = None) -> None:
        if self._state is None:
            return
        variables, values = self._variables(), self._state["variables"]
        if [tuple(each.shape) for each in variables] != [each.shape for each in values]:
            raise ValueError(f"Expected a checkpoint of the same network: {self.path}. Remove it")
        for variable, value in zip(variables, values):
            variable.assign(value)
        for name in EARLY_STOPPING:
            setattr(self.early_stopping, name, self._state["early_stopping"][name])
        self.early_stopping.best_weights = self._state["best_weights"]
        self.history.history = self._state["history"]
        self._state = None  # it is as large as the model

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
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
                f"Epoch {epoch + 1} could not be stored in {self.path} ({error}). Training goes "
                "on; --resume would start from the last epoch that was stored",
                stacklevel=2,
            )

    def _variables(self):
        """Return all that training changes: weights, seeds of dropout, moments of the optimizer."""
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        layers = [variable for layer in self.model.layers for variable in layer.variables]
        return layers + optimizer.variables


def _read_file(path):
    """Return what a file holds, nothing if there is none; too large a one is cut off."""
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES)


def write_checkpoint(path: Path, state: State) -> None:
    """Write a file that `read_checkpoint` reads, or leave the one at `path` as it is.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {f"{name}/{i}": a for name in ARRAYS for i, a in enumerate(state[name])}
    rest = json.dumps({name: value for name, value in state.items() if name not in ARRAYS})
    with replacing(path) as new, open(new, "wb") as file:
        np.savez(file, state=np.frombuffer(rest.encode(), "uint8"), **arrays)


def read_checkpoint(file: IO[bytes], path: Path) -> State:
    """Read what `write_checkpoint` wrote.

    Args:
        file: seekable; each of its parts is checked by a checksum.
        path: its name, for the message.

    Returns:
        A dict with `KEYS`.

    Raises:
        ValueError: the file is no checkpoint, or damaged.
    """
    try:
        _require_uncompressed(file)
        with np.load(file, allow_pickle=False) as arrays:
            state = json.loads(arrays["state"].tobytes())
            for name in ARRAYS:
                count = sum(key.startswith(f"{name}/") for key in arrays)
                state[name] = [arrays[f"{name}/{i}"] for i in range(count)]
        if set(state) != KEYS or not isinstance(state["epochs"], int):
            raise ValueError(f"it has {sorted(state)}")
    except Exception as error:  # zipfile, NumPy and json each raise their own
        raise ValueError(
            f"Expected the checkpoint of a run, got something else: {path} ({error}). "
            "Remove it and start again without --resume"
        ) from error
    return state


def _require_uncompressed(file):
    """Refuse a small file that would unpack into a large one; NumPy's savez compresses nothing."""
    with zipfile.ZipFile(file) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed")
    file.seek(0)
