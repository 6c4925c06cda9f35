import re
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import fit, save_folders, save_train_and_test
from PIL import Image

import mnist_dnn
from digits.augment import soft_targets
from digits.batches import Pictures
from digits.evaluation import predict_tests
from digits.metrics import accuracy, cross_entropy
from digits.networks import members
from digits.options import parse_arguments
from digits.synthetic import draw_digits
from mnist_dnn import (
    NoDigitError,
    build_dnn,
    load_image_folders,
    load_trained_model,
    main,
    predict_digits,
    predict_images,
    predict_pil_image,
)

ROOT = Path(__file__).parents[1]
QUICK = ["--epochs", "1", "--synthetic-share", "0", "--nondigits", "0"]


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache, and a network where nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, then says nothing
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        yield


def run_python(code):
    """Run code in a process of its own: Keras reads KERAS_HOME when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_silent_server_is_given_up(offline):
    done = run_python("import mnist_dnn; mnist_dnn.load_mnist(timeout=1)")
    assert "ConnectionError: MNIST could not be downloaded" in done.stderr
    assert "put mnist.npz at" in done.stderr


def test_the_callers_socket_timeout_is_left_as_it_was(mnist):
    assert socket.getdefaulttimeout() is None  # the fixture has called load_mnist


def test_mnist_has_its_published_counts(mnist):
    (_, y_train), (x_test, y_test) = mnist
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test_counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y_train).tolist() == train_counts
    assert np.bincount(y_test).tolist() == test_counts
    assert x_test.mean() / 255 == pytest.approx(0.1325, abs=1e-4)


def test_one_seed_gives_the_same_weights_twice(digits):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        network = build_dnn(hidden_units=16)
        fit(network, digits, digits, epochs=2)
        weights.append(network.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights))


def test_training_stops_early_and_restores_the_best_epoch(digits):
    network = build_dnn(hidden_units=16)
    wrong = digits[0], (digits[1] + 1) % 10  # the better it learns, the worse it gets here
    history = fit(network, digits, wrong, epochs=40, learning_rate=2e-3, patience=2)
    values = history.history["val_loss"]
    assert len(values) == int(np.argmin(values)) + 3 < 40
    loss = cross_entropy(predict_images(digits[0], network), wrong[1])
    assert loss == pytest.approx(min(values), rel=1e-3)


def test_a_distilled_network_learns_soft_targets_and_is_as_confident_as_its_teacher(model, digits):
    network = build_dnn(hidden_units=64)
    history = fit(network, digits, digits, epochs=2, learning_rate=2e-3, teacher=model)
    answers, learned = (predict_images(digits[0], each) for each in (model, network))
    right = np.eye(10, dtype="float32")[digits[1]]
    wanted = soft_targets(answers, right).numpy()
    given = soft_targets(learned, np.eye(10, dtype="float32")[learned.argmax(axis=1)]).numpy()
    loss = -(wanted * np.log(given)).sum(axis=1).mean()
    assert loss == pytest.approx(min(history.history["val_loss"]), rel=1e-3)


def test_a_distilled_network_has_no_dropout_and_is_given_its_teacher(
    folders, model_path, tmp_path, monkeypatch
):
    def look(network, batches, *others, **options):
        rates = [each.rate for each in network.layers if "dropout" in each.name]
        seen.update(teacher=batches.teacher, rates=rates)
        return train(network, batches, *others, **options)

    seen, output, train = {}, str(tmp_path / "a.h5"), mnist_dnn.train
    monkeypatch.setattr(mnist_dnn, "train", look)
    flags = ["--teacher", str(model_path), "--data-dir", str(folders), *QUICK]
    assert main([*flags, "--output", output]) == 0
    assert seen["teacher"].output_shape == (None, 10) and seen["rates"] == [0, 0, 0]


def test_synthetic_digits_are_not_learned_from_a_teacher(model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_dnn, "load_data", lambda *_: ("synthetic digits", None, None))
    with pytest.raises(SystemExit, match="needs real pictures"):
        main(["--teacher", str(model_path), "--output", str(tmp_path / "a.h5")])


def test_ctrl_c_keeps_the_best_epoch(digits, monkeypatch):
    def interrupt(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_begin", interrupt)
    with pytest.warns(UserWarning, match="Interrupted: keeping epoch [12]"):
        history = fit(build_dnn(16), digits, digits, epochs=9)
    assert len(history.history["loss"]) == 2


@pytest.mark.slow
def test_ctrl_c_ends_an_ensemble_and_keeps_what_is_trained(folders, tmp_path, monkeypatch, capsys):
    begun = []

    def interrupt(self, epoch, logs=None):
        begun.append(epoch)
        if len(begun) == 4:  # the second epoch of the second network
            raise KeyboardInterrupt

    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_begin", interrupt)
    output = tmp_path / "a.h5"
    flags = ["--epochs", "2", "--ensemble", "4", *QUICK[2:]]
    assert main([*flags, "--data-dir", str(folders), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "Warning: Interrupted: keeping epoch 1" in printed.err
    assert begun == [0, 1, 0, 1] and "2 of 4 networks are kept" in printed.out
    assert len(members([load_trained_model(output)])) == 2
    assert len(list(tmp_path.glob("a.h5.checkpoint-*"))) == 2  # for --resume


@pytest.mark.slow
def test_a_convolutional_ensemble_is_trained_from_the_command_line(folders, tmp_path, capsys):
    flags = ["--model", "cnn", "--ensemble", "2", *QUICK]
    output = tmp_path / "digits.h5"
    assert main([*flags, "--data-dir", str(folders), "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert "calibration error" in printed.out and "retracing" not in printed.err
    assert len(members([load_trained_model(output)])) == 2


@pytest.fixture
def synthetic_mnist(monkeypatch):
    """Synthetic digits in MNIST's place."""
    data = draw_digits(10_000, seed=6), draw_digits(1000, seed=32)
    monkeypatch.setattr(mnist_dnn, "load_mnist", lambda: data)
    return data


