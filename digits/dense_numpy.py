"""Run a saved Dense network in NumPy alone, so that the service needs no TensorFlow."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from digits.foreign import INPUT_SHAPES, RAW, UNIT, Network, as_probabilities, measure, softmax
from digits.model_files import require_plain


class UnknownModelError(ValueError):
    """The file holds no supported stack of Dense layers; Keras may be able to load it."""


def require_model(path: Path | str) -> None:
    """Raise FileNotFoundError unless there is something at `path`."""
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no model at {path}. Run python mnist_dnn.py first.")


def load_dense(path: Path | str) -> Network:
    """Load a Sequential model of Dense, BatchNormalization, ReLU and the like from a .h5 file.

    Args:
        path: file that Keras saved; no code in it is run.

    Returns:
        A function from uint8 (n, 28, 28), ink bright, to probabilities, float32 (n, 10).

    Raises:
        UnknownModelError: the file holds another model, or none; its cause says why.
        ValueError: it is too large, or its weights lie outside it.
    """
    require_plain(path)
    try:
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])
            if config["class_name"] != "Sequential":
                raise ValueError(f"a {config['class_name']} model")
            stack = _layers(config)
            _require_shape(stack[0]["config"])
            steps = [_step(layer, file["model_weights"]) for layer in stack]
        predict = _chain(stack, steps)
        if predict(np.full((1, 28, 28), 255, "uint8")).shape != (1, 10):
            raise ValueError("a model without ten outputs")
    except Exception as error:  # a file can be wrong in many ways; Keras explains them
        raise UnknownModelError(f"Expected a stack of Dense layers in {path}: {error}") from error
    return predict


def _layers(sequential):
    """Return a Sequential model's layers, and those of models inside that have no weights.

    In Keras 2.0 its config is the list of its layers.
    """
    config = sequential["config"]
    layers = config if isinstance(config, list) else config["layers"]
    nested = [_layers(each) if each["class_name"] == "Sequential" else [each] for each in layers]
    return [layer for each in nested for layer in each]


def _require_shape(config):
    """Raise ValueError unless the first layer takes digits; some files do not say."""
    shape = config.get("batch_shape") or config.get("batch_input_shape") or (None, 784)
    if tuple(shape[1:]) not in INPUT_SHAPES:
        raise ValueError(f"a model for pictures of {tuple(shape[1:])}")


def _chain(stack, steps):
    """Return a function that takes images through all steps, to probabilities."""

    def network(x):
        x = x.reshape(len(x), 784)
        for step in steps:
            x = step(x)
        return x

    rescales = any(layer["class_name"] == "Rescaling" for layer in stack)
    form = measure(network, RAW if rescales else UNIT)
    return lambda images: as_probabilities(network(form.pixels.of(images)), form.outputs)


def _step(layer, weights):
    """Return a layer as a function of float32 (n, k)."""
    config, kind = layer["config"], layer["class_name"]
    if layer.get("registered_name") or config.get("quantization_config"):
        raise ValueError(f"a custom {kind}")
    group = weights.get(config["name"])
    names = group.attrs["weight_names"] if group else []
    values = [group[name][()].astype("float32") for name in names]
    if not all(np.isfinite(each).all() for each in values):
        raise ValueError(f"a {kind} with weights that are not finite")
    return LAYERS[kind](config, *values)


def _dense(config, kernel, bias=0):
    activation = ACTIVATIONS[config["activation"]]

    def dense(x):
        if x.shape[1] != len(kernel):
            raise ValueError(f"a Dense layer of {len(kernel)} inputs for {x.shape[1]} values")
        used = np.flatnonzero(x.any(axis=0))
        if len(used) < len(kernel) / 2:  # most pixels are 0, and so is much of a ReLU's output
            return activation(x.take(used, axis=1) @ kernel.take(used, axis=0) + bias)
        return activation(x @ kernel + bias)

    return dense


def _batch_normalization(config, gamma, beta, mean, variance):
    scale = gamma / np.sqrt(variance + config["epsilon"])
    return lambda x: x * scale + (beta - mean * scale)


def _relu(config):
    if config["max_value"] is not None or config["negative_slope"] or config["threshold"]:
        raise ValueError("a ReLU with a limit, slope or threshold")
    return ACTIVATIONS["relu"]


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x times the probability that a standard normal number is below x: the exact GELU.

    Within 1e-6. Source: the error function by Abramowitz and Stegun 1964, formula 7.1.26.
    """
    size = abs(x) / np.sqrt(2, dtype=x.dtype)
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * -1.453152027)))
    series += 1.061405429 * t**5
    above = series * np.exp(-(size**2)) / 2  # the probability beyond x, away from 0
    return x * np.where(x > 0, 1 - above, above)


def _unchanged(x):
    return x


ACTIVATIONS: dict[str, Network] = {
    "linear": _unchanged,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": gelu,
    "softmax": softmax,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x.clip(-80, 80))),
}
LAYERS: dict[str, Callable[..., Any]] = {
    "InputLayer": lambda config: _unchanged,
    "Flatten": lambda config: _unchanged,
    "Dropout": lambda config: _unchanged,
    "Rescaling": lambda config: lambda x: x * config["scale"] + config["offset"],
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "ReLU": _relu,
    "Activation": lambda config: ACTIVATIONS[config["activation"]],
}
