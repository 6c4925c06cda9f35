"""Train the finder of digits on synthetic scenes: python -m digits.train_finder

The network is a small U-Net that maps a standardised picture, float32 (h, w, 3), whose sides are
multiples of 16, to OUTPUTS values for each 2x2 pixels:

- 0-3: logits of ink for the left top, right top, left bottom and right bottom pixel;
- 4: logit of a digit's centre;
- 5-8: the digit's box seen from here, as distances to its left, top, right and bottom side:
  softplus of the value, times 8 pixels, from the middle of the 2x2 pixels;
- 9-18: logits of the digits 0-9, meaningful at centres; used in training only.

Objects as points: Zhou, Wang, Krähenbühl 2019. U-Net: Ronneberger, Fischer, Brox 2015.
The weights are saved with batch normalisation folded into the convolutions, as float16 arrays
k0, b0, k1, b1, ... in the order of the layers.
"""

import argparse
import functools
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from digits.cores import in_processes
from digits.finder_network import standardise
from digits.finder_targets import BOX_UNIT, TARGETS, draw_batches

CHANNELS = (16, 24, 40, 56)  # at strides 2, 4, 8 and 16
HEAD = 24
OUTPUTS = 19
STEPS = 30_000
SHUFFLED = 150  # batches, of about five chunks
EPOCH = 500  # steps, after which the weights are saved
PEAK_RATE = 3e-3
MOMENTUM = 0.99


def build_finder(channels: tuple[int, ...] = CHANNELS, head: int = HEAD) -> keras.Model:
    """Build the network, (n, h, w, 3) to (n, h / 2, w / 2, OUTPUTS)."""
    inputs = keras.Input((None, None, 3))
    skips, x = [], inputs
    for stride, width in enumerate(channels):
        x = _convolve(x, width, 3 if stride else 4, strides=2)
        x = _convolve(x, width)
        skips.append(x)
    x = _convolve(skips.pop(), channels[-1])
    for width in reversed(channels[:-1]):
        low = layers.UpSampling2D()(_convolve(x, width, 1))
        x = _convolve(layers.Add()([low, skips.pop()]), width)
    logits = layers.Conv2D(OUTPUTS, 1, bias_initializer=_first_guess)(_convolve(x, head))
    return keras.Model(inputs, logits)


def _convolve(x, width, kernel=3, strides=1):
    x = layers.Conv2D(width, kernel, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.98)(x))


def _first_guess(shape, dtype=None):
    """Start from the most frequent outputs: no ink, no centre, small boxes."""
    return tf.constant([-2.0] * 4 + [-3.0] + [-1.0] * 4 + [0.0] * (OUTPUTS - 9), dtype)


def finder_loss(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return the loss of ink, centres, boxes and digits.

    Args:
        targets: (n, h, w, TARGETS), see finder_targets.
        outputs: (n, h, w, OUTPUTS).
    """
    seen, heat, weight = targets[..., 4:5], targets[..., 5], targets[..., 10]
    owned, central = tf.where(weight > 0), tf.where(heat > 0.5)  # few cells: a quarter less time
    boxes, guesses = (
        tf.gather_nd(values, owned) for values in (targets[..., 6:11], outputs[..., 5:9])
    )
    digits, share, logits = (
        tf.gather_nd(values, central)
        for values in (targets[..., 11], heat * weight, outputs[..., 9:])
    )
    return (
        _ink_loss(targets[..., :4], seen, outputs[..., :4])
        + 4 * _centre_loss(heat, outputs[..., 4], seen[..., 0])
        + 0.5 * _box_loss(boxes[:, :4], boxes[:, 4], guesses)
        + 0.5 * _digit_loss(digits, share, logits)
    )


def _ink_loss(ink, seen, logits):
    """Weighted cross entropy, and Dice's coefficient of each picture."""
    entropy = tf.reduce_mean(seen * tf.nn.weighted_cross_entropy_with_logits(ink, logits, 1.5))
    guess, axes = tf.sigmoid(logits) * seen, (1, 2, 3)
    common = 2 * tf.reduce_sum(guess * ink, axes) + 20
    dice = common / (tf.reduce_sum(guess * guess + ink * ink, axes) + 20)
    return 2 * entropy + 0.1 * tf.reduce_mean(1 - dice)


def _centre_loss(heat, logits, seen):
    """Quality focal loss (Li et al. 2020), divided by the number of digits."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(heat, logits)
    focal = tf.square(heat - tf.sigmoid(logits)) * (1 + 2 * heat) * entropy * seen
    return tf.reduce_mean(tf.reduce_sum(focal, (1, 2)) / (tf.reduce_sum(heat, (1, 2)) + 20))


def _box_loss(box, weight, outputs):
    """One minus the boxes' overlap, and their relative difference: (k, 4), (k,) and (k, 4)."""
    guess = tf.nn.softplus(outputs) * BOX_UNIT
    common = _area(tf.minimum(guess, box))
    overlap = (common + 1) / (_area(guess) + _area(box) - common + 1)
    difference = tf.reduce_mean(tf.abs(guess - box), -1) / tf.sqrt(tf.maximum(_area(box), 16))
    loss = weight * (1 - overlap + 0.5 * tf.minimum(difference, 2))
    return tf.reduce_sum(loss) / (tf.reduce_sum(weight) + 1)


def _area(box):
    return (box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3])


