"""Make batches to train on: pictures in a new order in each epoch, and varied as hands vary."""

import functools
import zlib

import numpy as np
import tensorflow as tf

from digits.hosts import device_shares

TEMPERATURE = 4.0  # that a teacher's probabilities are softened by


class Pictures:
    """Pictures from one or more arrays, in an order: they are gathered by the batch, never copied.

    Args:
        images: uint8 (n, 28, 28), in memory or memory-mapped.
        labels: uint8 (n,).
    """

    def __init__(self, images, labels):
        self.arrays, self.labels = [images], labels
        self.rows = np.arange(len(labels))  # of all arrays, laid end to end

    @classmethod
    def _of(cls, arrays, rows, labels):
        pictures = cls([], labels)
        pictures.arrays, pictures.rows = arrays, rows
        return pictures

    def __len__(self):
        return len(self.rows)

    def __add__(self, other):
        rows = np.concatenate([self.rows, other.rows + sum(map(len, self.arrays))])
        labels = np.concatenate([self.labels, other.labels])
        return self._of(self.arrays + other.arrays, rows, labels)

    def select(self, places):
        """Return those at these places, int (k,), which may repeat, as Pictures."""
        return self._of(self.arrays, self.rows[places], self.labels[places])

    def checksum(self):
        """Return a number that changes with any picture, label or their order."""
        arrays = [array[i : i + 4096] for array in self.arrays for i in range(0, len(array), 4096)]
        return functools.reduce(
            lambda crc, a: zlib.crc32(a, crc), [*arrays, self.labels, self.rows], 0
        )

    def gather(self, places=slice(None)):
        """Return copies of those at these places: uint8 (k, 28, 28) and (k,)."""
        rows, start = self.rows[places], 0
        images = np.empty((len(rows), 28, 28), "uint8")
        for array in self.arrays:
            here = (rows >= start) & (rows < start + len(array))
            images[here] = array[rows[here] - start]
            start += len(array)
        return images, self.labels[places]


def batch_places(count, steps, seed, epoch, shares=1):
    """Put pictures into a new order for an epoch, and cut that into batches of nearly one size.

    Args:
        count: number of pictures.
        steps: number of batches.
        seed, epoch: the same ones give the same batches.
        shares: number of equal shares that each batch is cut into, one for each device; up to
            `shares - 1` pictures, others in each epoch, are left out for it.

    Returns:
        A list of int (k, shares).

    Raises:
        ValueError: a batch does not have a picture for each device.
    """
    if count < steps * shares:
        raise ValueError(f"Expected a picture in each batch for each of {shares} devices")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order = order[: count - count % shares].reshape(-1, shares)
    return np.array_split(order, steps)


