"""Save networks as .h5, .keras, SavedModel or LiteRT, whole or not at all, and load them safely."""

import contextlib
import os
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

from digits.dense_numpy import require_model


def check_output(path):
    """Raise ValueError or OSError unless `save_trained_model` may write `path`."""
    path = Path(path)
    if path.suffix not in ("", ".h5", ".keras", ".tflite"):
        raise ValueError(
            f"Expected a model name ending in .h5, .keras or .tflite, or a folder, got {path}"
        )
    if path.suffix == ".tflite" and keras.backend.backend() != "tensorflow":
        raise ValueError(f"Expected KERAS_BACKEND=tensorflow to convert to LiteRT, for {path}")
    if path.is_dir() != (path.suffix == "") and path.exists():
        raise ValueError(f"Expected a file for .h5, .keras and .tflite, else a folder, got {path}")
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise ValueError(f"Expected a new folder or an older model to replace, got {path}")
    with _saving(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass


@contextlib.contextmanager
def _saving(path):
    """Turn what a file system refuses into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:  # h5py's and TensorFlow's own
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error).split("; ")[-1].split(" [Op")[0]
        kept = "; the old model is kept" if path.exists() else ""
        raise OSError(f"Could not save {path}: {reason}{kept}") from error


def save_trained_model(model, path):
    """Save as `name.h5`, `name.keras`, `name.tflite` or a SavedModel folder, by the name's ending.

    The model is written beside `path` and then moved there, so that `path` is never half written.
    Only .keras holds the optimizer.

    Raises:
        ValueError: the name has another ending, or a folder with other contents is in its place.
        OSError: it cannot be written; what was at `path` is still there.
    """
    check_output(path)
    path = Path(path).absolute()
    with _saving(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as beside:
        new = Path(beside, path.name)
        if path.suffix == ".h5":  # HDF5 stumbles when a disk gets full: find out before
            new.write_bytes(bytes(4 * model.count_params() + 2**20))
            model.save(new, include_optimizer=False)
        elif path.suffix == ".keras":
            model.save(new)
        else:
            _export(model, new)
        _write_through(new)
        if path.is_dir():
            _replace_folder(path, new)
        else:
            new.replace(path)


def _write_through(new):
    """Have the disk hold a file, or the files in a folder, before they get their name."""
    for path in [new, *new.rglob("*")]:
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file)


def _replace_folder(path, new):
    """Put a new folder in the place of an older one, in two steps; none is lost if one fails."""
    old = path.rename(new.with_name("old"))
    try:
        new.replace(path)
    except OSError:
        old.rename(path)
        raise


def _export(model, path):
    """Write a SavedModel folder, or name.tflite, for servers and devices without Keras.

    The signature `serving_default` takes `images`, uint8 (n, 28, 28), 0-255, ink bright, and gives
    `probabilities`, float32 (n, 10). A SavedModel has `serve` as well, for `load_trained_model`:
    float32 (n, 28, 28) in 0-1 -> float32 (n, 10).
    """

    def serving_default(images):
        return {"probabilities": model(keras.ops.cast(images, "float32") / 255)}

    folder = path.with_suffix("")
    archive = keras.export.ExportArchive()
    scaled = keras.InputSpec("float32", (None, 28, 28))
    raw = keras.InputSpec("uint8", (None, 28, 28), name="images")
    archive.track_and_add_endpoint("serve", model, [scaled])
    archive.add_endpoint("serving_default", serving_default, [raw])
    archive.write_out(folder, verbose=False)
    if path.suffix == ".tflite":
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), ["serving_default"])
        path.write_bytes(converter.convert())


def load_trained_model(path):
    """Load a model that `save_trained_model` wrote; no code in a .h5 or .keras file is run.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: what is there is no Keras model.
    """
    require_model(path)
    path = Path(path)
    if path.suffix == ".tflite":
        raise ValueError(
            f"Expected a .h5, a .keras or a SavedModel folder to read pictures with, got {path}, "
            "which is for LiteRT's own interpreter. Save the model under another name as well"
        )
    if path.is_dir() and keras.backend.backend() != "tensorflow":
        raise ValueError(f"Reading with a SavedModel needs KERAS_BACKEND=tensorflow: {path}")
    try:
        if path.is_dir():
            served = layers.TFSMLayer(str(path), call_endpoint="serve")
            return keras.Sequential([keras.Input((28, 28)), served])
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # h5py, zipfile, json and Keras each raise their own
        raise ValueError(f"Expected a Keras model, got a file that is none: {path}") from error
