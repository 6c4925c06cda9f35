"""Each picture is seen once in an epoch, and augmented differently each time."""

import numpy as np
import pytest

from digits import batches as room
from digits.augment import (
    NO_DIGIT,
    DigitAccuracy,
    augment,
    augmentation_strength,
    soft_targets,
    targets,
)
from digits.batches import Batches, Pictures, batch_indices


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


def test_augmented_images_are_about_as_sharp_as_before(digits):
    def sharpness(x):
        return (np.diff(x, axis=1) ** 2).sum() / (x**2).sum()

    x, _ = augment(*digits, [0, 0], 0.25)  # bilinear interpolation would leave 0.7
    assert sharpness(x.numpy()) > 0.9 * sharpness(digits[0] / 255)


def test_strength_0_leaves_images_unchanged(digits):
    x, _ = augment(*digits, [0, 0], 0.0)
    assert np.allclose(x, digits[0] / 255, atol=1e-4)


def test_a_batch_has_the_images_of_its_indices_and_their_labels(digits, monkeypatch):
    monkeypatch.setattr(room, "augmentation_strength", lambda epoch, epochs: 0.0)
    pictures = Pictures(*digits)
    batches = Batches(pictures, pictures.select([]), batch_size=60, seed=1)
    x, y = next(iter(batches.dataset(epochs=9, first_epoch=4)))
    indices = batch_indices(400, 7, seed=1, epoch=4)[0].ravel()  # 400 / 60, rounded up
    assert np.allclose(x, digits[0][indices] / 255, atol=1e-4)
    assert np.array_equal(y, np.eye(10)[digits[1][indices]])


def test_soft_targets_are_the_fourth_root_of_the_odds():
    sure = np.zeros((1, 10), "float32")
    sure[0, :3] = 0.9999, 1e-4 - 1e-8, 1e-8
    soft = soft_targets(sure, np.eye(10, dtype="float32")[:1]).numpy()
    assert soft.sum() == pytest.approx(1) and (soft > 0).all()
    assert soft[0, 0] / soft[0, 1] == pytest.approx(10, rel=1e-3)
    assert soft[0, 1] / soft[0, 2] == pytest.approx(10, rel=1e-3)


def test_a_teacher_that_is_wrong_is_corrected_and_as_sure_as_before():
    answer = np.array([[0.1, 0.6, 0.3, 0, 0, 0, 0, 0, 0, 0]], "float32")
    agreed, corrected = (
        soft_targets(answer, np.eye(10, dtype="float32")[[label]]).numpy()[0] for label in (1, 2)
    )
    assert corrected[[0, 2, 1, *range(3, 10)]] == pytest.approx(agreed)


@pytest.mark.parametrize("teacher", [None, lambda x, training: np.eye(10, dtype="float32")[[7, 7]]])
def test_the_target_of_a_nondigit_is_a_tenth_for_each_class_even_with_a_teacher(teacher):
    y = targets(np.zeros((2, 28, 28), "float32"), np.array([7, NO_DIGIT], "uint8"), teacher)
    assert np.argmax(y[0]) == 7 and y[0, 7] > 0.9
    assert np.array_equal(y[1], np.full(10, 0.1, "float32"))


def test_accuracy_is_of_digits_alone():
    accuracy = DigitAccuracy()
    labels = np.array([3, 7, NO_DIGIT, NO_DIGIT], "uint8")
    y = targets(np.zeros((4, 28, 28), "float32"), labels)
    accuracy.update_state(y, np.eye(10, dtype="float32")[[3, 0, 0, 5]])
    assert accuracy.result() == 0.5


def test_a_resumed_run_gets_the_batches_that_it_has_not_seen(digits):
    digits_and_others = Pictures(*digits) + Pictures(digits[0][:90], np.full(90, NO_DIGIT, "uint8"))
    synthetic = Pictures(digits[0][:50], digits[1][:50])
    batches = Batches(digits_and_others, synthetic, batch_size=150, seed=1)
    whole, rest = [*batches.dataset(epochs=3)], [*batches.dataset(epochs=3, first_epoch=2)]
    assert len(rest) == 2 * 4  # JAX fetches a batch in advance, and so the last epoch has a next
    assert all(np.array_equal(a, b) for pair in zip(whole[8:], rest) for a, b in zip(*pair))


def test_augmentation_gets_weaker_from_the_middle_on():
    amounts = [augmentation_strength(epoch, 100) for epoch in range(100)]
    assert amounts[:51] == [1] * 51 and np.all(np.diff(amounts[50:]) < 0)
    assert 0.25 < amounts[-1] < 0.27 and augmentation_strength(0, 1) == 1


@pytest.mark.parametrize(
    ("batch_size", "steps", "last"), [(12, 10, 73), (1, 120, 120)]
)  # never fewer than batches
def test_synthetic_digits_become_fewer_while_each_picture_is_still_seen_once(
    digits, batch_size, steps, last
):
    pictures = Pictures(digits[0][:40], np.zeros(40, "uint8"))
    synthetic = Pictures(digits[0][40:120], np.ones(80, "uint8"))
    batches = Batches(pictures, synthetic, batch_size)
    assert batches.steps == steps
    labels = [np.argmax(y, 1) for _, y in batches.dataset(epochs=9)]
    epochs = [np.concatenate(labels[i : i + steps]) for i in range(0, 9 * steps, steps)]
    assert all((epoch == 0).sum() == 40 for epoch in epochs)
    assert [len(epoch) for epoch in epochs[:5]] == [120] * 5  # full variation in the first half
    assert sorted(map(len, epochs), reverse=True) == [*map(len, epochs)]
    assert len(epochs[8]) == last


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_each_picture_is_seen_once_in_an_epoch(shares):
    batches = batch_indices(1000, 16, seed=3, epoch=5, shares=shares)
    indices = np.concatenate([batch.ravel() for batch in batches])
    assert len(batches) == 16 and max(batch.size for batch in batches) <= 64
    assert len(indices) == len(set(indices)) == 1000 - 1000 % shares
    with pytest.raises(ValueError, match="an image in each batch for each of 70 devices"):
        batch_indices(1000, 16, seed=3, epoch=5, shares=70)
    other = np.concatenate([b.ravel() for b in batch_indices(1000, 16, 3, 6, shares)])
    assert not np.array_equal(indices, other)


def test_pictures_of_several_arrays_are_gathered_in_order(digits):
    images, labels = digits
    both = Pictures(images[:100], labels[:100]) + Pictures(images[100:], labels[100:])
    indices = np.array([250, 3, 99, 100, 3])
    gathered = both.select(np.arange(400)[::-1]).gather(399 - indices)
    assert np.array_equal(gathered[0], images[indices])
    assert np.array_equal(gathered[1], labels[indices])