def varied_batches(pictures, drawn, steps, seed, epochs, first_epoch=0, teacher=None):
    """Yield the batches of all epochs: in each, every picture is seen once and varied anew.

    Drawn digits become fewer as pictures are varied less (`variation`), others in each epoch.

    What a batch holds depends on the seed, the number of epochs, the epoch and its place in that
    alone. Of processes that train together, each makes the part that its own devices take.

    Args:
        pictures, drawn: Pictures.
        steps: number of batches in an epoch.
        seed, epochs, first_epoch: int.
        teacher: network on the TensorFlow backend whose probabilities, softened, are to be learned
            instead of the labels (distillation), float32 (n, 28, 28) in 0-1 -> (n, 10).

    Returns:
        A tf.data.Dataset of float32 (k, 28, 28) in 0-1 and float32 (k, 10): 1 for the label, or
        what the teacher says.
    """
    devices, ours = device_shares()

    def batches():
        for epoch in range(first_epoch, epochs + 1):  # one more: JAX looks at a batch in advance
            amount = variation(epoch, epochs)
            least = steps * devices - len(pictures)  # no batch is empty on any device
            few = max(round(amount * len(drawn)), least)
            shuffled = np.random.default_rng([seed, epoch, 1]).permutation(len(drawn))
            mixed = pictures + drawn.select(shuffled[:few])
            order = batch_places(len(mixed), steps, seed, epoch, devices)
            for step, places in enumerate(order):
                images, labels = mixed.gather(places[:, ours].ravel())
                draw = epoch << 32 | step * devices + ours.start
                yield images, labels, np.array([seed, draw], "int64"), amount

    def answer(x, labels):
        return x, soften(teacher(x, training=False)) if teacher else tf.one_hot(labels, 10)

    signature = (
        tf.TensorSpec((None, 28, 28), tf.uint8),
        tf.TensorSpec((None,), tf.uint8),
        tf.TensorSpec((2,), tf.int64),
        tf.TensorSpec((), tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    dataset = dataset.map(augment, num_parallel_calls=1)
    return dataset.map(answer, num_parallel_calls=1).prefetch(2)


def soften(probabilities):
    """Bring a teacher's probabilities closer together: divide its logits by the temperature.

    The small ones, which tell what a picture resembles as well, then weigh enough to be learned.
    Source: Hinton, Vinyals, Dean 2015.

    Args:
        probabilities: float32 (n, 10).

    Returns:
        float32 (n, 10); rows sum to 1.
    """
    floor = np.finfo("float32").tiny
    return tf.nn.softmax(tf.math.log(tf.maximum(probabilities, floor)) / TEMPERATURE)


def variation(epoch, epochs):
    """Return how much to vary pictures in an epoch: 1 in the first half, then less, towards 1/4.

    Much of it teaches what digits have in common; the end is for the digits as they are.
    """
    return 1 - 0.75 * max(2 * epoch / epochs - 1, 0)


def own_share(pictures):
    """Return the pictures that fall to this process, as many as to each of the others."""
    devices, ours = device_shares()
    places = np.arange(len(pictures) - len(pictures) % devices).reshape(-1, devices)
    return pictures.select(places[:, ours].ravel())


def augment(images, labels, seed, amount=1.0):
    """Turn, slant, stretch, shift and bend each picture of a batch at random, and vary its pen.

    Args:
        images: uint8 (n, 28, 28).
        labels: (n,), returned as they are.
        seed: int (2,); one seed always draws the same variations.
        amount: of variation, 0 for none.

    Returns:
        float32 (n, 28, 28) in 0-1, and the labels.
    """
    n, seeds = tf.shape(images)[0], tf.random.experimental.stateless_split(seed)
    draws = amount * tf.random.stateless_uniform([7, n, 1], seeds[0], -1, 1)
    angle, slant, zoom_x, zoom_y, shift_x, shift_y, pen = tf.unstack(draws)
    angle, slant = angle * 0.21, slant * 0.15  # radians: 12 degrees; and columns per row
    zoom_x, zoom_y = tf.exp(zoom_x * 0.12), tf.exp(zoom_y * 0.12)
    a, b = tf.cos(angle) * zoom_x, (tf.cos(angle) * slant - tf.sin(angle)) * zoom_y
    c, d = tf.sin(angle) * zoom_x, (tf.sin(angle) * slant + tf.cos(angle)) * zoom_y
    x, y = (grid.reshape(1, 784) - 13.5 for grid in np.mgrid[:28, :28].astype("float32")[::-1])
    x, y = a * x + b * y + shift_x * 2, c * x + d * y + shift_y * 2  # from the middle
    bends = amount * tf.random.stateless_normal([2, n, len(_waves())], seeds[1])
    bend_x, bend_y = tf.unstack(bends)
    x, y = x + bend_x @ _waves(), y + bend_y @ _waves()
    images = _sample(images, x + 13.5, y + 13.5)
    return _vary_pen(images, pen[:, 0] * 0.5), labels


@functools.cache
def _waves(most=4):
    """Return cosine waves over 28x28, the longer the higher: float32 (14, 784).

    Their sum, each times a normal random number, is 1 pixel in the root mean square: how far a
    point of a digit is moved along x or y, and points near it alike (elastic distortion).
    """
    t = np.pi * (np.arange(28) + 0.5) / 28
    rates = [(i, j) for i in range(most + 1) for j in range(most + 1 - i) if i + j]
    waves = np.array([np.outer(np.cos(i * t), np.cos(j * t)).ravel() for i, j in rates])
    waves /= np.array([[np.sqrt((wave**2).mean()) * (i + j)] for wave, (i, j) in zip(waves, rates)])
    return (waves / np.sqrt((waves**2).sum(axis=0).mean())).astype("float32")


def _sample(images, x, y):
    """Look up pictures at other places: the nearest pixel there, and 0 outside.

    Averaging the pixels around would blur, and what is to be read later is sharp.

    Args:
        images: uint8 (n, 28, 28).
        x, y: float32 (n, 784): column and row to fetch each pixel from.

    Returns:
        float32 (n, 28, 28) in 0-1.
    """
    column, row = (tf.cast(tf.clip_by_value(tf.round(v), -1, 28), tf.int32) + 1 for v in (x, y))
    padded = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1]]), [-1, 900])  # 30x30
    fetched = tf.gather(padded, 30 * row + column, batch_dims=1)
    return tf.reshape(tf.cast(fetched, tf.float32) / 255, [-1, 28, 28])


def _vary_pen(x, amount):
    """Thicken (amount > 0) or thin strokes by up to a pixel on each side.

    Args:
        x: float32 (n, 28, 28).
        amount: float32 (n,), -1 to 1.
    """
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1]])
    thick = thin = x
    for neighbour in (
        padded[:, :-2, 1:-1],
        padded[:, 2:, 1:-1],
        padded[:, 1:-1, :-2],
        padded[:, 1:-1, 2:],
    ):
        thick, thin = tf.maximum(thick, neighbour), tf.minimum(thin, neighbour)
    amount = amount[:, None, None]
    return x + tf.maximum(amount, 0) * (thick - x) + tf.maximum(-amount, 0) * (thin - x)