def start_from(path, folders, epochs):
    flags = f"--epochs {epochs} --learning-rate 0.0006 --batch-size 64 --start-from".split()
    return main([*flags, str(path), "--output", str(path), "--data-dir", str(folders)])


@pytest.mark.slow
def test_own_pictures_are_learned_and_nothing_is_forgotten(
    synthetic_mnist, model_path, folders, digits, tmp_path, capsys
):
    path = tmp_path / "digits.h5"
    path.write_bytes(model_path.read_bytes())
    tilted = np.stack([Image.fromarray(image).rotate(35) for image in digits[0]])
    save_folders(tmp_path / "own/train", tilted[:300], digits[1][:300])
    save_folders(tmp_path / "own/test", tilted[300:], digits[1][300:])
    tests = {"own": load_image_folders(tmp_path / "own")[1], "MNIST": synthetic_mnist[1]}
    before = predict_tests(load_trained_model(path), tests)
    assert start_from(path, tmp_path / "own", 16) == 0
    out = capsys.readouterr().out
    saved = Path(re.search(r"Saved (.*\.h5)", out)[1])
    after = predict_tests(load_trained_model(saved), tests)
    for name, (_, labels) in tests.items():
        assert f"(before: {accuracy(before[name], labels):.2%})" in out
    old, new = (accuracy(each["MNIST"], tests["MNIST"][1]) for each in (before, after))
    assert new > old - 0.03
    loss_before, loss_after = (cross_entropy(p["own"], tests["own"][1]) for p in (before, after))
    assert loss_after < 0.9 * loss_before


@pytest.mark.slow
def test_fine_tuning_is_reproducible(synthetic_mnist, model_path, folders, tmp_path):
    weights = []
    for name in ("a.h5", "b.h5"):
        flags = [*QUICK, "--data-dir", str(folders)]
        main([*flags, "--start-from", str(model_path), "--output", str(tmp_path / name)])
        weights.append(load_trained_model(tmp_path / name).get_weights())
    assert all(map(np.array_equal, *weights))


