"""Augment images, and turn labels or a teacher's probabilities into training targets."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

NO_DIGIT = 10  # the label of non-digits
TEMPERATURE = 4.0  # of a teacher's soft targets


def targets(x: tf.Tensor, labels: tf.Tensor, teacher: Callable | None = None) -> tf.Tensor:
    """Return the targets of a network: float32 (n, 10).

    That is the label, or a soft target of the teacher's; for a non-digit, 0.1 for each class
    (outlier exposure). Source: Hendrycks, Mazeika, Dietterich 2019.

    Args:
        x: float32 (n, 28, 28) in 0-1, as the teacher takes them.
        labels: uint8 (n,), 0-9 or NO_DIGIT.
        teacher: network, float32 (n, 28, 28) -> (n, 10).
    """
    right = tf.one_hot(labels, 10)
    digits = soft_targets(teacher(x, training=False), right) if teacher else right
    return tf.where(labels[:, None] == NO_DIGIT, 0.1, digits)


class DigitAccuracy(keras.metrics.CategoricalAccuracy):
    """Accuracy on digits alone: non-digits, whose target is 0.1 for each class, are ignored."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        digits = keras.ops.cast(keras.ops.max(y_true, axis=-1) > 0.11, "float32")
        return super().update_state(y_true, y_pred, digits)


def soft_targets(probabilities: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Turn a teacher's probabilities into soft targets: divide its logits by the temperature.

    The small ones, which show what else an image resembles, then have enough weight to be learned.
    Where the teacher is wrong, its favourite and the right digit exchange their probabilities.
    Source: Hinton, Vinyals, Dean 2015.

    Args:
        probabilities: float32 (n, 10).
        right: float32 (n, 10), 1 for the label.

    Returns:
        float32 (n, 10); rows sum to 1.
    """
    floor = np.finfo("float32").tiny
    soft = tf.nn.softmax(tf.math.log(tf.maximum(probabilities, floor)) / TEMPERATURE)
    highest = tf.reduce_max(soft, axis=1, keepdims=True)
    own = tf.reduce_sum(soft * right, axis=1, keepdims=True)
    return soft + (highest - own) * (right - tf.one_hot(tf.argmax(soft, axis=1), 10))


def augmentation_strength(epoch: int, epochs: int) -> float:
    """Return how strongly to augment in an epoch: 1 in the first half, then falling towards 1/4.

    Strong augmentation teaches what a digit's shapes have in common; the last epochs are for digits
    as they are.
    """
    return 1 - 0.75 * max(2 * epoch / epochs - 1, 0)


def augment(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, strength: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotate, slant, stretch, shift and bend each image of a batch at random, and change its pen.

    Args:
        images: uint8 (n, 28, 28).
        labels: (n,), returned unchanged.
        seed: int (2,); the same seed gives the same augmentation.
        strength: of augmentation, 0 for none.

    Returns:
        float32 (n, 28, 28) in 0-1, and the labels.
    """
    n, seeds = tf.shape(images)[0], tf.random.experimental.stateless_split(seed)
    draws = strength * tf.random.stateless_uniform([7, n, 1], seeds[0], -1, 1)
    x, y = _affine(*tf.unstack(draws[:6]))
    bends = strength * tf.random.stateless_normal([2, n, len(_waves())], seeds[1])
    bend_x, bend_y = tf.unstack(bends)
    x, y = x + bend_x @ _waves(), y + bend_y @ _waves()
    images = _sample(images, x + 13.5, y + 13.5)
    return _change_pen(images, draws[6, :, 0] * 0.5), labels


def _affine(angle, slant, zoom_x, zoom_y, shift_x, shift_y):
    """Return where each pixel comes from, x and y from the middle, float32 (n, 784).

    Args:
        angle, slant, zoom_x, zoom_y, shift_x, shift_y: float32 (n, 1), -1 to 1.
    """
    angle, slant = angle * 0.21, slant * 0.15  # radians: 12 degrees; and columns per row
    zoom_x, zoom_y = tf.exp(zoom_x * 0.12), tf.exp(zoom_y * 0.12)
    a, b = tf.cos(angle) * zoom_x, (tf.cos(angle) * slant - tf.sin(angle)) * zoom_y
    c, d = tf.sin(angle) * zoom_x, (tf.sin(angle) * slant + tf.cos(angle)) * zoom_y
    x, y = (grid.reshape(1, 784) - 13.5 for grid in np.mgrid[:28, :28].astype("float32")[::-1])
    return a * x + b * y + shift_x * 2, c * x + d * y + shift_y * 2


@functools.cache
def _waves(most=4):
    """Return cosine waves over 28x28, whose amplitude grows with the wavelength: float32 (14, 784).

    Their sum, each times a normal random number, is 1 pixel in the root mean square: how far a
    point of a digit is moved along x or y, and its neighbours with it (elastic distortion).
    """
    t = np.pi * (np.arange(28) + 0.5) / 28
    rates = [(i, j) for i in range(most + 1) for j in range(most + 1 - i) if i + j]
    waves = np.array([np.outer(np.cos(i * t), np.cos(j * t)).ravel() for i, j in rates])
    waves /= np.array([[np.sqrt((wave**2).mean()) * (i + j)] for wave, (i, j) in zip(waves, rates)])
    return (waves / np.sqrt((waves**2).sum(axis=0).mean())).astype("float32")


def _sample(images, x, y):
    """Sample images elsewhere: the nearest pixel, 0 outside.

    Interpolation would blur, and people's pictures are as sharp as MNIST's.

    Args:
        images: uint8 (n, 28, 28).
        x: float32 (n, 784), the column that each pixel comes from.
        y: float32 (n, 784), the row.

    Returns:
        float32 (n, 28, 28) in 0-1.
    """
    column, row = (tf.cast(tf.clip_by_value(tf.round(v), -1, 28), tf.int32) + 1 for v in (x, y))
    padded = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1]]), [-1, 900])  # 30x30
    sampled = tf.gather(padded, 30 * row + column, batch_dims=1)
    return tf.reshape(tf.cast(sampled, tf.float32) / 255, [-1, 28, 28])


def _change_pen(x, amount):
    """Thicken (amount > 0) or thin strokes by up to a pixel on each side.

    Args:
        x: float32 (n, 28, 28).
        amount: float32 (n,), -1 to 1.
    """
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1]])
    rows, columns = padded[:, :, 1:-1], padded[:, 1:-1]
    thick = thin = x
    for neighbour in rows[:, :-2], rows[:, 2:], columns[..., :-2], columns[..., 2:]:
        thick, thin = tf.maximum(thick, neighbour), tf.minimum(thin, neighbour)
    amount = amount[:, None, None]
    return x + tf.maximum(amount, 0) * (thick - x) + tf.maximum(-amount, 0) * (thin - x)
