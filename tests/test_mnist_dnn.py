import csv
import io
import itertools
import logging
import os
import re
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copy_of, save_folders, save_train_and_test, turned_by
from keras import layers
from matplotlib.figure import Figure
from PIL import Image

import mnist_dnn
from digits.augment import Pictures, soften
from digits.find import NoDigitError
from digits.synthetic import draw_digits
from mnist_dnn import (
    build_dnn,
    build_ensemble,
    calibrate,
    calibration_error,
    cross_entropy,
    keep_the_better,
    load_image_folders,
    load_mnist,
    load_trained_model,
    main,
    measure,
    parse_arguments,
    parts,
    plot_explanations,
    plot_history,
    plot_mistakes,
    predict_digits,
    predict_files,
    predict_images,
    predict_pil_image,
    save_trained_model,
    train,
)

ROOT = Path(__file__).parents[1]
OPTIONS = {"epochs": 2, "batch_size": 64, "learning_rate": 2e-3, "patience": 5, "seed": 0}


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Keras finds an empty cache, and a network where nothing answers."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "keras"))
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, then says nothing
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setattr("urllib.request._opener", None)  # it would remember other proxies
        yield


# Data


def test_a_silent_network_is_given_up(offline):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no answer within 1 s.*put mnist\.npz at"):
        load_mnist(timeout=1)
    assert time.monotonic() - start < 5


def test_mnist_has_its_published_counts(mnist):
    (_, y_train), (x_test, y_test) = mnist
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y_train).tolist() == train_counts
    assert np.bincount(y_test).tolist() == test_counts
    assert x_test.mean() / 255 == pytest.approx(0.1325, abs=1e-4)


# Model and training


