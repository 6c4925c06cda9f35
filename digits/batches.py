"""The batches of a training run: what is trained on, mixed, augmented and with its targets."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from digits.augment import Pictures, own_share, soften, varied_batches


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches of augmented images and their targets.

    Attributes:
        pictures: each is seen once in an epoch.
        synthetic: synthetic digits to mix in, fewer and fewer in the second half.
        batch_size: images in one step.
        seed: of the order and of the augmentation.
        teacher: network on the TensorFlow backend whose soft targets replace the labels
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
        """Return the batches of all epochs: float32 (k, 28, 28) in 0-1 and float32 (k, 10)."""
        return varied_batches(
            self.pictures, self.synthetic, self.steps, self.seed, epochs, first_epoch, self.teacher
        )

    def unaugmented(self, pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
        """Return this process's share of other images, as they are, with their targets."""
        images, labels = own_share(pictures).gather()
        x, targets = images.astype("float32") / 255, np.eye(10, dtype="float32")[labels]
        return x, soften(self.teacher.predict(x, verbose=0)) if self.teacher else targets