@pytest.mark.slow
def test_a_model_that_has_forgotten_is_saved_beside(
    synthetic_mnist, model_path, folders, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "digits.h5"
    path.write_bytes(model_path.read_bytes())

    def confuse(_, own, seed):
        return Pictures(own.gather()[0], (own.labels + 1) % 10)

    monkeypatch.setattr(mnist_dnn, "rehearse", confuse)
    monkeypatch.setattr(mnist_dnn, "blend", lambda *_: None)
    assert start_from(path, folders, 20) == 0
    assert "is better on" in capsys.readouterr().out
    assert path.read_bytes() == model_path.read_bytes()
    assert (tmp_path / "digits_new.h5").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_worse_model_replaces_a_better_one_only_when_told_to(
    folders, model_path, tmp_path, overwrite, capsys
):
    path = tmp_path / "a.h5"
    path.write_bytes(model_path.read_bytes())
    flags = ["--data-dir", str(folders), "--output", str(path), *QUICK]
    assert main(flags + ["--overwrite"] * overwrite) == 0
    assert (path.read_bytes() != model_path.read_bytes()) == overwrite
    assert (tmp_path / "a_new.h5").exists() == (not overwrite)
    assert ("is better on" in capsys.readouterr().out) == (not overwrite)


def test_resuming_a_finished_run_does_nothing(folders, model_path, capsys):
    before = model_path.read_bytes()
    flags = ["--data-dir", str(folders), "--output", str(model_path), *QUICK, "--resume"]
    assert main(flags) == 0
    assert "Nothing to resume" in capsys.readouterr().out
    assert model_path.read_bytes() == before


def test_a_short_run_learns(model):
    images, labels = draw_digits(1000, seed=99)
    assert 0.85 < accuracy(predict_images(images, model), labels) < 1


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
    for k, i in enumerate(chosen):
        digit = Image.fromarray(255 - legible[0][i]).resize((140, 140))
        sheet.paste(digit, (30 + 190 * k, 30))
    found = predict_digits(sheet, model)
    assert [digit for digit, _, _ in found] == [3, 0, 7]
    assert [box[0] // 190 for _, _, box in found] == [0, 1, 2]


def test_training_writes_model_and_plots(folders, tmp_path, monkeypatch, capsys):
    output = tmp_path / "models" / "own.keras"
    assert main(["--data-dir", str(folders), *QUICK, "--output", str(output)]) == 0
    assert "100 unseen pictures" in capsys.readouterr().out
    written = {path.name for path in output.parent.iterdir()}
    assert written == {"own.keras", "training_curves.png", "confusion_matrix.png"}


@pytest.mark.slow
def test_a_model_for_tensorflow_serving_is_trained_from_the_command_line(folders, tmp_path):
    flags = [*QUICK, "--output", str(tmp_path / "digits/1")]
    assert main(["--data-dir", str(folders), *flags]) == 0
    served = tf.saved_model.load(str(tmp_path / "digits/1")).signatures["serving_default"]
    blank = tf.zeros((2, 28, 28), tf.uint8)
    assert served(images=blank)["probabilities"].numpy().sum() == pytest.approx(2)


@pytest.fixture
def no_mnist(monkeypatch):
    """MNIST can be neither found nor downloaded."""

    def refuse():
        raise ConnectionError("put mnist.npz at")

    monkeypatch.setattr(mnist_dnn, "load_mnist", refuse)


@pytest.mark.slow
def test_without_mnist_it_trains_on_synthetic_digits(offline, tmp_path):
    command = [sys.executable, ROOT / "mnist_dnn.py", *QUICK]
    command += ["--output", tmp_path / "mnist_dnn.h5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert "put mnist.npz at" in done.stderr and "NOT trained on MNIST" in done.stderr
    assert "synthetic digits: 55,000 pictures to train on" in done.stdout
    assert (tmp_path / "synthetic_dnn.h5").exists() and not (tmp_path / "mnist_dnn.h5").exists()


def test_synthetic_digits_to_test_on_are_never_trained_on(no_mnist, monkeypatch):
    monkeypatch.setattr(mnist_dnn, "draw_digits", lambda count, seed: (count, seed))
    with pytest.warns(UserWarning, match="NOT trained on MNIST"):
        *_, (count, seed) = mnist_dnn.load_data(None)
    assert count == 10_000
    with pytest.raises(SystemExit):
        parse_arguments(["--seed", str(seed)])


def test_fine_tuning_needs_mnist_itself(no_mnist, model_path, folders):
    before = model_path.read_bytes()
    with pytest.raises(SystemExit, match=r"put mnist\.npz at"):
        start_from(model_path, folders, 1)
    assert model_path.read_bytes() == before


@pytest.fixture
def few(tmp_path, digits):
    """Two folders with one picture of each digit to train on, and to test on."""
    chosen = [np.flatnonzero(digits[1] == digit)[0] for digit in range(10)] * 2
    return save_train_and_test(tmp_path / "few", [part[chosen] for part in digits], 10)


def test_one_picture_of_each_digit_is_too_little_to_train_on(few, tmp_path):
    with pytest.raises(SystemExit, match="at least two training pictures"):
        main(["--data-dir", str(few), "--output", str(tmp_path / "a.h5")])


@pytest.mark.slow
def test_one_picture_of_each_digit_is_enough_to_fine_tune(
    synthetic_mnist, few, model_path, tmp_path
):
    path = tmp_path / "a.h5"
    flags = ["--data-dir", str(few), *QUICK]
    assert main([*flags, "--start-from", str(model_path), "--output", str(path)]) == 0
    assert path.exists()


@pytest.mark.slow
def test_without_matplotlib_it_trains(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = tmp_path / "a.h5"
    assert main(["--data-dir", str(folders), *QUICK, "--output", str(output)]) == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert output.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data-dir", "nowhere"], "nowhere"),
        (["--output", "model.pt"], "ending in .h5, .keras, .tflite or .onnx"),
        (["--predict", "a.png", "--weights", "nowhere.h5"], "no model at nowhere.h5"),
        (["--convert", "a.pt"], "ending in .h5, .keras, .tflite or .onnx"),
        (["--output", f"{__file__}/model.h5"], "Error: "),  # before training, not after it
    ],
)
def test_what_cannot_be_done_gets_a_sentence(flags, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        main(flags)


def test_a_model_is_converted_without_training(model, model_path, digits, tmp_path):
    path = tmp_path / "digits.keras"
    assert main(["--weights", str(model_path), "--convert", str(path)]) == 0
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], load_trained_model(path)) == pytest.approx(expected, abs=1e-6)
