"""The batches that a network is trained on: images mixed, shuffled, cut and augmented."""

import dataclasses
import functools
import zlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from digits.augment import NO_DIGIT, augment, augmentation_strength, soft_targets, targets
from digits.hosts import device_shares


class Pictures:
    """Images from one or more arrays, in any order: gathered batch by batch, never copied.

    Args:
        images: uint8 (n, 28, 28), in memory or memory-mapped.
        labels: uint8 (n,), 0-9 or NO_DIGIT.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.arrays, self.labels = [images], labels
        self.rows = np.arange(len(labels))  # of all arrays, laid end to end

    @classmethod
    def _of(cls, arrays, rows, labels):
        pictures = cls(arrays[0], labels)
        pictures.arrays, pictures.rows = arrays, rows
        return pictures

    @classmethod
    def nondigits(cls, images: np.ndarray) -> "Pictures":
        """Label images, uint8 (n, 28, 28), as non-digits."""
        return cls(images, np.full(len(images), NO_DIGIT, "uint8"))

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: "Pictures") -> "Pictures":
        rows = np.concatenate([self.rows, other.rows + sum(map(len, self.arrays))])
        labels = np.concatenate([self.labels, other.labels])
        return self._of(self.arrays + other.arrays, rows, labels)

    def select(self, indices: np.ndarray) -> "Pictures":
        """Return those at these indices, int (k,), which may repeat."""
        return self._of(self.arrays, self.rows[indices], self.labels[indices])

    def checksum(self) -> int:
        """Return a number that changes with any image, any label and their order."""
        blocks = [array[i : i + 4096] for array in self.arrays for i in range(0, len(array), 4096)]
        parts = [*blocks, self.labels, self.rows]
        return functools.reduce(lambda crc, part: zlib.crc32(part.data, crc), parts, 0)

    def gather(self, indices: slice | np.ndarray = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of those at these indices: uint8 (k, 28, 28) and (k,)."""
        rows, start = self.rows[indices], 0
        images = np.empty((len(rows), 28, 28), "uint8")
        for array in self.arrays:
            here = (rows >= start) & (rows < start + len(array))
            images[here] = array[rows[here] - start]
            start += len(array)
        return images, self.labels[indices]


def batch_indices(
    count: int, steps: int, seed: int, epoch: int, shares: int = 1
) -> list[np.ndarray]:
    """Shuffle images for an epoch, and cut them into batches of nearly equal size.

    Args:
        count: number of images.
        steps: number of batches.
        seed: with the epoch, it determines the batches.
        epoch: from 0.
        shares: equal shares that each batch is cut into, one for each device; up to
            `shares - 1` images are left out for this, different ones in each epoch.

    Returns:
        int (k, shares) for each batch.

    Raises:
        ValueError: a batch does not have an image for each device.
    """
    if count < steps * shares:
        raise ValueError(f"Expected an image in each batch for each of {shares} devices")
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order = order[: count - count % shares].reshape(-1, shares)
    return np.array_split(order, steps)


@dataclasses.dataclass(frozen=True)
class Batches:
    """The batches of a run: in each epoch, every picture is seen once, with new augmentation.

    What a batch holds depends only on the seed, the number of epochs, its epoch and its index. Of
    processes that train together, each makes the part that its own devices take.

    Attributes:
        pictures: digits and non-digits, all seen in every epoch.
        synthetic: digits to mix in. As augmentation gets weaker, there are fewer of them, a
            different choice in each epoch.
        batch_size: images in a step, nearly.
        seed: of order and augmentation.
        teacher: network on the TensorFlow backend whose soft targets replace the labels of digits
            (distillation), float32 (n, 28, 28) in 0-1 -> (n, 10).
    """

    pictures: Pictures
    synthetic: Pictures
    batch_size: int = 512
    seed: int = 0
    teacher: keras.Model | None = None

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return -(-(len(self.pictures) + len(self.synthetic)) // self.batch_size)

    def dataset(self, epochs: int, first_epoch: int = 0) -> tf.data.Dataset:
        """Return the batches of all epochs: float32 (k, 28, 28) in 0-1, and `targets` (k, 10).

        Args:
            epochs: of the whole run.
            first_epoch: the one to begin with.
        """
        signature = (
            tf.TensorSpec((None, 28, 28), tf.uint8),
            tf.TensorSpec((None,), tf.uint8),
            tf.TensorSpec((2,), tf.int64),
            tf.TensorSpec((), tf.float32),
        )
        # here, since Keras knows its distribution in this thread alone
        batches = functools.partial(self._raw, epochs, first_epoch, *device_shares())
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        dataset = dataset.map(augment, num_parallel_calls=1)
        dataset = dataset.map(self._with_targets, num_parallel_calls=1)
        return dataset.prefetch(2)

    def _with_targets(self, x, labels):
        return x, targets(x, labels, self.teacher)

    def _raw(self, epochs: int, first_epoch: int, devices: int, ours: slice) -> Iterator[tuple]:
        """Yield what `augment` takes: images, labels, seed and strength."""
        for epoch in range(first_epoch, epochs + 1):  # one more: JAX fetches a batch in advance
            strength = augmentation_strength(epoch, epochs)
            mixed = self._mixed(epoch, strength, devices)
            order = batch_indices(len(mixed), self.steps, self.seed, epoch, devices)
            for step, indices in enumerate(order):
                images, labels = mixed.gather(indices[:, ours].ravel())
                draw = epoch << 32 | step * devices + ours.start
                yield images, labels, np.array([self.seed, draw], "int64"), strength

    def _mixed(self, epoch, strength, devices):
        """Mix in this epoch's share of the synthetic digits."""
        least = self.steps * devices - len(self.pictures)  # no batch is empty on any device
        count = max(round(strength * len(self.synthetic)), least)
        shuffled = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.synthetic))
        return self.pictures + self.synthetic.select(shuffled[:count])

    def unaugmented(self, pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
        """Return other images unaugmented, float32 (n, 28, 28) in 0-1, with their targets (n, 10).

        Of processes that train together, each gets an equal share.
        """
        devices, ours = device_shares()
        indices = np.arange(len(pictures) - len(pictures) % devices).reshape(-1, devices)
        images, labels = pictures.gather(indices[:, ours].ravel())
        x, right = images.astype("float32") / 255, np.eye(10, dtype="float32")[labels]
        if self.teacher:
            return x, soft_targets(self.teacher.predict(x, verbose=0), right).numpy()
        return x, right