def test_one_seed_gives_the_same_weights_twice(digits):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        network = build_dnn(hidden_units=16)
        train(network, Pictures(*digits), Pictures(*digits), **OPTIONS)
        weights.append(network.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_training_stops_early_and_restores_the_best_epoch(digits):
    network = build_dnn(hidden_units=16)
    wrong = Pictures(
        digits[0], (digits[1] + 1) % 10
    )  # the better the net learns, the worse it gets here
    history = train(network, Pictures(*digits), wrong, **OPTIONS | {"epochs": 40, "patience": 2})
    values = history.history["val_loss"]
    assert len(values) == int(np.argmin(values)) + 3 < 40
    right = predict_images(digits[0], network)[np.arange(400), wrong.labels]
    assert -np.log(right).mean() == pytest.approx(min(values), rel=1e-3)


def test_a_teacher_is_believed_more_than_the_labels(model, digits):
    wrong, network = Pictures(digits[0], (digits[1] + 1) % 10), build_dnn(hidden_units=64)
    options = OPTIONS | {"epochs": 20, "patience": 20}
    train(network, wrong, Pictures(*digits), **options, teacher=model)
    answers = predict_images(digits[0], network).argmax(axis=1)
    assert (answers == digits[1]).mean() > 0.5


def test_a_taught_network_learns_softened_answers_and_is_as_sure_as_its_teacher(model, digits):
    network = build_dnn(hidden_units=64)
    pictures = Pictures(*digits)
    history = train(network, pictures, pictures, **OPTIONS, teacher=model)
    answers, learned = (predict_images(digits[0], each) for each in (model, network))
    loss = -(soften(answers) * np.log(soften(learned))).numpy().sum(axis=1).mean()
    assert loss == pytest.approx(min(history.history["val_loss"]), rel=1e-3)


def test_a_taught_network_has_no_dropout_and_is_given_its_teacher(
    folders, model_path, tmp_path, monkeypatch
):
    def look(network, *pictures, **options):
        seen.update(options, rates=[each.rate for each in network.layers if "dropout" in each.name])
        return train(network, *pictures, **options)

    seen, output = {}, str(tmp_path / "a.h5")
    monkeypatch.setattr(mnist_dnn, "train", look)
    monkeypatch.setattr(mnist_dnn, "MIN_SYNTHETIC", 100)
    flags = ["--teacher", str(model_path), "--data-dir", str(folders), "--epochs", "1"]
    assert main([*flags, "--output", output]) == 0
    assert seen["teacher"].output_shape == (None, 10) and seen["rates"] == [0, 0, 0]


def test_drawn_digits_are_not_learned_from_a_teacher(model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_dnn, "load_data", lambda _: ("drawn digits", None, None))
    with pytest.raises(SystemExit, match="needs real pictures"):
        main(["--teacher", str(model_path), "--output", str(tmp_path / "a.h5")])


def test_ctrl_c_keeps_the_best_epoch(digits, monkeypatch):
    def interrupt(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        keras.callbacks.History, "on_epoch_end", keras.callbacks.History.on_epoch_end
    )
    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_begin", interrupt)
    with pytest.warns(UserWarning, match="Interrupted: epoch [12] is kept"):
        history = train(build_dnn(16), *[Pictures(*digits)] * 2, **OPTIONS | {"epochs": 9})
    assert len(history.history["loss"]) == 2


def test_ctrl_c_ends_an_ensemble_and_keeps_what_is_trained(folders, tmp_path, monkeypatch, capsys):
    begun = []

    def interrupt(self, epoch, logs=None):
        begun.append(epoch)
        if len(begun) == 4:  # the second epoch of the second network
            raise KeyboardInterrupt

    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_begin", interrupt)
    output = tmp_path / "a.h5"
    flags = ["--epochs", "2", "--ensemble", "4", "--synthetic-share", "0"]
    with pytest.warns(UserWarning, match="Interrupted: epoch 1 is kept"):
        assert main([*flags, "--data-dir", str(folders), "--output", str(output)]) == 0
    assert begun == [0, 1, 0, 1] and "2 of 4 networks are kept" in capsys.readouterr().out
    assert len(parts([load_trained_model(output)])) == 2
    assert len(list(tmp_path.glob("a.h5.checkpoint-*"))) == 2  # for --resume


def test_a_network_inside_another_is_no_ensemble(model):
    images, labels = draw_digits(1000, seed=8)
    body = keras.Sequential([keras.Input((28, 28)), *copy_of(model, 2).layers])
    nested = keras.Sequential([keras.Input((28, 28)), body])
    assert parts([nested]) == [nested]
    before = [weights.copy() for weights in nested.get_weights()]
    temperature = calibrate([nested], images, labels)
    after = nested.get_weights()
    assert temperature != 1 and all(map(np.array_equal, before[:-2], after[:-2]))
    assert np.allclose(before[-1] / temperature, after[-1])


def test_the_parts_of_an_ensemble_are_what_is_calibrated(model):
    members = [copy_of(model, 2), copy_of(model, 2)]
    images, labels = draw_digits(3000, seed=21)
    ensemble = build_ensemble(members)
    assert parts([ensemble, model]) == [*members, model]
    before = cross_entropy(predict_images(images, ensemble), labels)
    calibrate(parts([ensemble]), images, labels)
    assert cross_entropy(predict_images(images, ensemble), labels) < before - 0.001


def test_calibration_makes_a_boastful_network_honest(model):
    plain, boastful = copy_of(model, 1), copy_of(model, 2.2)
    images, labels = draw_digits(3000, seed=21)
    before = calibration_error(predict_images(images, boastful), labels)
    temperatures = [calibrate([network], images, labels) for network in (plain, boastful)]
    after = predict_images(images, boastful)
    assert temperatures[1] / temperatures[0] == pytest.approx(2.2, rel=0.04)  # two steps apart
    assert calibration_error(after, labels) < before
    assert after == pytest.approx(predict_images(images, plain), abs=0.02)


def test_calibration_error_is_what_its_definition_says():
    probabilities = np.full((10, 10), 0.05 / 9)
    probabilities[:, 3] = 0.95  # 95 % sure, and right in 8 of 10
    labels = np.array([3] * 8 + [4] * 2)
    assert calibration_error(probabilities, labels) == pytest.approx(0.15)
    probabilities[:5] = 0.1
    probabilities[:5, 3] = 0.1001  # 10 % sure, and right in all
    assert calibration_error(probabilities, labels) == pytest.approx((0.8999 * 5 + 0.35 * 5) / 10)


def test_an_ensemble_averages_and_is_saved_as_one_model(model, digits, tmp_path):
    members = [copy_of(model, 1), copy_of(model, 0.5)]
    expected = sum(predict_images(digits[0], member) for member in members) / 2
    for name in ("both.h5", "both.keras", "both"):
        save_trained_model(build_ensemble(members), tmp_path / name)
        loaded = load_trained_model(tmp_path / name)
        np.testing.assert_allclose(predict_images(digits[0], loaded), expected, atol=1e-5)


def test_a_convolutional_ensemble_is_trained_from_the_command_line(folders, tmp_path, capsys):
    flags = ["--model", "cnn", "--ensemble", "2", "--epochs", "1", "--synthetic-share", "0"]
    output = tmp_path / "digits.h5"
    assert main([*flags, "--data-dir", str(folders), "--output", str(output)]) == 0
    assert "calibration error" in capsys.readouterr().out
    assert not tf.get_logger().isEnabledFor(logging.WARNING)  # of "retracing", for several networks
    assert len([each for each in load_trained_model(output).layers if "member" in each.name]) == 2


@pytest.fixture
def drawn_mnist(monkeypatch):
    """Drawn digits in MNIST's place."""
    data = draw_digits(10_000, seed=6), draw_digits(1000, seed=32)
    monkeypatch.setattr(mnist_dnn, "load_mnist", lambda: data)
    return data


def start_from(path, folders, epochs):
    flags = f"--epochs {epochs} --batch-size 64 --synthetic-share 0 --start-from".split()
    return main([*flags, str(path), "--output", str(path), "--data-dir", str(folders)])


def test_own_pictures_are_learned_and_nothing_is_forgotten(
    drawn_mnist, model_path, folders, digits, tmp_path, capsys
):
    path = tmp_path / "digits.h5"
    path.write_bytes(model_path.read_bytes())
    before = measure(load_trained_model(path), *drawn_mnist[1])["accuracy"]
    tilted = np.stack([Image.fromarray(image).rotate(35) for image in digits[0]])
    save_folders(tmp_path / "own/train", tilted[:300], digits[1][:300])
    save_folders(tmp_path / "own/test", tilted[300:], digits[1][300:])
    _, own = load_image_folders(tmp_path / "own")
    own_loss = measure(load_trained_model(path), *own)["loss"]
    with warnings.catch_warnings():  # one picture of the 1,000 more or less decides on the name
        warnings.filterwarnings("ignore", "It reads the old test set worse")
        assert start_from(path, tmp_path / "own", 4) == 0
    out = capsys.readouterr().out
    saved = Path(re.search(r"Saved (.*\.h5)", out)[1])
    assert f"before {before:.2%}" in out and saved.parent == tmp_path
    after = load_trained_model(saved)
    assert measure(after, *drawn_mnist[1])["accuracy"] > before - 0.03
    assert measure(after, *own)["loss"] < 0.9 * own_loss


@pytest.mark.parametrize(("accuracy", "name"), [(0.989, "a.h5"), (0.9888, "a_worse.h5")])
def test_a_tenth_of_a_point_may_be_forgotten(tmp_path, accuracy, name):
    (tmp_path / "a.h5").touch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert keep_the_better(tmp_path / "a.h5", 0.9899, accuracy) == tmp_path / name
    assert len(caught) == (name == "a_worse.h5")


def test_going_on_with_a_model_repeats_itself(drawn_mnist, model_path, folders, tmp_path):
    weights = []
    for name in ("a.h5", "b.h5"):
        flags = ["--epochs", "1", "--synthetic-share", "0", "--data-dir", str(folders)]
        main([*flags, "--start-from", str(model_path), "--output", str(tmp_path / name)])
        weights.append(load_trained_model(tmp_path / name).get_weights())
    assert all(map(np.array_equal, *weights))


def test_a_model_that_has_forgotten_is_saved_beside(
    drawn_mnist, model_path, folders, tmp_path, monkeypatch
):
    path = tmp_path / "digits.h5"
    path.write_bytes(model_path.read_bytes())
    monkeypatch.setattr(
        mnist_dnn, "add_repeated", lambda _, own: Pictures(own.gather()[0], (own.labels + 1) % 10)
    )
    with pytest.warns(UserWarning, match="worse than before"):
        assert start_from(path, folders, 3) == 0
    assert path.read_bytes() == model_path.read_bytes()
    assert (tmp_path / "digits_worse.h5").exists()


def test_what_cannot_be_learned_from_is_refused(drawn_mnist, model, folders, tmp_path):
    save_trained_model(model, tmp_path / "exported")
    logits = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(10)])
    logits.save(tmp_path / "logits.keras")
    scaling = [keras.Input((28, 28)), layers.Rescaling(1 / 255), layers.Flatten()]
    keras.Sequential([*scaling, layers.Dense(10, "softmax")]).save(tmp_path / "scaling.keras")
    for name in ("exported", "logits.keras", "scaling.keras"):
        with pytest.raises(SystemExit, match="in 0-1 to ten probabilities"):
            start_from(tmp_path / name, folders, 1)
        flags = ["--teacher", str(tmp_path / name), "--data-dir", str(folders)]
        with pytest.raises(SystemExit, match="in 0-1 to ten probabilities"):
            main([*flags, "--output", str(tmp_path / "a.h5")])


