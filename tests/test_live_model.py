"""A running service takes a new model file, and never loses the one it has."""

import io
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest import copy_of
from server import serve

from digits import live_model
from digits.live_model import LiveModel
from mnist_dnn import predict_images, save_trained_model


@pytest.fixture
def live(model_path, tmp_path, monkeypatch):
    """A model in use, whose file is looked at without a pause."""
    monkeypatch.setattr(live_model, "PAUSE", 0.01)
    path = tmp_path / "digits.h5"
    shutil.copy(model_path, path)
    in_use = LiveModel(path)
    in_use.load()
    return in_use


@pytest.fixture
def doubtful(model, tmp_path):
    """A network that is less sure of everything, as a file of its own."""
    path = tmp_path / "doubtful.h5"
    save_trained_model(copy_of(model, 0.1), path)
    return path


def look(live, until=lambda: False, seconds=10.0):
    """Use the model as requests do, for so long at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        live.load()
        time.sleep(0.01)


def test_a_new_file_replaces_the_model(live, doubtful, digits, capsys):
    before = live.load()
    os.replace(doubtful, live.path)
    look(live, until=lambda: live.load() is not before)
    assert live.load()(digits[0]).max(axis=1).mean() < 0.5 < before(digits[0]).max(axis=1).mean()
    assert f"new model at {live.path}" in capsys.readouterr().err


def test_a_file_that_is_removed_leaves_the_model(live, capsys):
    before = live.load()
    os.remove(live.path)
    look(live, seconds=0.2)
    assert live.load() is before and not capsys.readouterr().err


def test_a_broken_file_keeps_the_model_and_is_reported_once(live, capsys):
    before = live.load()
    Path(live.path).write_bytes(b"no model")
    reported = []
    look(live, until=lambda: reported.append(capsys.readouterr().err) or "kept" in reported[-1])
    look(live, seconds=0.2)
    assert "Warning: the model before it is kept. Expected a Keras model" in "".join(reported)
    assert live.load() is before and not capsys.readouterr().err


def test_a_file_that_is_still_being_copied_is_not_loaded(live, doubtful, capsys):
    before, new = live.load(), doubtful.read_bytes()
    with open(live.path, "wb") as file:
        file.write(new[: len(new) // 2])
        file.flush()
        live.load()
        time.sleep(0.1)  # for the look at the half
        file.write(new[len(new) // 2 :])
    look(live, until=lambda: live.load() is not before)
    assert "Warning" not in capsys.readouterr().err and live.load() is not before


def test_no_answer_is_lost_while_models_are_exchanged(live, model, doubtful, digits):
    image, before = digits[0][:1], live.load()
    known = [predict_images(image, each) for each in (model, copy_of(model, 0.1))]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(lambda: live.load()(image)) for _ in range(200)]
        os.replace(doubtful, live.path)
        look(live, until=lambda: live.load() is not before)
        answers += [pool.submit(lambda: live.load()(image)) for _ in range(200)]
    for answer in answers:
        assert any(np.allclose(answer.result(), each, atol=1e-5) for each in known)
    assert np.allclose(answers[-1].result(), known[1], atol=1e-5)


@pytest.mark.slow
def test_a_running_service_takes_a_new_model_without_a_failed_request(live, doubtful, seven):
    def ask(_):
        request = Request(f"http://{address}/predict", picture, {"Content-Type": "image/png"})
        with urlopen(request, timeout=30) as response:
            return json.load(response)["sure"]

    file = io.BytesIO()
    seven.save(file, "PNG")
    picture = file.getvalue()
    with serve("--model", str(live.path)) as (address, _), ThreadPoolExecutor(4) as pool:
        before = list(pool.map(ask, range(20)))
        os.replace(doubtful, live.path)
        during = [True]
        while any(during[-4:]) and len(during) < 5000:
            during += pool.map(ask, range(20))
    assert all(before) and not during[-1]
