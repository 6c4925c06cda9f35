"""Fine-tune a network on a few pictures of one's own, without losing what it could read before."""

import keras
import numpy as np

from digits.batches import Pictures
from digits.folders import load_nondigits
from digits.metrics import is_significantly_worse
from digits.networks import predict_images

HELD_OUT = 1 / 3  # of one's own pictures: ten of thirty show whether anything was learned
REHEARSED = 8000  # of MNIST's pictures: enough to remember it, and seen within two minutes
SHARES = 1, 0.75, 0.5, 0.25  # of the fine-tuned weights, the rest being the old ones
OWN_SHARE = 0.05  # of their number: one's own pictures, repeated


def add_own_nondigits(pictures: Pictures, data_dir: str) -> Pictures:
    """Add the pictures in `data_dir/nondigits`, labelled as non-digits."""
    return pictures + Pictures.nondigits(load_nondigits(data_dir))


def rehearse(mnist: Pictures, own: Pictures, seed: int) -> Pictures:
    """Return some of MNIST's pictures and all own ones, repeated to at least OWN_SHARE of them."""
    chosen = np.random.default_rng(seed).permutation(len(mnist))[:REHEARSED]
    times = -(-int(OWN_SHARE * len(chosen)) // max(len(own), 1))
    return mnist.select(chosen) + own.select(np.tile(np.arange(len(own)), times))


def blend(network: keras.Model, old: list[np.ndarray], mnist: Pictures) -> None:
    """Move a fine-tuned network back towards the old one, in place, until it reads MNIST as well.

    Networks between the two keep most of what was learned. Source: Wortsman et al. 2022.

    Args:
        network: started from the weights `old`.
        old: as `get_weights` returned them.
        mnist: pictures that it was trained on neither before nor after.
    """
    images, labels = mnist.gather()
    learned = network.get_weights()
    network.set_weights(old)
    before = predict_images(images, network)
    for share in SHARES:
        network.set_weights([(1 - share) * a + share * b for a, b in zip(old, learned)])
        if not is_significantly_worse(predict_images(images, network), before, labels):
            break
