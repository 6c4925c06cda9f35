"""Models from elsewhere: each input shape, form of pixels and kind of output."""

import json
import os
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from digits.dense_numpy import load_dense
from digits.foreign import as_probabilities, kind_of
from digits.live_model import load_predict
from digits.saving import load_trained_model, save_trained_model
from mnist_dnn import main, predict_images

CASES = os.environ.get("DIGITS_CASES")


def network_of(model, shape=(784,), before=(), scale=1.0, offset=0.0, activation="softmax"):
    """Copy a network that wants x in 0-1, so that it wants scale * x + offset."""
    _, first, *rest, last = model.layers
    kernel = first.get_weights()[0] / scale
    new = layers.Dense(len(kernel[0])), layers.Dense(10, activation=activation)
    stack = [*before, layers.Flatten(), new[0], *rest, new[1]]
    network = keras.Sequential([keras.Input(shape), *stack])
    new[0].set_weights([kernel, -kernel.sum(axis=0) * offset])
    new[1].set_weights(last.get_weights())
    return network


@pytest.fixture(scope="module")
def plain(model, digits):
    """What the trained network answers."""
    return predict_images(digits[0], model)


def nested(*inside):
    return keras.Sequential([keras.Input((784,)), *inside])


FORMS = {
    "0-1": {},
    "28x28": {"shape": (28, 28)},
    "with a channel": {"shape": (28, 28, 1)},
    "with a channel in front": {"shape": (1, 28, 28)},
    "logits": {"activation": "linear"},
    "rescaled": {"before": [layers.Rescaling(1 / 127.5, -1)], "scale": 2, "offset": -1},
    "rescaled inside": {"before": [nested(layers.Rescaling(1 / 255))]},
    "rescaled from 0-1": {"before": [layers.Rescaling(2, -1)], "scale": 2, "offset": -1},
    "normalised": {
        "before": [layers.Normalization(mean=33.3, variance=6172.0)],
        "scale": 255 / 6172**0.5,
        "offset": -33.3 / 6172**0.5,
    },
    "0-255": {"scale": 255},
    "-1 to 1": {"scale": 2, "offset": -1},
    "standardised": {"scale": 1 / 0.3081, "offset": -0.1307 / 0.3081},
    "black on white": {"scale": -1, "offset": 1},
    "black on white, 0-255": {"scale": -255, "offset": 255},
    "black on white, -1 to 1": {"scale": -2, "offset": 1},
}

OFTEN = "with a channel in front", "logits", "rescaled inside", "0-255", "black on white"


@pytest.mark.filterwarnings("ignore:This model wants pixels")
@pytest.mark.parametrize(
    "name",
    [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in FORMS],
)
def test_every_form_answers_as_the_plain_one(model, plain, digits, tmp_path, name):
    save_trained_model(network_of(model, **FORMS[name]), tmp_path / "a.h5")
    answers = predict_images(digits[0], load_trained_model(tmp_path / "a.h5"))
    np.testing.assert_allclose(answers, plain, atol=1e-3)
    np.testing.assert_allclose(load_predict(tmp_path / "a.h5")(digits[0]), plain, atol=1e-3)


def test_what_was_measured_is_told(model, digits):
    network = network_of(model, scale=-255, offset=255)
    with pytest.warns(UserWarning, match="wants pixels in 0-255, ink dark, as measured on 300"):
        predict_images(digits[0], network)
    predict_images(digits[0], network)  # and told once


def test_sigmoids_are_read_as_odds(model, digits, tmp_path):
    network = network_of(model, activation="sigmoid")
    raw = network.predict_on_batch(digits[0].reshape(-1, 784) / 255)
    odds = raw.astype(float) / (1 - raw.astype(float))
    save_trained_model(network, tmp_path / "a.h5")
    for answers in (predict_images(digits[0], network), load_dense(tmp_path / "a.h5")(digits[0])):
        np.testing.assert_allclose(answers, odds / odds.sum(axis=1, keepdims=True), atol=1e-4)


KINDS = {
    "probabilities": [[0.2, 0.8], [0.5, 0.5]],
    "sigmoids": [[0.2, 0.9], [0.0, 1.0]],
    "logits": [[-0.2, 0.9], [0.4, 0.6]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_outputs_are_told_apart(kind):
    outputs = np.array(KINDS[kind])
    assert kind_of(outputs) == kind
    assert as_probabilities(outputs, kind).sum(axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize("shape", [(28, 28, 3), (32, 32), (14, 56), (3, 28, 28), (32, 32, 1)])
def test_other_inputs_are_refused_everywhere(tmp_path, shape):
    network = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(10)])
    network.save(tmp_path / "a.h5")
    words = re.escape(f"got one from {shape} to (10,)")
    for load in (load_trained_model, load_predict):
        with pytest.raises(ValueError, match=words):
            load(tmp_path / "a.h5")
    with pytest.raises(SystemExit, match=words):
        main(["--predict", "a.png", "--weights", str(tmp_path / "a.h5")])


def test_a_config_that_is_a_list_is_read(model, plain, digits, tmp_path):
    save_trained_model(network_of(model), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:  # as Keras 2.0 wrote it
        _, *stack = json.loads(file.attrs["model_config"])["config"]["layers"]
        stack[0]["config"]["batch_input_shape"] = [None, 784]
        config = {"class_name": "Sequential", "config": stack}
        file.attrs["model_config"] = json.dumps(config)
    for answers in (
        load_dense(tmp_path / "a.h5")(digits[0]),
        predict_images(digits[0], load_trained_model(tmp_path / "a.h5")),
    ):
        np.testing.assert_allclose(answers, plain, atol=1e-3)


@pytest.mark.skipif(not CASES, reason="DIGITS_CASES names no folder")
def test_an_old_model_reads_as_well_as_it_should(mnist):
    images, labels = mnist[1][0][:2000], mnist[1][1][:2000]
    path = Path(CASES, "07_keras20_list_config.h5")
    for answers in (load_dense(path)(images), predict_images(images, load_trained_model(path))):
        assert (answers.argmax(axis=1) == labels).mean() == pytest.approx(0.8705, abs=1e-4)


@pytest.mark.skipif(not CASES, reason="DIGITS_CASES names no folder")
def test_a_model_for_colours_is_refused_everywhere():
    for load in (load_trained_model, load_predict):
        with pytest.raises(ValueError, match="28x28 grey pixels"):
            load(Path(CASES, "06_rgb_input.h5"))


def test_weights_alone_are_refused_with_what_to_do(model, tmp_path):
    model.save_weights(tmp_path / "my.weights.h5")
    with pytest.raises(ValueError, match=r"weights alone: save the whole model with model\.save"):
        load_trained_model(tmp_path / "my.weights.h5")
