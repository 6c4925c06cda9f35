"""Models are never half-written, and answer alike in every format."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copy_of
from keras import layers

from digits.dense_numpy import load_dense
from digits.saving import load_trained_model, save_trained_model, store_as_float16
from digits.synthetic import draw_digits
from mnist_dnn import build_cnn, build_dnn, build_ensemble, main, predict_images

ROOT = Path(__file__).parents[1]
LAYERS = [keras.Input((28, 28)), layers.Flatten(), layers.Dense(10)]


@pytest.mark.parametrize("name", ["a.h5", "a.keras", "folder/a"])
def test_every_format_predicts_alike(model, digits, tmp_path, name):
    save_trained_model(model, tmp_path / name)
    save_trained_model(model, tmp_path / name)  # again, in the place of the first
    loaded = load_trained_model(tmp_path / name)
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], loaded) == pytest.approx(expected, abs=1e-6)
    assert not list(tmp_path.rglob(".saving-*"))


def test_weights_in_half_the_space_answer_nearly_alike(model, digits, tmp_path):
    path = tmp_path / "a.h5"
    save_trained_model(model, path)
    size = path.stat().st_size
    store_as_float16(path)
    assert path.stat().st_size < 0.55 * size
    expected = predict_images(digits[0], model)
    assert predict_images(digits[0], load_trained_model(path)) == pytest.approx(expected, abs=5e-3)
    assert load_dense(path)(digits[0]) == pytest.approx(expected, abs=5e-3)


class Interrupted(keras.Sequential):
    """A network whose save is interrupted halfway."""

    def save(self, path, **options):
        path.write_bytes(b"half a mod")
        raise KeyboardInterrupt


class Refused(keras.Sequential):
    """A network whose save is refused with words that only a programmer understands."""

    def save(self, path, **options):
        raise OSError(errno.EACCES, "in other words")


def test_an_interrupted_save_leaves_the_old_model(model, digits, tmp_path):
    save_trained_model(model, tmp_path / "a.h5")
    with pytest.raises(KeyboardInterrupt):
        save_trained_model(Interrupted(LAYERS), tmp_path / "a.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert len(predict_images(digits[0], load_trained_model(tmp_path / "a.h5"))) == 400


def test_a_failed_save_keeps_the_old_model_and_says_why(model, tmp_path):
    save_trained_model(model, tmp_path / "a.keras")
    with pytest.raises(OSError, match=r"Permission denied; the old model is kept$"):
        save_trained_model(Refused(LAYERS), tmp_path / "a.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]
    assert load_trained_model(tmp_path / "a.keras").count_params() == model.count_params()


@pytest.fixture(
    scope="module",
    params=[
        "dense",
        pytest.param("cnn", marks=pytest.mark.slow),
        pytest.param("ensemble", marks=pytest.mark.slow),
    ],
)
def network(request, model):
    networks = {
        "dense": lambda: model,
        "cnn": build_cnn,
        "ensemble": lambda: build_ensemble([copy_of(model, 1), copy_of(model, 0.5)]),
    }
    return networks[request.param]()


COUNTS = 1, 3, 1000  # a batch of any size


def test_tensorflow_serving_gets_what_the_readme_documents(network, tmp_path):
    folder = tmp_path / "digits" / "1"
    save_trained_model(network, folder)
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    assert signature.structured_input_signature[1] == {
        "images": tf.TensorSpec((None, 28, 28), tf.uint8, name="images")
    }
    loaded = load_trained_model(folder)
    for count in COUNTS:
        images = draw_digits(count, seed=3)[0]
        answer = signature(images=tf.constant(images))
        assert {name: each.shape for name, each in answer.items()} == {"probabilities": (count, 10)}
        for expected in (predict_images(images, network), predict_images(images, loaded)):
            np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def run_litert(path, images):
    """Give the probabilities of a .tflite file, by the interpreter that comes with TensorFlow."""
    runner = tf.lite.Interpreter(str(path)).get_signature_runner("serving_default")
    return runner(images=images)["probabilities"]


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_answers_as_keras_does(network, tmp_path):
    path = tmp_path / "digits.tflite"
    save_trained_model(network, path)
    assert [each.name for each in tmp_path.iterdir()] == ["digits.tflite"]
    for count in COUNTS:
        images = draw_digits(count, seed=3)[0]
        expected = predict_images(images, network)
        np.testing.assert_allclose(run_litert(path, images), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_reads_mnist_as_keras_does(shipped, mnist, tmp_path):
    save_trained_model(shipped, tmp_path / "digits.tflite")
    probabilities = run_litert(tmp_path / "digits.tflite", mnist[1][0])
    np.testing.assert_allclose(probabilities, predict_images(mnist[1][0], shipped), atol=1e-4)


def test_a_litert_file_is_no_model_to_predict_with(model, tmp_path):
    save_trained_model(model, tmp_path / "a.tflite")
    with pytest.raises(SystemExit, match="LiteRT's own interpreter"):
        main(["--predict", "a.png", "--weights", str(tmp_path / "a.tflite")])


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MB."""
    (tmp_path / "disk").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path / "disk")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system cannot be mounted here: {error}")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.parametrize("name", ["a.h5", "a.keras", "a.tflite", "a"])
def test_a_full_disk_keeps_the_old_model(disk, name):
    save_trained_model(build_dnn(hidden_units=8), disk / name)
    old = {path: path.is_file() and path.read_bytes() for path in disk.rglob("*")}
    words = f"Could not save {disk / name}: No space left on device; the old model is kept"
    with pytest.raises(OSError, match=f"^{re.escape(words)}$"):
        save_trained_model(build_dnn(), disk / name)  # 7 MB
    assert {path: path.is_file() and path.read_bytes() for path in disk.rglob("*")} == old


