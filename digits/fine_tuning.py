"""Fine-tune a network on a few pictures of one's own, without losing what it could read before."""

import keras
import numpy as np

from digits.augment import NO_DIGIT
from digits.batches import Pictures
from digits.folders import load_nondigits
from digits.metrics import cross_entropy
from digits.networks import predict_images

HELD_OUT = 1 / 3  # of one's own pictures: of thirty, ten show whether anything was learned
OWN_SHARE = 0.2  # of MNIST's number: one's own pictures, repeated
BLENDS = 0.25, 0.5, 0.75, 1  # shares of the new weights to choose from


def own_nondigits(data_dir: str | None) -> Pictures:
    """Return the pictures in `data_dir/nondigits`, with the label of non-digits."""
    images = load_nondigits(data_dir) if data_dir else np.empty((0, 28, 28), "uint8")
    return Pictures(images, np.full(len(images), NO_DIGIT, "uint8"))


def add_repeated(pictures: Pictures, own: Pictures, share: float = OWN_SHARE) -> Pictures:
    """Add own pictures, repeated until they are at least `share` of the others' number."""
    times = -(-int(share * len(pictures)) // max(len(own), 1))
    return pictures + own.select(np.tile(np.arange(len(own)), times))