def test_a_cnn_gets_fewer_drawn_digits_unless_told_otherwise():
    shares = [parse_arguments(["--model", name]).synthetic_share for name in ("dense", "cnn")]
    assert shares == [0.4, 0.1]
    assert parse_arguments(["--model", "cnn", "--synthetic-share", "0"]).synthetic_share == 0


def test_a_short_run_learns(model):
    images, labels = draw_digits(1000, seed=99)
    accuracy = (predict_images(images, model).argmax(axis=1) == labels).mean()
    assert 0.85 < accuracy < 1


# Prediction


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_any_digit_classifier_serves(digits, shape, activation):
    network = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(10, activation=activation)]
    )
    probabilities = predict_images(digits[0], network, batch_size=150)
    assert probabilities.shape == (400, 10) and probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [
        predict_pil_image(Image.fromarray(image), network)[0] for image in digits[0]
    ]  # what has MNIST's form reaches the net as it is


def test_a_model_that_rescales_gets_raw_pixels(model, digits):
    rescaling = keras.Sequential([keras.Input((28, 28)), layers.Rescaling(1 / 255), model])
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], rescaling) == pytest.approx(expected, abs=1e-6)


def test_a_model_for_other_pictures_is_refused(digits):
    other = keras.Sequential([keras.Input((32, 32)), layers.Flatten(), layers.Dense(10)])
    with pytest.raises(ValueError, match=r"got one from \(32, 32\) to \(10,\)"):
        predict_pil_image(Image.fromarray(digits[0][0]), other)


