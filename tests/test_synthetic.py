import time

import numpy as np
import pytest

from digits.form import is_normalised
from digits.synthetic import digit_templates, draw_digits
from mnist_dnn import predict_images


def test_one_seed_draws_the_same_digits():
    first, again, other = (draw_digits(300, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("n", [0, 1, 129, 1000])
def test_every_digit_is_drawn_as_often(n):
    images, labels = draw_digits(n)
    assert images.shape == (n, 28, 28) and images.dtype == labels.dtype == np.uint8
    assert np.ptp(np.bincount(labels, minlength=10)) <= 1


def test_digits_have_mnists_form(digits):
    images = digits[0]
    assert is_normalised(images).mean() > 0.97
    assert images.mean() / 255 == pytest.approx(0.13, abs=0.03)  # MNIST: 0.1307


def test_every_digit_has_many_styles():
    digits, counts = np.unique(digit_templates().names, return_counts=True)
    assert list(digits) == list("0123456789") and counts.min() >= 8


def test_drawing_keeps_up_with_training():
    start = time.process_time()
    draw_digits(3000)
    assert 3000 / (time.process_time() - start) > 2500  # 10,000 on a quiet machine


@pytest.mark.mnist
def test_a_network_trained_on_synthetic_digits_alone_reads_mnist(model, mnist):
    images, labels = mnist[0]
    accuracy = (predict_images(images[:5000], model).argmax(axis=1) == labels[:5000]).mean()
    assert 0.8 < accuracy < 1  # the tests' small network; the default one has 96 %
