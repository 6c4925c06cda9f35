"""Plots other than the training curves, as figures without pyplot: no window, no global state."""

import io
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from digits.files import exif_orientation, turn
from digits.find import NoDigitError
from digits.metrics import accuracy
from digits.networks import predict_images
from digits.reading import read_digits

MISTAKES = 24  # shown at most


class Plot(Figure):
    """A figure that Jupyter shows without pyplot."""

    def _repr_png_(self):
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=80)
        return file.getvalue()


def plot_mistakes(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the confusion matrix beside the most confident mistakes.

    Args:
        images: uint8 (n, 28, 28), ink bright.
        labels: int (n,).
        probabilities: float32 (n, 10).
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    mistakes = np.flatnonzero(predicted != labels)
    mistakes = mistakes[np.argsort(-confidence[mistakes])][:MISTAKES]
    figure = Plot(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.15))[0]
    title = f"Test accuracy {accuracy(probabilities, labels):.2%}"
    _draw_confusion(left.subplots(), labels, predicted, title)
    right.suptitle("Most confident mistakes: label \u2192 prediction")
    grid = right.subplots(4, MISTAKES // 4)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, i in zip(grid.flat, mistakes):
        axes.imshow(images[i], cmap="gray_r")
        axes.set_title(f"{labels[i]} \u2192 {predicted[i]}  {confidence[i]:.0%}", fontsize=9)
    return figure


def _draw_confusion(axes, labels, predicted, title):
    """Draw counts of label against prediction; only mistakes are coloured."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    mistakes = counts * (1 - np.eye(10))
    axes.imshow(mistakes, cmap="Oranges", vmax=1.6 * mistakes.max() + 1)  # black is legible on all
    for (label, prediction), value in np.ndenumerate(counts):
        color, weight = ("0.55", "normal") if label == prediction else ("black", "bold")
        style = {"ha": "center", "va": "center", "fontsize": 8, "color": color, "weight": weight}
        axes.text(prediction, label, value or "", style)
    axes.set(xlabel="prediction", ylabel="label", title=title)
    axes.set(xticks=range(10), yticks=range(10))


def plot_explanations(pictures: dict[str, Image.Image], model: keras.Model) -> Figure:
    """Draw each picture with the digits found in it, the 28x28 of each, and its probabilities.

    Args:
        pictures: by name.
        model: as for `predict_images`.

    Returns:
        A figure with a row for each digit found, and one for each picture without a digit.
    """
    rows = [row for name, picture in pictures.items() for row in _rows(name, picture, model)]
    figure = Plot(figsize=(8, 1.9 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 3, squeeze=False, width_ratios=(1.25, 1, 1.6))
    for (left, middle, right), (name, picture, digit, problem) in zip(grid, rows):
        left.set_title(Path(name).name, fontsize=9)
        left.imshow(turn(picture, exif_orientation(picture)).convert("RGB"))
        left.set_axis_off()
        middle.set_axis_off()
        if digit:
            _draw_digit(left, middle, right, digit)
        else:
            right.set_axis_off()
            right.text(0.5, 0.5, problem, ha="center", va="center", wrap=True, fontsize=9)
    return figure


def _rows(name, picture, model):
    """Return a row `(name, picture, digit or None, problem)` for each digit, or one for none."""
    try:
        digits = read_digits(picture, lambda images: predict_images(images, model))
        return [(name, picture, digit, "") for digit in digits]
    except NoDigitError as error:
        return [(name, picture, None, str(error))]


def _draw_digit(left, middle, right, digit):
    """Draw the box around a digit, its 28x28 and its probabilities."""
    x0, y0, x1, y1 = np.subtract(digit.box, 0.5)  # imshow centres a pixel at its index
    left.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="C1")
    middle.imshow(digit.pixels, cmap="gray")
    middle.set_title("what the network sees", fontsize=9)
    right.bar(range(10), digit.probabilities, color="C0")
    right.set(xticks=range(10), ylim=(0, 1), yticks=(0, 0.5, 1))
    answer = digit.probabilities.argmax()
    right.set_title(f"{answer}, {digit.confidence:.1%} confident", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
