"""Measures of a network on a test set: loss, accuracy, calibration, and a paired test."""

from math import comb

import numpy as np

BINS = 15  # of confidence. Source: Guo et al. 2017
SIGNIFICANT = 0.05  # p-value below which a difference is significant


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean loss, in nats, of float32 (n, 10) for labels int (n,)."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, 1e-7)).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, 0-1, of rows, float32 (n, 10), whose largest is at the label, int (n,)."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the expected calibration error, 0-1: how far confidence and accuracy lie apart.

    Images are put into bins of equal width by confidence; the differences between mean confidence
    and accuracy are weighted by the images in a bin. Source: Guo et al. 2017.

    Args:
        probabilities: float32 (n, 10).
        labels: int (n,).
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(abs(np.bincount(bins, confidence - correct)).sum() / len(labels))


def is_significantly_worse(new: np.ndarray, old: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether a new model is significantly worse than an old one on the same images.

    Only images that exactly one of the two reads correctly are informative; if the models were
    equally good, each would win such an image with probability 1/2 (exact McNemar, one-sided).

    Args:
        new, old: probabilities, float32 (n, 10).
        labels: int (n,).
    """
    new_correct, old_correct = (each.argmax(axis=1) == labels for each in (new, old))
    lost = int((old_correct & ~new_correct).sum())
    contested = int((old_correct ^ new_correct).sum())
    chance = sum(comb(contested, k) for k in range(lost, contested + 1)) / 2**contested
    return chance < SIGNIFICANT
