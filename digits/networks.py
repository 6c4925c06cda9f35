"""The CNN, ensembles, and what every network needs: prediction and calibration."""

import keras
import numpy as np
from keras import layers

from digits.dense_numpy import softmax
from digits.metrics import cross_entropy

INPUT_SHAPES = (784,), (28, 28), (28, 28, 1)
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
        model: takes (784,), (28, 28) or (28, 28, 1) and returns ten logits or probabilities. Its
            pixels are scaled to 0-1, or left in 0-255 where it has a Rescaling layer.

    Returns:
        float32 (n, 10); rows sum to 1.

    Raises:
        ValueError: the model has another input or output.
    """
    shape = tuple(model.input_shape[1:])
    if shape not in INPUT_SHAPES or tuple(model.output_shape[1:]) != (10,):
        raise ValueError(
            f"Expected a model from 28x28 pixels to 10 classes, "
            f"got one from {shape} to {tuple(model.output_shape[1:])}"
        )
    x, scale = images.reshape(-1, *shape), 1 if rescales(model) else 255
    outputs = [
        model.predict_on_batch(x[i : i + batch_size].astype("float32") / scale)
        for i in range(0, len(x), batch_size)
    ]
    return _as_probabilities(np.concatenate(outputs).astype("float32"))


def rescales(model: keras.Model) -> bool:
    """Return whether a model takes pixels in 0-255 and scales them itself."""
    return any(isinstance(layer, layers.Rescaling) for layer in model.layers)


def are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether outputs, float32 (n, 10), are probabilities, not logits."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


def _as_probabilities(outputs):
    return outputs if are_probabilities(outputs) else softmax(outputs)


def require_trainable(model: keras.Model, path: object) -> None:
    """Raise ValueError unless `model` maps float32 (n, 28, 28) in 0-1 to ten probabilities.

    Args:
        model: a network to start from, or to distil.
        path: where it was loaded from, for the message.
    """
    fits = model.input_shape == (None, 28, 28) and model.output_shape == (None, 10)
    fits = fits and not rescales(model) and not isinstance(model.layers[-1], layers.TFSMLayer)
    if not fits or not are_probabilities(model.predict_on_batch(np.zeros((1, 28, 28), "float32"))):
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