def test_the_users_own_snippet_works(model_path, legible, tmp_path):
    Image.fromarray(255 - legible[0][0]).resize((200, 200)).save(tmp_path / "my_digit.png")
    network = keras.models.load_model(model_path)
    predicted_class, probabilities = predict_pil_image(
        Image.open(tmp_path / "my_digit.png"), network
    )
    assert type(predicted_class) is int and predicted_class == legible[1][0]
    assert probabilities.shape == (10,) and probabilities.dtype == np.float32
    assert probabilities[predicted_class] == probabilities.max() > 0.5


def test_blank_paper_is_no_digit(model):
    with pytest.raises(NoDigitError):
        predict_pil_image(Image.new("RGB", (300, 200), "ivory"), model)


def test_several_digits_are_read_in_order(model, legible):
    chosen = [int(np.flatnonzero(legible[1] == digit)[0]) for digit in (3, 0, 7)]
    sheet = Image.new("L", (600, 200), "white")
    for place, i in enumerate(chosen):
        digit = Image.fromarray(255 - legible[0][i]).resize((140, 140))
        sheet.paste(digit, (30 + 190 * place, 30))
    found = predict_digits(sheet, model)
    assert [digit for digit, _, _ in found] == [3, 0, 7]
    assert [box[0] // 190 for _, _, box in found] == [0, 1, 2]


# Plots


def test_plots_draw_what_happened(model, digits, tmp_path):
    history = keras.callbacks.History()
    history.history = {
        "loss": [2, 1, 0.5], "accuracy": [0.2, 0.5, 0.7],
        "val_loss": [1, 0.4, 0.6], "val_accuracy": [0.5, 0.9, 0.8],
    }  # fmt: skip
    curves = plot_history(history)
    best = [line for line in curves.axes[0].lines if len(line.get_xdata()) == 1]
    assert best[0].get_xdata() == [2] and best[0].get_ydata() == [0.9]
    mistakes = plot_mistakes(*digits, predict_images(digits[0], model))
    explained = plot_explanations({"three": Image.fromarray(digits[0][0])}, model)
    for figure in (curves, mistakes, explained):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / "plot.png")


