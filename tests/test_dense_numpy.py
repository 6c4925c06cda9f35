"""The network in NumPy answers as Keras does, and leaves to Keras what it does not know."""

import keras
import numpy as np
import pytest
from keras import layers

from digits.dense_numpy import UnknownModelError, load_dense
from mnist_dnn import predict_images, save_trained_model


def random_weights(network):
    """Give a network weights that show a mistake in their order; a variance is positive."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.1, values.shape) for values in network.get_weights()]
    network.set_weights([abs(values) if values.ndim == 1 else values for values in weights])
    return network


def test_shipped_model_answers_as_with_keras(shipped, digits):
    predict = load_dense("mnist_dnn.h5")
    np.testing.assert_allclose(predict(digits[0]), predict_images(digits[0], shipped), atol=1e-5)


KNOWN = {
    "the usual 512": [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(10)],
    "784 in a row, softmax of its own": [
        layers.Dense(32, activation="relu"),
        layers.Dense(10),
        layers.Activation("softmax"),
    ],
    "smooth": [
        layers.Flatten(),
        layers.Dense(256, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("gelu"),
        layers.Dense(256, activation="gelu"),
        layers.Dense(10, activation="softmax"),
    ],
    "rescales": [
        layers.Rescaling(1 / 127.5, -1),
        layers.Flatten(),
        layers.Dense(16, use_bias=False),
        layers.BatchNormalization(epsilon=0.1),
        layers.ReLU(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ],
}


@pytest.mark.parametrize("name", KNOWN)
def test_other_stacks_answer_as_with_keras(name, digits, tmp_path):
    shape = (784,) if "784" in name else (28, 28)
    network = random_weights(keras.Sequential([keras.Input(shape), *KNOWN[name]]))
    save_trained_model(network, tmp_path / "other.h5")
    probabilities = load_dense(tmp_path / "other.h5")(digits[0])
    expected = predict_images(digits[0], network)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert expected.std() > 0.01


def functional():
    inputs = keras.Input((28, 28))
    x = layers.Flatten()(inputs)
    return keras.Model(inputs, layers.Dense(10)(layers.Concatenate()([x, x])))


UNKNOWN = {
    "convolution": lambda: keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(10)]
    ),
    "branches": functional,
    "limited ReLU": lambda: keras.Sequential(
        [keras.Input((784,)), layers.Dense(8), layers.ReLU(max_value=6), layers.Dense(10)]
    ),
    "unknown activation": lambda: keras.Sequential(
        [keras.Input((784,)), layers.Dense(8, activation="tanh"), layers.Dense(10)]
    ),
    "seven classes": lambda: keras.Sequential([keras.Input((784,)), layers.Dense(7)]),
    "rows are not flattened": lambda: keras.Sequential(
        [keras.Input((28, 28)), layers.Dense(8), layers.Flatten(), layers.Dense(10)]
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_models_are_left_to_keras(name, tmp_path):
    save_trained_model(UNKNOWN[name](), tmp_path / "other.h5")
    with pytest.raises(UnknownModelError, match="stack of Dense layers"):
        load_dense(tmp_path / "other.h5")


def test_what_is_no_model_is_left_to_keras(tmp_path):
    (tmp_path / "text.h5").write_text("This is no model.")
    for path in (tmp_path / "text.h5", tmp_path / "missing.h5", tmp_path):
        with pytest.raises(UnknownModelError):
            load_dense(path)
