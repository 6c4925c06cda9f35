import numpy as np
import pytest
from conftest import copy_of

from digits.evaluation import choose_output, predict_tests
from mnist_dnn import predict_images, save_trained_model


@pytest.fixture
def tests(digits):
    return {"the digits": digits}


def worse_than(model):
    """Return a copy that confuses two digits."""
    copy = copy_of(model, 1)
    kernel, bias = copy.layers[-1].get_weights()
    kernel[:, 0], bias[0] = kernel[:, 1], bias[1] + 1
    copy.layers[-1].set_weights([kernel, bias])
    return copy


def test_a_worse_model_is_saved_beside_the_better_one(model, model_path, tests, capsys):
    after = predict_tests(worse_than(model), tests)
    beside = choose_output(model_path, tests, after)
    assert beside == model_path.with_name("small_dnn_new.h5")
    assert "is better on the digits" in capsys.readouterr().out


def test_a_better_or_equal_model_replaces_the_old_one(model, tests, tmp_path):
    save_trained_model(worse_than(model), tmp_path / "worse.h5")
    save_trained_model(model, tmp_path / "equal.h5")
    for name in ("worse.h5", "equal.h5", "missing.h5"):
        after = predict_tests(model, tests)
        path = tmp_path / name
        assert choose_output(path, tests, after) == path


def test_a_fine_tuned_model_may_lose_what_chance_explains(model, model_path, digits):
    labels = digits[1]
    probabilities = predict_images(digits[0], model)
    after = {name: probabilities.copy() for name in ("own", "MNIST")}
    wrong = probabilities.argmax(axis=1) != labels
    after["own"][wrong] = np.eye(10)[labels[wrong]]
    correct = np.flatnonzero(~wrong)
    after["MNIST"][correct[:2]] = 0  # two answers become "0", and one of them may be right
    tests = {"own": digits, "MNIST": digits}
    assert choose_output(model_path, tests, after, own="own") == model_path
    assert choose_output(model_path, tests, after) != model_path


def test_a_fine_tuned_model_that_has_learned_nothing_is_saved_beside(
    model, model_path, digits, capsys
):
    tests = {"own": digits, "MNIST": digits}
    after = predict_tests(model, tests)
    assert choose_output(model_path, tests, after, own="own") != model_path
    assert "is as good on own" in capsys.readouterr().out


def test_what_cannot_be_compared_is_kept(tests, model, tmp_path):
    path = tmp_path / "digits.tflite"
    path.write_bytes(b"no model to read with")
    with pytest.warns(UserWarning, match="cannot be compared"):
        beside = choose_output(path, tests, predict_tests(model, tests))
    assert beside == tmp_path / "digits_new.tflite"
