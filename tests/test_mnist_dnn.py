import re
import socket
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import save_folders
from keras import layers
from matplotlib.figure import Figure
from PIL import Image

import mnist_dnn
from mnist_dnn import (
    augment,
    build_dnn,
    build_ensemble,
    calibrate,
    calibration_error,
    keep_the_better,
    load_image_folders,
    load_mnist,
    load_trained_model,
    main,
    measure,
    plot_explanations,
    plot_history,
    plot_mistakes,
    predict_digits,
    predict_images,
    predict_pil_image,
    save_trained_model,
    train,
)
from pil_to_mnist import NoDigitError
from synthetic_digits import draw_digits

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


def test_augment_repeats_itself_for_one_seed_only(digits):
    first, again, other = (
        augment(digits[0][:9], digits[1][:9], seed)[0].numpy() for seed in ([1, 2], [1, 2], [1, 3])
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_augment_keeps_the_digit_in_the_frame(digits):
    x, labels = augment(*digits, [0, 0])
    assert x.shape == (400, 28, 28) and x.dtype == "float32"
    assert np.array_equal(labels, digits[1])
    assert x.numpy().min() >= 0 and x.numpy().max() <= 1
    ratio = x.numpy().sum(axis=(1, 2)) / (digits[0].sum(axis=(1, 2)) / 255)
    assert 0.85 < np.median(ratio) < 1.25 and ratio.min() > 0.3


def test_one_seed_gives_the_same_weights_twice(digits):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        network = build_dnn(hidden_units=16)
        train(network, digits, digits, **OPTIONS)
        weights.append(network.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_training_stops_early_and_restores_the_best_epoch(digits):
    network = build_dnn(hidden_units=16)
    wrong = digits[0], (digits[1] + 1) % 10  # the better the net learns, the worse it gets here
    history = train(network, digits, wrong, **OPTIONS | {"epochs": 40, "patience": 2})
    values = history.history["val_loss"]
    assert len(values) == int(np.argmin(values)) + 3 < 40
    right = predict_images(digits[0], network)[np.arange(400), wrong[1]]
    assert -np.log(right).mean() == pytest.approx(min(values), rel=1e-3)


def test_ctrl_c_keeps_the_best_epoch(digits, monkeypatch):
    def interrupt(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        keras.callbacks.History, "on_epoch_end", keras.callbacks.History.on_epoch_end
    )
    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_begin", interrupt)
    with pytest.warns(UserWarning, match="Interrupted: epoch [12] is kept"):
        history = train(build_dnn(16), digits, digits, **OPTIONS | {"epochs": 9})
    assert len(history.history["loss"]) == 2


def copy_of(model, sureness):
    """Copy a network; its logits are multiplied by `sureness`."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    last = copy.layers[-1]
    last.set_weights([weights * sureness for weights in last.get_weights()])
    return copy


def test_calibration_makes_a_boastful_network_honest(model, digits):
    boastful = copy_of(model, 1.7)
    images, labels = draw_digits(3000, seed=21)
    before = calibration_error(predict_images(images, boastful), labels)
    temperature = calibrate([boastful], images, labels)
    after = predict_images(images, boastful)
    assert 1.2 < temperature < 2
    assert calibration_error(after, labels) < before
    expected = predict_images(images, model).argmax(axis=1)
    assert np.array_equal(after.argmax(axis=1), expected)


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


def test_a_model_that_has_forgotten_is_saved_beside(
    drawn_mnist, model_path, folders, tmp_path, monkeypatch
):
    path = tmp_path / "digits.h5"
    path.write_bytes(model_path.read_bytes())
    monkeypatch.setattr(mnist_dnn, "add_repeated", lambda data, own: (own[0], (own[1] + 1) % 10))
    with pytest.warns(UserWarning, match="worse than before"):
        assert start_from(path, folders, 3) == 0
    assert path.read_bytes() == model_path.read_bytes()
    assert (tmp_path / "digits_worse.h5").exists()


def test_what_cannot_be_trained_on_is_refused(drawn_mnist, model, folders, tmp_path):
    save_trained_model(model, tmp_path / "exported")
    with pytest.raises(SystemExit, match="to go on from"):
        start_from(tmp_path / "exported", folders, 1)


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


# Saving and loading


@pytest.mark.parametrize("name", ["a.h5", "a.keras", "folder/a"])
def test_every_format_predicts_alike(model, digits, tmp_path, name):
    save_trained_model(model, tmp_path / name)
    save_trained_model(model, tmp_path / name)  # again, in the place of the first
    loaded = load_trained_model(tmp_path / name)
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], loaded) == pytest.approx(expected, abs=1e-6)
    assert not list(tmp_path.rglob(".saving-*"))


def test_an_interrupted_save_leaves_the_old_model(model, digits, tmp_path, monkeypatch):
    save_trained_model(model, tmp_path / "a.h5")

    def save_half(path, **options):
        path.write_bytes(b"half a mod")
        raise KeyboardInterrupt

    other = build_dnn(hidden_units=8)
    monkeypatch.setattr(other, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        save_trained_model(other, tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert len(predict_images(digits[0], load_trained_model(tmp_path / "a.h5"))) == 400


@pytest.mark.parametrize("name", ["a.pt", "pictures", "folder.h5"])
def test_a_wrong_place_for_a_model_is_refused(model, tmp_path, name):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.jpg").write_text("dear")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(ValueError, match="Expected a"):
        save_trained_model(model, tmp_path / name)
    assert (tmp_path / "pictures" / "holiday.jpg").read_text() == "dear"


def test_a_missing_model_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Run python mnist_dnn\.py first"):
        load_trained_model(tmp_path / "mnist_dnn.h5")


@pytest.mark.parametrize("name", ["a.h5", "a.keras", "folder"])
def test_what_is_no_model_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("no model") if path.suffix else path.mkdir()
    with pytest.raises(ValueError, match="Expected a Keras model"):
        load_trained_model(path)


@pytest.mark.parametrize("name", ["evil.h5", "evil.keras"])
def test_code_in_a_model_file_is_not_run(tmp_path, name):
    evil = keras.Sequential([keras.Input((28, 28)), layers.Lambda(lambda x: x + 1)])
    evil.save(tmp_path / name)
    with pytest.raises(ValueError, match="Expected a Keras model"):
        load_trained_model(tmp_path / name)


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


def test_without_mnist_it_trains_on_drawn_digits(offline, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load_mnist, "__defaults__", (1.0,))
    monkeypatch.setattr(mnist_dnn, "draw_digits", lambda n, seed: draw_digits(n // 100, seed))
    with pytest.warns(UserWarning, match=r"put mnist\.npz at .* NOT trained on MNIST"):
        main(["--epochs", "1", "--output", str(tmp_path / "mnist_dnn.h5")])
    assert "drawn digits: 550 pictures to train on" in capsys.readouterr().out
    assert (tmp_path / "synthetic_dnn.h5").exists() and not (tmp_path / "mnist_dnn.h5").exists()


def test_without_matplotlib_it_trains(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist_dnn, "MIN_SYNTHETIC", 100)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = tmp_path / "a.h5"
    assert main(["--data-dir", str(folders), "--epochs", "1", "--output", str(output)]) == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert output.exists()


def test_predict_prints_a_line_for_each_file(model_path, legible, tmp_path, capsys):
    Image.fromarray(legible[0][0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    explained = tmp_path / "explain.png"
    flags = ["--output", str(model_path), "--explain", str(explained)]
    assert main(["--predict", *paths, *flags]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{paths[0]}: {legible[1][0]} (") and explained.exists()
    assert "b.png: Expected a PNG" in err and "c.png: There is no such file" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-dir", "nowhere"], "Expected pictures in"),
        (["--output", "model.pt"], "ending in .h5 or .keras"),
        (["--predict", "a.png", "--output", "nowhere.h5"], "Run python mnist_dnn.py first"),
        (["--epochs", "0"], "at least 1"),
        (["--learning-rate", "0"], "more than 0"),
        (["--output", f"{__file__}/model.h5"], "Error: "),  # before training, not after it
    ],
)
def test_wrong_flags_get_a_sentence(flags, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(flags)
    assert words in f"{stop.value} {capsys.readouterr().err}"
