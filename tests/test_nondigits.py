import time

import numpy as np
import pytest
from conftest import copy_of
from paper import draw_letter

from digits.augment import NO_DIGIT
from digits.batches import Batches, Pictures
from digits.find import pil_to_mnist
from digits.form import is_normalised
from digits.nondigits import KINDS, draw_nondigits, nondigit_templates
from digits.synthetic import draw_digits
from mnist_dnn import predict_images, train

LOOK_ALIKES = "OoIlSsZzBbgq"  # 0, 1, 5, 2, 8, 6 and 9


def label(nondigits):
    return Pictures(nondigits, np.full(len(nondigits), NO_DIGIT, "uint8"))


def test_one_seed_draws_the_same_nondigits():
    first, again, other = (draw_nondigits(300, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("count", [0, 1, 129, 1000])
def test_as_many_are_drawn_as_asked_for(count):
    images = draw_nondigits(count)
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8
    assert (images.max(axis=(1, 2)) == 255).all()


def test_nondigits_have_mnists_form():
    images = draw_nondigits(1000)
    assert is_normalised(images).mean() > 0.95
    assert images.mean() / 255 == pytest.approx(0.14, abs=0.03)  # MNIST: 0.1307


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_in_many_ways(kind):
    _, draw_kind = KINDS[kind]
    images = draw_kind(20, np.random.default_rng(0))
    assert len(np.unique(images, axis=0)) == 20


def test_no_template_is_a_look_alike_of_a_digit():
    kinds, names = zip(*(name.split(" ", 1) for name in nondigit_templates().names))
    letters = {name for kind, name in zip(kinds, names) if kind == "letter"}
    assert set(kinds) == {"letter", "script", "sign", "doodle"}
    assert len(letters) >= 35 and not letters & set(LOOK_ALIKES)


def test_drawing_keeps_up_with_training():
    start = time.process_time()
    draw_nondigits(2000)
    assert 2000 / (time.process_time() - start) > 2500  # 8,000 on a quiet machine


def test_a_network_trained_with_nondigits_is_less_sure_of_letters(model):
    digits, rng = Pictures(*draw_digits(2000, seed=1)), np.random.default_rng(0)
    printed = np.stack([pil_to_mnist(draw_letter(rng)) for _ in range(60)])  # in Pillow's font
    sure = []
    for pictures in digits, digits + label(draw_nondigits(1000)):
        network = copy_of(model, sureness=1)
        batches = Batches(pictures, digits.select([]), batch_size=64)
        train(network, batches, Pictures(*draw_digits(100, seed=2)), epochs=1, learning_rate=1e-3)
        assert network.output_shape == (None, 10)
        sure.append(predict_images(printed, network).max(axis=1).mean())
    assert sure[1] < sure[0] - 0.05
