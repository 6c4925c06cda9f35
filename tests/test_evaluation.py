import numpy as np
import pytest
from conftest import copy_of

from digits.evaluation import choose_output, predict_tests
from mnist_dnn import save_trained_model


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
    beside = choose_output(model_path, tests, after, fine_tuned=False)
    assert beside == model_path.with_name("small_dnn_new.h5")
    assert "is better on the digits" in capsys.readouterr().out


def test_a_better_or_equal_model_replaces_the_old_one(model, tests, tmp_path):
    save_trained_model(worse_than(model), tmp_path / "worse.h5")
    save_trained_model(model, tmp_path / "equal.h5")
    for name in ("worse.h5", "equal.h5", "missing.h5"):
        after = predict_tests(model, tests)
        path = tmp_path / name
        assert choose_output(path, tests, after, fine_tuned=False) == path


def test_a_fine_tuned_model_may_lose_what_chance_explains(model, model_path, digits):
    labels = digits[1]
    after = {"the digits": predict_tests(model, {"the digits": digits})["the digits"].copy()}
    correct = np.flatnonzero(after["the digits"].argmax(axis=1) == labels)
    after["the digits"][correct[:2]] = 0  # two answers become "0", and one of them may be right
    for fine_tuned, kept in ((True, False), (False, True)):
        path = choose_output(model_path, {"the digits": digits}, after, fine_tuned)
        assert (path != model_path) == kept


def test_what_cannot_be_compared_is_kept(tests, model, tmp_path):
    path = tmp_path / "digits.tflite"
    path.write_bytes(b"no model to read with")
    with pytest.warns(UserWarning, match="cannot be compared"):
        beside = choose_output(path, tests, predict_tests(model, tests), fine_tuned=False)
    assert beside == tmp_path / "digits_new.tflite"
