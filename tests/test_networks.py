import keras
import numpy as np
import pytest
from conftest import copy_of
from keras import layers
from PIL import Image

from digits.metrics import calibration_error, cross_entropy
from digits.networks import build_cnn, build_ensemble, calibrate, members, require_trainable
from digits.synthetic import draw_digits
from mnist_dnn import load_trained_model, predict_images, predict_pil_image, save_trained_model


def test_a_network_inside_another_is_no_ensemble(model):
    images, labels = draw_digits(1000, seed=8)
    body = keras.Sequential([keras.Input((28, 28)), *copy_of(model, 2).layers])
    nested = keras.Sequential([keras.Input((28, 28)), body])
    assert members([nested]) == [nested]
    before = [weights.copy() for weights in nested.get_weights()]
    temperature = calibrate([nested], images, labels)
    after = nested.get_weights()
    assert temperature != 1 and all(map(np.array_equal, before[:-2], after[:-2]))
    assert np.allclose(before[-1] / temperature, after[-1])


def test_the_members_of_an_ensemble_are_what_is_calibrated(model):
    networks = [copy_of(model, 2), copy_of(model, 2)]
    images, labels = draw_digits(3000, seed=21)
    ensemble = build_ensemble(networks)
    assert members([ensemble, model]) == [*networks, model]
    before = cross_entropy(predict_images(images, ensemble), labels)
    calibrate(members([ensemble]), images, labels)
    assert cross_entropy(predict_images(images, ensemble), labels) < before - 0.001


def test_calibration_corrects_an_overconfident_network(model):
    plain, overconfident = copy_of(model, 1), copy_of(model, 2.2)
    images, labels = draw_digits(3000, seed=21)
    before = calibration_error(predict_images(images, overconfident), labels)
    temperatures = [calibrate([network], images, labels) for network in (plain, overconfident)]
    after = predict_images(images, overconfident)
    assert temperatures[1] / temperatures[0] == pytest.approx(2.2, rel=0.04)  # two steps apart
    assert calibration_error(after, labels) < before
    assert after == pytest.approx(predict_images(images, plain), abs=0.02)


def test_an_ensemble_averages_and_is_saved_as_one_model(model, digits, tmp_path):
    networks = [copy_of(model, 1), copy_of(model, 0.5)]
    expected = sum(predict_images(digits[0], each) for each in networks) / 2
    for name in ("both.h5", "both.keras", "both"):
        save_trained_model(build_ensemble(networks), tmp_path / name)
        loaded = load_trained_model(tmp_path / name)
        np.testing.assert_allclose(predict_images(digits[0], loaded), expected, atol=1e-5)


def test_the_cnn_has_as_many_weights_as_arithmetic_says():
    convolutions = 25 * 32 + 9 * (32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    normalization = 4 * (32 + 64 + 64 + 128 + 128 + 128)
    dense = 512 * 128 + 128 * 10 + 10  # 2x2x128 features; ten biases
    assert build_cnn().count_params() == convolutions + normalization + dense


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_any_digit_classifier_serves(digits, shape, activation):
    network = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(10, activation=activation)]
    )
    probabilities = predict_images(digits[0], network, batch_size=150)
    assert probabilities.shape == (400, 10) and probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert probabilities[:50].argmax(axis=1).tolist() == [
        predict_pil_image(Image.fromarray(image), network)[0] for image in digits[0][:50]
    ]  # images in MNIST's form reach the network unchanged


def test_a_model_that_rescales_gets_raw_pixels(model, digits):
    rescaling = keras.Sequential([keras.Input((28, 28)), layers.Rescaling(1 / 255), model])
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], rescaling) == pytest.approx(expected, abs=1e-6)


def test_a_model_for_other_pictures_is_refused(digits):
    other = keras.Sequential([keras.Input((32, 32)), layers.Flatten(), layers.Dense(10)])
    with pytest.raises(ValueError, match=r"got one from \(32, 32\) to \(10,\)"):
        predict_pil_image(Image.fromarray(digits[0][0]), other)


@pytest.mark.parametrize(
    "stack",
    [
        [keras.Input((28, 28)), layers.Flatten(), layers.Dense(10)],  # logits
        [keras.Input((28, 28)), layers.Rescaling(2), layers.Flatten(), layers.Dense(10, "softmax")],
        [keras.Input((784,)), layers.Dense(10, "softmax")],
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(stack):
    with pytest.raises(ValueError, match="in 0-1 to ten probabilities, got odd"):
        require_trainable(keras.Sequential(stack), "odd.keras")
