"""Save networks in several formats, never half-written, and load them safely."""

import contextlib
import importlib.util
import json
import os
import shutil
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import tensorflow as tf
from keras import layers

from digits.atomic import replacing
from digits.dense_numpy import require_model
from digits.model_files import require_plain
from digits.networks import as_classifier, require_digits

KERAS_2 = ", saved by Keras 2."
EXPORTED = {".tflite": "LiteRT's own interpreter", ".onnx": "ONNX Runtime"}
MARGIN = 2**20  # bytes of a model file beside its weights, at most


def check_output(path: Path | str) -> None:
    """Check that `save_trained_model` can write `path`, before training begins.

    Raises:
        ValueError: the name has another ending, or something else is in its place.
        OSError: nothing can be written there.
    """
    path = Path(path)
    if path.suffix not in ("", ".h5", ".keras", *EXPORTED):
        raise ValueError(
            f"Expected a name ending in .h5, .keras, .tflite or .onnx, or a folder, got {path}"
        )
    if path.suffix in EXPORTED and keras.backend.backend() != "tensorflow":
        raise ValueError(f"Expected KERAS_BACKEND=tensorflow to convert to {path.suffix}: {path}")
    if path.suffix == ".onnx" and not importlib.util.find_spec("tf2onnx"):
        raise ValueError(f"{path} needs tf2onnx: python -m pip install tf2onnx")
    if path.exists() and path.is_dir() != (path.suffix == ""):
        raise ValueError(f"Expected a file for names with an ending, else a folder, got {path}")
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists():
        raise ValueError(f"Expected a new folder or an older model to replace, got {path}")
    with _explained(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass


def save_trained_model(model: keras.Model, path: Path | str) -> None:
    """Save as name.h5, name.keras, name.tflite, name.onnx or a SavedModel folder, by its ending.

    The model is written beside `path` and then moved there, so that `path` is never half-written.
    Only .keras holds the optimizer.

    Raises:
        ValueError: the name has another ending, or a folder with other contents is in its place.
        OSError: it cannot be written; what was at `path` is still there.
    """
    check_output(path)
    path = Path(path)
    with _explained(path), replacing(path) as new:
        _require_room(model, new)
        if path.suffix == ".h5":
            model.save(new, include_optimizer=False)
        elif path.suffix == ".keras":
            model.save(new)
        else:
            _export(model, new)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a file system, HDF5 or TensorFlow raises into one sentence."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else str(error)
        kept = "; the old model is kept" if path.exists() else ""
        raise OSError(f"Could not save {path}: {reason}{kept}") from error


def _require_room(model, new):
    """Raise OSError if the disk has no room for a model: HDF5's own error is obscure.

    .keras holds the optimizer's two moments of each weight; .tflite is written from a SavedModel.
    """
    copies = {".h5": 1, "": 1, ".onnx": 1, ".tflite": 2, ".keras": 3}[new.suffix]
    trial = new.with_name("trial")
    trial.write_bytes(bytes(4 * copies * model.count_params() + MARGIN))
    trial.unlink()


def _export(model, path):
    """Write a SavedModel folder, name.tflite or name.onnx, for programs without Keras.

    The signature `serving_default` takes `images`, uint8 (n, 28, 28), 0-255, ink bright, and
    returns `probabilities`, float32 (n, 10). A SavedModel has `serve` as well, for
    `load_trained_model`: float32 (n, 28, 28) in 0-1 -> float32 (n, 10).
    """
    serve = as_classifier(model)

    def serving_default(images):
        return {"probabilities": serve(keras.ops.cast(images, "float32") / 255)}

    if path.suffix == ".onnx":
        from digits.onnx_export import to_onnx

        path.write_bytes(to_onnx(serving_default))
        return
    folder = path.with_suffix("")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, [keras.InputSpec("float32", (None, 28, 28))])
    raw = keras.InputSpec("uint8", (None, 28, 28), name="images")
    archive.add_endpoint("serving_default", serving_default, [raw])
    archive.write_out(folder, verbose=False)
    if path.suffix == ".tflite":
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), ["serving_default"])
        path.write_bytes(converter.convert())


def store_as_float16(path: Path | str) -> None:
    """Rewrite a .h5 model with its weights in half the space; Keras loads them as float32.

    Raises:
        OSError: it cannot be read or written; the file is then unchanged.
    """
    path = Path(path)
    with (
        _explained(path),
        replacing(path) as new,
        h5py.File(path) as old,
        h5py.File(new, "w") as file,
    ):

        def copy(name, item):
            if isinstance(item, h5py.Group):
                copied = file.require_group(name)
            else:
                values = item[()]
                dtype = "float16" if values.dtype == "float32" else values.dtype
                copied = file.create_dataset(name, data=values.astype(dtype))
            copied.attrs.update(item.attrs)

        copy("/", old)
        old.visititems(copy)


def load_trained_model(path: Path | str) -> keras.Model:
    """Load a model that `save_trained_model` wrote; no code in a .h5 or .keras file is run.

    A SavedModel folder is a program, which runs: load only those that you trust.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it cannot be loaded; the message says why, and which version of Keras saved it.
    """
    require_model(path)
    require_plain(path)
    path = Path(path)
    if path.suffix in EXPORTED:
        raise ValueError(
            f"Expected a .h5, a .keras or a SavedModel folder to read pictures with, got {path}, "
            f"which is for {EXPORTED[path.suffix]}. Save the model under another name as well"
        )
    if path.is_dir() and keras.backend.backend() != "tensorflow":
        raise ValueError(f"Reading with a SavedModel needs KERAS_BACKEND=tensorflow: {path}")
    try:
        if path.is_dir():
            served = layers.TFSMLayer(str(path), call_endpoint="serve")
            return keras.Sequential([keras.Input((28, 28)), served])
        with _modernised(path) as file:
            model = keras.saving.load_model(file, compile=False, safe_mode=True)
        require_digits(model)
        return model
    except Exception as error:  # h5py, zipfile, json and Keras each raise their own
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise ValueError(
            f"Expected a Keras model that Keras {keras.__version__} can load, got {path}"
            f"{_saved_by(path)}. {_hint(path)}{reason}"
        ) from error


def _hint(path):
    if path.suffix == ".keras" and _saved_by(path).startswith(KERAS_2):
        return "Keras 3 reads .h5 files of Keras 2 only: save it there as .h5. "
    if path.is_dir():
        return "It has no endpoint of this project's: save it as .h5 with the Keras that wrote it. "
    if path.name.endswith("weights.h5"):
        return "It seems to hold weights alone: save the whole model with model.save. "
    return ""


@contextlib.contextmanager
def _modernised(path):
    """Yield a path; for a .h5 file by Keras 2.0, whose config is a list, that of a new copy."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            config = json.loads(file.attrs.get("model_config", "{}"))
        if isinstance(config.get("config"), list):
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(shutil.copy(path, folder))
                shape = config["config"][0]["config"].pop("batch_input_shape")
                first = {"class_name": "InputLayer", "config": {"batch_shape": shape}}
                config["config"] = {"name": "sequential", "layers": [first, *config["config"]]}
                with h5py.File(copy, "r+") as file:
                    file.attrs["model_config"] = json.dumps(config)
                yield copy
            return
    yield path


def _saved_by(path):
    """Return KERAS_2 and the rest of the version, say, or nothing where the file does not say."""
    with contextlib.suppress(Exception):  # a file can be broken in many ways
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            with h5py.File(path) as file:
                version = file.attrs["keras_version"]
        return f", saved by Keras {str(version)[:20]}"
    return ""