def test_hdf5_is_not_begun_without_room_for_its_end(disk, model, model_path):
    room = model_path.stat().st_size - 12_000  # HDF5 would stumble when it closes the file
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - room))
    with pytest.raises(OSError, match=r"No space left on device$"):
        save_trained_model(model, disk / "a.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Epoch 1 could not be stored")  # on the same disk
def test_a_full_disk_is_reported_in_a_sentence(disk, folders):
    flags = [
        "--epochs",
        "1",
        "--synthetic-share",
        "0",
        "--nondigits",
        "0",
        "--output",
        str(disk / "a.h5"),
    ]
    with pytest.raises(SystemExit, match=r"^Error: Could not save \S+: No space left on device$"):
        main(["--data-dir", str(folders), *flags])
    assert not list(disk.iterdir())


def test_a_read_only_disk_is_reported_before_training(disk, model):
    save_trained_model(model, disk / "a.h5")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(SystemExit, match=r"Read-only file system; the old model is kept$"):
        main(["--output", str(disk / "a.h5")])
    assert load_trained_model(disk / "a.h5").count_params() == model.count_params()


def test_a_folder_that_cannot_be_replaced_is_kept(model, digits, disk, tmp_path):
    save_trained_model(model, tmp_path / "a")
    shutil.copytree(tmp_path / "a", disk, dirs_exist_ok=True)
    with pytest.raises(OSError, match="the old model is kept"):
        save_trained_model(model, disk)  # a mounted disk cannot be moved
    assert len(predict_images(digits[0], load_trained_model(disk))) == 400
    assert {path.name for path in tmp_path.iterdir()} == {"a", "disk"}


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
def test_what_is_no_model_is_refused_with_version_and_reason(tmp_path, name):
    path = tmp_path / name
    path.write_text("no model") if path.suffix else path.mkdir()
    words = rf"Expected a Keras model that Keras {keras.__version__} can load, got {path}\. \w+"
    with pytest.raises(ValueError, match=words):
        load_trained_model(path)


def test_the_version_that_a_file_was_saved_by_is_named(model, tmp_path):
    save_trained_model(model, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["keras_version"] = "9.9.9"
        file.attrs["model_config"] = "{}"
    with pytest.raises(ValueError, match=r"saved by Keras 9\.9\.9\. "):
        load_trained_model(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["evil.h5", "evil.keras"])
def test_code_in_a_model_file_is_not_run(tmp_path, name):
    evil = keras.Sequential([keras.Input((28, 28)), layers.Lambda(lambda x: x + 1)])
    evil.save(tmp_path / name)
    with pytest.raises(ValueError, match="Expected a Keras model"):
        load_trained_model(tmp_path / name)


@pytest.mark.slow
def test_a_saved_model_needs_tensorflow_to_be_read(model, tmp_path):
    pytest.importorskip("jax")
    save_trained_model(model, tmp_path / "digits")
    code = "import sys; from digits.saving import *; load_trained_model(sys.argv[1])"
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "digits"],
        env={**os.environ, "KERAS_BACKEND": "jax"}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert "needs KERAS_BACKEND=tensorflow" in said.stderr


def run_onnx(path, images):
    """Give the probabilities of a .onnx file, by ONNX Runtime."""
    runtime = pytest.importorskip("onnxruntime")
    (answers,) = runtime.InferenceSession(str(path)).run(["probabilities"], {"images": images})
    return answers


def test_onnx_answers_as_keras_does(network, tmp_path):
    pytest.importorskip("tf2onnx")
    save_trained_model(network, tmp_path / "digits.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["digits.onnx"]
    for count in COUNTS:
        images = draw_digits(count, seed=3)[0]
        expected = predict_images(images, network)
        np.testing.assert_allclose(run_onnx(tmp_path / "digits.onnx", images), expected, atol=1e-5)


@pytest.mark.slow
def test_onnx_reads_mnist_as_keras_does(shipped, mnist, tmp_path):
    pytest.importorskip("tf2onnx")
    source = str(ROOT / "mnist_dnn.h5")
    assert main(["--weights", source, "--convert", str(tmp_path / "digits.onnx")]) == 0
    expected = predict_images(mnist[1][0], shipped)
    answers = run_onnx(tmp_path / "digits.onnx", mnist[1][0])
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_onnx_without_its_converter_names_it(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ValueError, match=r"needs tf2onnx: python -m pip install tf2onnx"):
        save_trained_model(model, tmp_path / "digits.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.onnx", "a.tflite", "a"])
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.filterwarnings("ignore:This model wants pixels")
def test_a_model_from_elsewhere_is_exported_with_its_scaling(model, digits, tmp_path, name):
    logits = keras.models.clone_model(model)
    logits.set_weights(model.get_weights())
    logits.layers[-1].activation = keras.activations.linear
    raw = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), logits])
    save_trained_model(raw, tmp_path / name)
    runs = {
        "a.onnx": lambda: run_onnx(tmp_path / name, digits[0]),
        "a.tflite": lambda: run_litert(tmp_path / name, digits[0]),
        "a": lambda: predict_images(digits[0], load_trained_model(tmp_path / name)),
    }
    np.testing.assert_allclose(runs[name](), predict_images(digits[0], model), atol=1e-4)
