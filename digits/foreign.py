"""Find out which pixels a network from elsewhere wants, and what its outputs mean.

Its layers do not say whether it was trained on levels in 0-1 or 0-255, standardised, or with dark
ink on light paper. So it reads synthetic digits in each form, and the one with the least loss wins,
calibrated first: too large a scale, say, only makes answers more sure.
"""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from digits.metrics import cross_entropy
from digits.pen import draw, follow, press
from digits.synthetic import digit_templates

INPUT_SHAPES = (784,), (28, 28), (28, 28, 1), (1, 28, 28)
SAMPLES = 300  # synthetic digits to measure with
FEW = 30  # of them: a form in which ALLOWED more of these are misread is ruled out
ALLOWED = 3
GAIN = 0.02  # of the loss: by which another form has to be better than the one that layers suggest
CLEAR = 2.1  # a loss above this is of a network that is not trained yet: guessing has log(10) = 2.3
TEMPERATURES = np.geomspace(0.25, 64, 25)  # of pixels in 0-255 where 0-1 are wanted, and more
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's training pixels, in 0-1

Network = Callable[[np.ndarray], np.ndarray]


class Pixels(NamedTuple):
    """What a network is given for a grey level in 0-255, ink bright: scale * level + offset."""

    name: str
    scale: float
    offset: float

    def of(self, images: np.ndarray) -> np.ndarray:
        """Return images, uint8 (n, 28, 28), as the network wants them, float32."""
        return images.astype("float32") * np.float32(self.scale) + np.float32(self.offset)

    def dark(self) -> "Pixels":
        """Return the same for dark ink on light paper."""
        return Pixels(f"{self.name}, ink dark", -self.scale, self.offset + 255 * self.scale)


UNIT, RAW = Pixels("in 0-1", 1 / 255, 0), Pixels("in 0-255", 1, 0)
SIGNED = Pixels("in -1 to 1", 2 / 255, -1)
STANDARDISED = Pixels("standardised", 1 / 255 / DEVIATION, -MEAN / DEVIATION)
BRIGHT = UNIT, RAW, SIGNED, STANDARDISED


class Form(NamedTuple):
    """How to use a network: the pixels it wants, and whether its outputs are
    "probabilities", "sigmoids" or "logits"; `clear` if it reads digits well in this form."""

    pixels: Pixels
    outputs: str
    clear: bool


def measure(network: Network, assumed: Pixels) -> Form:
    """Find the form in which a network reads synthetic digits best.

    Args:
        network: from float32 (n, 28, 28) to its outputs, float32 (n, 10).
        assumed: what its layers suggest; other pixels have to be clearly better. If they are, a
            warning tells which.
    """
    images, labels = _samples()
    loss, form = _try(network, assumed, images, labels)
    loss -= GAIN
    right = _right(network, assumed, images, labels)
    for kind in (*BRIGHT, *map(Pixels.dark, BRIGHT)):
        if kind != assumed and _right(network, kind, images, labels) >= right - ALLOWED:
            other_loss, other = _try(network, kind, images, labels)
            if other_loss < loss:
                loss, form = other_loss, other
    if form.pixels != assumed:
        warnings.warn(
            f"This model wants pixels {form.pixels.name}, as measured on {SAMPLES} synthetic "
            "digits: it gets them",
            stacklevel=2,
        )
    return form


@functools.cache
def _samples():
    """Draw digits in the plainest style of each, its first template: most networks read these."""
    rng, labels = np.random.default_rng(0), np.arange(SAMPLES) % 10
    templates = digit_templates()
    plainest = [np.flatnonzero(templates.names == str(digit))[0] for digit in range(10)]
    paths = follow(templates, np.take(plainest, labels), rng)
    return draw(paths, press(SAMPLES, rng)), labels


def _right(network, pixels, images, labels):
    """Return for how many of the first images the answer is correct with these pixels."""
    answers = network(pixels.of(images[:FEW])).argmax(axis=1)
    return np.count_nonzero(answers == labels[:FEW])


def _try(network, pixels, images, labels):
    """Return the loss with these pixels at the best temperature, and the form."""
    answers = np.asarray(network(pixels.of(images)), "float32")
    kind = kind_of(answers)
    logits = np.log(as_probabilities(answers, kind).clip(1e-30))
    losses = [cross_entropy(softmax(logits / each), labels) for each in TEMPERATURES]
    loss = float(min(losses)) if np.isfinite(losses).all() else np.inf
    return loss, Form(pixels, kind, loss < CLEAR)


def kind_of(outputs: np.ndarray) -> str:
    """Return what outputs, float32 (n, 10), are: "probabilities", "sigmoids" or "logits"."""
    if not ((outputs >= 0) & (outputs <= 1.001)).all():
        return "logits"
    sums_to_one = np.allclose(outputs.sum(axis=1), 1, atol=1e-3)
    return "probabilities" if sums_to_one else "sigmoids"


def as_probabilities(outputs: np.ndarray, kind: str) -> np.ndarray:
    """Turn outputs of a kind that `kind_of` names, float32 (n, 10), into probabilities.

    Sigmoids become odds, p / (1 - p), which are normalised: the same as softmax of their logits.
    """
    if kind == "probabilities":
        return outputs
    if kind == "sigmoids":
        inside = outputs.clip(1e-7, 1 - 1e-7)
        outputs = np.log(inside / (1 - inside))
    return softmax(outputs)


def softmax(x: np.ndarray) -> np.ndarray:
    """Turn logits float (n, k) into probabilities of the same shape."""
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
