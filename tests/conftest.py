"""What the tests share: synthetic digits, a small trained model, MNIST where it is cached."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from paper import draw_seven
from PIL import Image

from digits.batches import Batches, Pictures
from digits.collection import Collection
from digits.find import pil_to_mnist
from digits.form import is_normalised
from digits.pen import draw, follow, load_templates, press
from digits.synthetic import draw_digits
from mnist_dnn import (
    build_dnn,
    load_mnist,
    load_trained_model,
    predict_images,
    save_trained_model,
    train,
)

os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # the tests' own servers
LOOPED = "7: 10,15 35,5 50,20 35,32 25,18 50,8 85,10! 55,50 45,95!\n"  # begins with a loop


def save_folders(root, images, labels, ending="png"):
    for i, (image, label) in enumerate(zip(images, labels)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / str(label) / f"{i:03d}.{ending}")


def save_train_and_test(root, digits, count):
    """Save the first `count` of the digits below root/train, the others below root/test."""
    images, labels = digits
    save_folders(root / "train", images[:count], labels[:count])
    save_folders(root / "test", images[count:], labels[count:])
    return root


def turned_by(orientation):
    """Return EXIF that has this orientation, 1-8."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def copy_of(model, sureness):
    """Copy a network; its logits are multiplied by `sureness`."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    last = copy.layers[-1]
    last.set_weights([weights * sureness for weights in last.get_weights()])
    return copy


def fit(network, training, validation, *, batch_size=64, teacher=None, **options):
    """Train on `(images, labels)` alone, without synthetic digits."""
    pictures = Pictures(*training)
    batches = Batches(pictures, pictures.select([]), batch_size, teacher=teacher)
    return train(network, batches, Pictures(*validation), **options)


def pytest_collection_modifyitems(items):
    """Mark what needs MNIST, so that `-m "not mnist"` leaves it out."""
    for item in items:
        if "mnist" in getattr(item, "fixturenames", ()):
            item.add_marker("mnist")


@pytest.fixture(scope="session")
def digits():
    """400 synthetic digits in MNIST's form: uint8 (400, 28, 28) and (400,)."""
    images, labels = draw_digits(450, seed=5)
    chosen = np.flatnonzero(is_normalised(images))[:400]
    return images[chosen], labels[chosen]


@pytest.fixture(scope="session")
def seven():
    """A picture of a handwritten 7."""
    return draw_seven()


@pytest.fixture(scope="session")
def expected(seven):
    """The 7 in MNIST's form."""
    return pil_to_mnist(seven)


@pytest.fixture
def folders(tmp_path, digits):
    """Synthetic digits as train/0-9 and test/0-9."""
    return save_train_and_test(tmp_path, digits, 300)


@pytest.fixture(scope="session")
def model():
    """A small Dense network, trained on synthetic digits in a few seconds."""
    network = build_dnn(hidden_units=128)
    training, validation = draw_digits(10_000, seed=6), draw_digits(500, seed=7)
    fit(network, training, validation, epochs=8, batch_size=128, learning_rate=4e-3)
    return network


@pytest.fixture(scope="session")
def legible(model, digits):
    """The synthetic digits that the small network reads with confidence."""
    images, labels = digits
    probabilities = predict_images(images, model)
    chosen = probabilities[np.arange(len(labels)), labels] > 0.95
    return images[chosen], labels[chosen]


@pytest.fixture(scope="session")
def model_path(model, tmp_path_factory):
    """The small network as a .h5 file."""
    path = tmp_path_factory.mktemp("model") / "small_dnn.h5"
    save_trained_model(model, path)
    return path


@pytest.fixture(scope="session")
def shipped():
    """The bundled model."""
    return load_trained_model(Path(__file__).parents[1] / "mnist_dnn.h5")


@pytest.fixture(scope="session")
def mnist():
    """`(x_train, y_train), (x_test, y_test)`, where MNIST is in Keras's cache."""
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", "mnist.npz")
    if not cache.exists():
        pytest.skip("MNIST is not in Keras's cache")
    return load_mnist()


@pytest.fixture(autouse=True)
def no_luck():
    """Start every test from the same global random state."""
    np.random.seed(0)


@pytest.fixture
def looped_sevens(tmp_path):
    """Thirty sevens of one person, which the bundled model often takes for nines."""
    (tmp_path / "strokes.txt").write_text(LOOPED)
    rng = np.random.default_rng(0)
    paths = follow(load_templates(tmp_path / "strokes.txt"), np.zeros(30, int), rng)
    collection = Collection(tmp_path / "my_digits")
    for pixels in draw(paths, press(30, rng)):
        collection.keep(pixels, "7")
    return collection.root
