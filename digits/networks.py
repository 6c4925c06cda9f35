"""The CNN, ensembles, and what every network needs: prediction and calibration."""

import weakref
from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from digits.foreign import (
    INPUT_SHAPES,
    RAW,
    UNIT,
    Form,
    as_probabilities,
    measure,
    softmax,
)
from digits.metrics import cross_entropy

TEMPERATURES = np.geomspace(0.5, 2, 81)  # one step changes the logits by 1.7 %


def normalized(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer with batch normalization, which replaces its bias, and GELU."""
    return [layer, layers.BatchNormalization(), layers.Activation("gelu")]


def build_cnn(dropout_rate: float = 0.1) -> keras.Model:
    """Build a convolutional network: float32 (n, 28, 28) in 0-1 -> ten probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 5, use_bias=False),  # 24x24
            *normalized(layers.MaxPooling2D()),  # 12x12
            *normalized(layers.Conv2D(64, 3, use_bias=False)),  # 10x10
            layers.Conv2D(64, 3, use_bias=False),  # 8x8
            *normalized(layers.MaxPooling2D()),  # 4x4
            *normalized(layers.Conv2D(128, 3, padding="same", use_bias=False)),
            layers.Conv2D(128, 3, padding="same", use_bias=False),
            *normalized(layers.MaxPooling2D()),  # 2x2
            layers.Flatten(),
            layers.Dropout(dropout_rate),
            *normalized(layers.Dense(128, use_bias=False)),
            layers.Dropout(dropout_rate),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_cnn",
    )


def build_ensemble(models: list[keras.Model]) -> keras.Model:
    """Join networks with the same input into one that averages their probabilities."""
    inputs = keras.Input(models[0].input_shape[1:])
    for number, model in enumerate(models, start=1):
        model.name = f"member_{number}"
    return keras.Model(inputs, layers.Average()([model(inputs) for model in models]))


def members(models: list[keras.Model]) -> list[keras.Model]:
    """Return the single networks among `models`: the members of ensembles, and all others."""
    found = []
    for model in models:
        if isinstance(model.layers[-1], layers.Average):
            found += [layer for layer in model.layers if isinstance(layer, keras.Model)]
        else:
            found.append(model)
    return found


def predict_images(images: np.ndarray, model: keras.Model, batch_size: int = 1024) -> np.ndarray:
    """Return ten probabilities for each image in MNIST's form.

    Args:
        images: uint8 (n, 28, 28), ink bright on black.
        model: takes one of INPUT_SHAPES and returns ten logits, probabilities or sigmoids. Which
            pixels it wants is found out when it is first used, see `digits.foreign`.

    Returns:
        float32 (n, 10); rows sum to 1.

    Raises:
        ValueError: the model has another input or output.
    """
    form, x = form_of(model), images.reshape(-1, *model.input_shape[1:])
    outputs = [
        model.predict_on_batch(form.pixels.of(x[i : i + batch_size]))
        for i in range(0, len(x), batch_size)
    ]
    return as_probabilities(np.concatenate(outputs).astype("float32"), form.outputs)


def form_of(model: keras.Model) -> Form:
    """Return which pixels a model wants and what its outputs mean.

    Raises:
        ValueError: the model has another input or output.
    """
    if model not in _forms:
        require_digits(model)
        shape = model.input_shape[1:]
        form = measure(
            lambda x: model.predict_on_batch(x.reshape(-1, *shape)),
            RAW if rescales(model) else UNIT,
        )
        if not form.clear:  # it may be trained later
            return form
        _forms[model] = form
    return _forms[model]


_forms: weakref.WeakKeyDictionary[keras.Model, Form] = weakref.WeakKeyDictionary()


def as_classifier(model: keras.Model) -> Callable:
    """Return a model as a function from float32 (n, 28, 28) in 0-1 to ten probabilities."""
    form = form_of(model)
    scale, offset = form.pixels.scale * 255, form.pixels.offset

    def classify(x):
        outputs = model(keras.ops.reshape(x * scale + offset, (-1, *model.input_shape[1:])))
        if form.outputs == "sigmoids":
            inside = keras.ops.clip(outputs, 1e-7, 1 - 1e-7)
            outputs = keras.ops.log(inside / (1 - inside))
        return outputs if form.outputs == "probabilities" else keras.ops.softmax(outputs)

    return classify


def require_digits(model: keras.Model) -> None:
    """Raise ValueError unless a model reads 28x28 pixels and returns ten outputs."""
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if shapes[0] not in [(None, *shape) for shape in INPUT_SHAPES] or shapes[1] != (None, 10):
        names = [each[1:] if isinstance(each, tuple) else each for each in shapes]
        raise ValueError(
            "Expected a model from 28x28 grey pixels to 10 classes, "
            f"got one from {names[0]} to {names[1]}"
        )


def rescales(model: keras.Model) -> bool:
    """Return whether a model, or one inside it, scales pixels itself."""
    return any(
        isinstance(layer, layers.Rescaling | layers.Normalization)
        or (isinstance(layer, keras.Model) and rescales(layer))
        for layer in model.layers
    )


def require_trainable(model: keras.Model, path: object) -> None:
    """Raise ValueError unless `model` maps float32 (n, 28, 28) in 0-1 to ten probabilities.

    Args:
        model: a network to start from, or to distil.
        path: where it was loaded from, for the message.
    """
    fits = model.input_shape == (None, 28, 28) and model.output_shape == (None, 10)
    fits = fits and not rescales(model) and not isinstance(model.layers[-1], layers.TFSMLayer)
    if not fits or form_of(model)[:2] != (UNIT, "probabilities"):
        raise ValueError(
            "Expected a .h5 or .keras model from 28x28 pixels in 0-1 to ten probabilities, "
            f"got {path}"
        )


def apply_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the logits of a network by a temperature: above 1, it becomes less confident.

    Args:
        model: its last layer with weights is followed by softmax alone. It is changed in place.
        temperature: above 0.
    """
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    if isinstance(last, keras.Model):
        apply_temperature(last, temperature)
    else:
        last.set_weights([values / temperature for values in last.get_weights()])


def calibrate(models: list[keras.Model], images: np.ndarray, labels: np.ndarray) -> float:
    """Calibrate probabilities: apply the one temperature that gives the least loss.

    Args:
        models: networks whose probabilities are averaged, or a single one; changed in place.
        images: uint8 (n, 28, 28), which no model was trained on.
        labels: int (n,).

    Returns:
        The temperature, above 1 where the models were overconfident. Source: Guo et al. 2017.
    """
    tiny = np.finfo("float32").tiny
    logits = [np.log(np.maximum(predict_images(images, model), tiny)) for model in models]
    losses = [
        cross_entropy(np.mean([softmax(each / temperature) for each in logits], axis=0), labels)
        for temperature in TEMPERATURES
    ]
    temperature = float(TEMPERATURES[np.argmin(losses)])
    for model in models:
        apply_temperature(model, temperature)
    return temperature