def _digit_loss(digit, weight, logits):
    """Cross entropy of the digits near their centres: (k,), (k,) and (k, 10)."""
    labels = tf.cast(digit, tf.int32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(weight * entropy) / (tf.reduce_sum(weight) + 1)


def batches(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches without end, drawn by the other cores.

    Yields:
        pictures float16 (n, h, w, 3) and targets float16 (n, h / 2, w / 2, TARGETS).
    """
    for chunk in in_processes(draw_batches, ((seed, number) for number in itertools.count())):
        for pictures, targets in chunk:
            yield standardise(pictures.astype("float32")).astype("float16"), targets


def as_dataset(seed: int) -> tf.data.Dataset:
    """Return the batches as float32, shuffled so that neighbours show different scenes."""
    signature = (
        tf.TensorSpec((None, None, None, 3), tf.float16),
        tf.TensorSpec((None, None, None, TARGETS), tf.float16),
    )
    dataset = tf.data.Dataset.from_generator(
        functools.partial(batches, seed), output_signature=signature
    )
    return dataset.shuffle(SHUFFLED, seed).map(
        lambda *batch: [tf.cast(part, tf.float32) for part in batch]
    )


def folded_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Fold batch normalisation into the convolutions before it: float16 k0, b0, k1, b1, ..."""
    weights: dict[str, np.ndarray] = {}
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            index = len(weights) // 2
            kernel, *bias = layer.get_weights()
            weights[f"k{index}"] = kernel
            weights[f"b{index}"] = bias[0] if bias else np.zeros(kernel.shape[3], "float32")
        elif isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            weights[f"k{index}"] = weights[f"k{index}"] * scale
            weights[f"b{index}"] = beta - mean * scale
    return {name: array.astype("float16") for name, array in weights.items()}


class SaveAverage(keras.callbacks.Callback):
    """Average the weights over about the last 1 / (1 - MOMENTUM) steps; save that each epoch."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.average: list[np.ndarray] = []

    def on_train_batch_end(self, batch, logs=None):
        now = self.model.get_weights()
        self.average = self.average or now
        for mean, weights in zip(self.average, now):
            mean += (1 - MOMENTUM) * (weights - mean)

    def on_epoch_end(self, epoch, logs=None):
        now = self.model.get_weights()
        self.model.set_weights(self.average)
        part = self.path.with_suffix(".part.npz")
        np.savez(part, allow_pickle=False, **folded_weights(self.model))
        os.replace(part, self.path)  # atomically
        self.model.set_weights(now)


def train_finder(steps: int, seed: int, output: Path) -> keras.Model:
    """Train the finder from scratch, and save its weights after each epoch of EPOCH steps.

    Args:
        steps: number of batches.
        seed: of weights, scenes and views; on one machine it determines the result.
        output: the .npz file.
    """
    keras.utils.set_random_seed(seed)
    model = build_finder()
    warmup = min(200, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=PEAK_RATE, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=1.0)
    model.compile(optimizer, loss=finder_loss)
    epochs = max(1, round(steps / EPOCH))
    model.fit(
        as_dataset(seed),
        epochs=epochs,
        steps_per_epoch=steps // epochs,
        callbacks=[SaveAverage(output)],
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return model


def main(argv: list[str] | None = None) -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).with_name("finder.npz")
    parser.add_argument("--output", type=Path, default=here, help="weights (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    tf.config.threading.set_intra_op_parallelism_threads(1)  # the other cores draw scenes
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.datasets.mnist.load_data()  # into the cache, from where the drawing processes read it
    train_finder(arguments.steps, arguments.seed, arguments.output)


if __name__ == "__main__":
    main()