# Command line


def test_training_writes_model_and_plots(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist_dnn, "MIN_SYNTHETIC", 100)
    output = tmp_path / "models" / "own.keras"
    assert main(["--data-dir", str(folders), "--epochs", "1", "--output", str(output)]) == 0
    assert "100 unseen pictures" in capsys.readouterr().out
    written = {path.name for path in output.parent.iterdir()}
    assert written == {"own.keras", "training_curves.png", "confusion_matrix.png"}


def test_a_model_for_tensorflow_serving_is_trained_from_the_command_line(folders, tmp_path):
    flags = ["--epochs", "1", "--synthetic-share", "0", "--output", str(tmp_path / "digits/1")]
    assert main(["--data-dir", str(folders), *flags]) == 0
    served = tf.saved_model.load(str(tmp_path / "digits/1")).signatures["serving_default"]
    blank = tf.zeros((2, 28, 28), tf.uint8)
    assert served(images=blank)["probabilities"].numpy().sum() == pytest.approx(2)


def test_without_mnist_it_trains_on_drawn_digits(offline, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load_mnist, "__defaults__", (1.0,))
    monkeypatch.setattr(mnist_dnn, "draw_digits", lambda n, seed: draw_digits(n // 100, seed))
    with pytest.warns(UserWarning, match=r"put mnist\.npz at .* NOT trained on MNIST"):
        main(["--epochs", "1", "--output", str(tmp_path / "mnist_dnn.h5")])
    assert "drawn digits: 550 pictures to train on" in capsys.readouterr().out
    assert (tmp_path / "synthetic_dnn.h5").exists() and not (tmp_path / "mnist_dnn.h5").exists()


def test_drawn_digits_to_test_on_are_not_mixed_in(offline, monkeypatch):
    monkeypatch.setattr(load_mnist, "__defaults__", (0.1,))
    monkeypatch.setattr(mnist_dnn, "draw_digits", lambda n, seed: (n, seed))
    with pytest.warns(UserWarning, match="NOT trained on MNIST"):
        *_, (count, seed) = mnist_dnn.load_data(None)
    assert count == 10_000
    with pytest.raises(ValueError, match="2"):
        keras.utils.set_random_seed(seed)  # as main does with --seed


def test_going_on_with_a_model_needs_mnist_itself(offline, model_path, folders, monkeypatch):
    monkeypatch.setattr(load_mnist, "__defaults__", (0.1,))
    before = model_path.read_bytes()
    with pytest.raises(SystemExit, match=r"put mnist\.npz at"):
        start_from(model_path, folders, 1)
    assert model_path.read_bytes() == before


@pytest.fixture
def few(tmp_path, digits):
    """Two folders with one picture of each digit to train on, and to test on."""
    chosen = [np.flatnonzero(digits[1] == digit)[0] for digit in range(10)] * 2
    return save_train_and_test(tmp_path / "few", [part[chosen] for part in digits], 10)


def test_one_picture_of_each_digit_is_too_little_to_begin_with(few, tmp_path):
    with pytest.raises(SystemExit, match="two training pictures or more of a digit"):
        main(["--data-dir", str(few), "--output", str(tmp_path / "a.h5")])


def test_one_picture_of_each_digit_is_enough_to_go_on(drawn_mnist, few, model_path, tmp_path):
    path = tmp_path / "a.h5"
    flags = ["--data-dir", str(few), "--epochs", "1", "--synthetic-share", "0"]
    assert main([*flags, "--start-from", str(model_path), "--output", str(path)]) == 0
    assert path.exists()


def test_without_matplotlib_it_trains(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist_dnn, "MIN_SYNTHETIC", 100)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = tmp_path / "a.h5"
    assert main(["--data-dir", str(folders), "--epochs", "1", "--output", str(output)]) == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert output.exists()


HEADER = ["picture", "digits", "confidence", "problem"]


def test_predict_prints_a_row_for_each_file(model_path, legible, tmp_path, capsys):
    Image.fromarray(legible[0][0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    explained = tmp_path / "explain.png"
    flags = ["--output", str(model_path), "--explain", str(explained)]
    assert main(["--predict", *paths, *flags]) == 1
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert header == HEADER and [row[0] for row in rows] == paths and explained.exists()
    assert rows[0][1] == str(legible[1][0]) and 0.95 < float(rows[0][2]) <= 1 and not rows[0][3]
    assert rows[1][1:3] == ["", ""] and rows[1][3].startswith("Expected a PNG")
    assert rows[2][3] == "There is no such file"


def test_predict_reads_folders_as_it_reads_each_picture(model, model_path, folders, capsys):
    (folders / "notes.txt").write_text("no picture")
    (folders / ".hidden.png").write_text("no picture")
    (folders / "empty").mkdir()
    assert main(["--predict", str(folders), "--output", str(model_path)]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))[1:]
    assert [row[0] for row in rows] == sorted(str(path) for path in folders.rglob("*/*.png"))
    for path, digits, confidence, _ in rows[::40]:
        digit, probabilities = predict_pil_image(Image.open(path), model)
        assert (digits, confidence) == (str(digit), f"{probabilities.max():.4f}")
    assert main(["--predict", str(folders / "empty"), "--output", str(model_path)]) == 1
    assert "There is no picture in this folder" in capsys.readouterr().out


def test_several_digits_make_one_row(model, legible, tmp_path):
    path = str(tmp_path / "sheet.png")
    sheet = Image.new("L", (400, 200), "white")
    for place in (0, 1):
        digit = Image.fromarray(255 - legible[0][place]).resize((140, 140))
        sheet.paste(digit, (30 + 190 * place, 30))
    sheet.save(path)
    (a, p, _), (b, q, _) = predict_digits(sheet, model)
    assert list(predict_files([path], model)) == [
        [(path, f"{a}{b}", f"{p.max() * q.max():.4f}", "")]
    ]


def test_files_without_end_are_read_in_batches(model, legible, tmp_path):
    Image.fromarray(legible[0][0]).save(tmp_path / "a.png")
    batches = predict_files(itertools.cycle([tmp_path / "a.png", "b.png"]), model, batch_size=5)
    for _ in range(3):
        assert [bool(problem) for *_, problem in next(batches)].count(False) in (2, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_many_files_are_read_in_processes_as_few_are_here(model, folders):
    paths = [str(path) for path in sorted(folders.glob("t*/*/*.png"))]
    (folders / "loop.png").symlink_to("loop.png")
    few, many = (
        [row for rows in predict_files([*paths, folders / "loop.png"], model, size) for row in rows]
        for size in (1000, 50)
    )
    for one, other in zip(few, many, strict=True):
        assert one[:2] + one[3:] == other[:2] + other[3:]
        assert float(one[2] or 0) == pytest.approx(float(other[2] or 0), abs=2e-4)
    assert [path for path, *_ in many[:-1]] == paths and "Too many levels" in many[-1][3]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no names there")
def test_a_picture_from_a_pipe_is_read_whole(model, legible, tmp_path):
    path, (source, sink) = tmp_path / "a.bmp", os.pipe()
    Image.fromarray(255 - legible[0][0]).resize((280, 280)).save(path)
    content = path.read_bytes()
    with ThreadPoolExecutor() as pool, open(sink, "wb") as file:
        pool.submit(lambda: (file.write(content), file.close()))
        ((_, *row),) = next(predict_files([f"/dev/fd/{source}"], model))
    ((_, *expected),) = next(predict_files([path], model))
    assert row == expected and row[0] and len(content) > 2**16


def test_a_small_picture_is_turned_upright_as_a_large_one(model, legible, tmp_path):
    picture = Image.fromarray(np.roll(legible[0][0], 2, axis=0)).rotate(180)
    picture.save(tmp_path / "a.png", exif=turned_by(3))  # upside down
    ((_, digits, *_),) = next(predict_files([tmp_path / "a.png"], model))
    assert digits == str(predict_pil_image(Image.open(tmp_path / "a.png"), model)[0])
    assert digits == str(legible[1][0])


def test_at_most_20_pictures_are_explained(model_path, folders, tmp_path, monkeypatch):
    def count(pictures, model):
        assert len(pictures) == 20
        return Figure()

    monkeypatch.setattr(mnist_dnn, "plot_explanations", count)
    flags = ["--output", str(model_path), "--explain", str(tmp_path / "explain.png")]
    assert main(["--predict", str(folders), *flags]) == 0
    assert (tmp_path / "explain.png").exists()


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have neither such a name nor pty"
)
def test_the_table_is_whole_and_the_progress_bar_beside_it(model_path, folders):
    name = 'caf\udce9, "a"\n.png'  # no UTF-8, and all that CSV has to quote
    (folders / "test/0").joinpath(name).write_text("no picture")
    terminal, stderr = os.openpty()
    command = [sys.executable, ROOT / "mnist_dnn.py", "--predict", folders, "--output", model_path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=300)
    header, *rows = csv.reader(io.StringIO(os.fsdecode(done.stdout), newline=""))
    assert done.returncode == 1 and header == HEADER and len(rows) == 401
    assert [Path(path).name for path, _, _, problem in rows if problem] == [name]
    assert "401/401" in os.read(terminal, 100_000).decode()


def test_a_closed_pipe_ends_quietly(model_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, ROOT / "mnist_dnn.py", "--predict", "a.png", "--output", model_path]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1 and "Error" not in done.stderr and "pipe" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-dir", "nowhere"], "Expected pictures in"),
        (["--output", "model.pt"], "ending in .h5, .keras or .tflite"),
        (["--predict", "a.png", "--output", "nowhere.h5"], "Run python mnist_dnn.py first"),
        (["--epochs", "0"], "at least 1"),
        (["--learning-rate", "0"], "more than 0"),
        (["--teacher", "a.h5", "--output", "./a.h5"], "another name by --output"),
        (["--teacher", "a.h5", "--start-from", "b.h5"], "no --start-from"),
        (["--start-from", "a.h5"], "--data-dir"),
        (["--start-from", "a.h5", "--data-dir", "b", "--ensemble", "2"], "no --ensemble"),
        (["--start-from", "a.h5", "--distributed"], "no --distributed"),
        (["--output", f"{__file__}/model.h5"], "Error: "),  # before training, not after it
    ],
)
def test_wrong_flags_get_a_sentence(flags, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(flags)
    assert words in f"{stop.value} {capsys.readouterr().err}"
