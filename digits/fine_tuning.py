"""Fine-tune a network on a few pictures of one's own, without losing what it could read before."""

import keras
import numpy as np

from digits.batches import Pictures
from digits.folders import load_nondigits
from digits.saving import load_trained_model

HELD_OUT = 1 / 3  # of one's own pictures: ten of thirty show whether anything was learned
REHEARSED = 8000  # of MNIST's pictures: enough to remember it, and seen within two minutes
OWN_SHARE = 0.05  # of their number: one's own pictures, repeated


def add_own_nondigits(pictures: Pictures, data_dir: str) -> Pictures:
    """Add the pictures in `data_dir/nondigits`, labelled as non-digits."""
    return pictures + Pictures.nondigits(load_nondigits(data_dir))


def rehearse(mnist: Pictures, own: Pictures, seed: int) -> Pictures:
    """Return some of MNIST's pictures and all own ones, repeated to at least OWN_SHARE of them."""
    chosen = np.random.default_rng(seed).permutation(len(mnist))[:REHEARSED]
    times = -(-int(OWN_SHARE * len(chosen)) // max(len(own), 1))
    return mnist.select(chosen) + own.select(np.tile(np.arange(len(own)), times))


def blend(networks: list[keras.Model], start: str | None) -> list[keras.Model]:
    """Move fine-tuned networks halfway back, in place, to the weights in the file `start`.

    They then keep most of what they have learned, and forget less. Source: Wortsman et al. 2022.
    """
    if start is None:
        return networks
    for network in networks:
        pairs = zip(load_trained_model(start).get_weights(), network.get_weights())
        network.set_weights([(before + after) / 2 for before, after in pairs])
    return networks
