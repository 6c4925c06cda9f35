import keras
from matplotlib.figure import Figure
from PIL import Image

from digits.plots import Plot, plot_explanations, plot_mistakes
from mnist_dnn import plot_history, predict_images


def test_training_curves_mark_the_epoch_with_the_least_loss(tmp_path):
    history = keras.callbacks.History()
    history.history = {
        "loss": [2, 1, 0.5], "accuracy": [0.2, 0.5, 0.7],
        "val_loss": [1, 0.4, 0.6], "val_accuracy": [0.5, 0.9, 0.8],
    }  # fmt: skip
    curves = plot_history(history)
    best = [line for line in curves.axes[0].lines if len(line.get_xdata()) == 1]
    assert best[0].get_xdata() == [2] and best[0].get_ydata() == [0.9]
    curves.savefig(tmp_path / "curves.png")


def test_mistakes_are_drawn_with_label_and_prediction(model, digits, tmp_path):
    images, labels = digits
    probabilities = predict_images(images, model)
    figure = plot_mistakes(images, (labels + 1) % 10, probabilities)  # all are mistakes
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert sum("\u2192" in title for title in titles) == 24
    figure.savefig(tmp_path / "mistakes.png")


def test_explanations_draw_digits_and_refusals(model, legible, tmp_path):
    pictures = {"a": Image.fromarray(legible[0][0]), "b": Image.new("L", (90, 90), "white")}
    figure = plot_explanations(pictures, model)
    assert isinstance(figure, Figure) and len(figure.axes) == 6  # a row for each picture
    assert f"{legible[1][0]}, " in figure.axes[2].get_title()
    assert "No digit" in figure.axes[5].texts[0].get_text()
    figure.savefig(tmp_path / "explained.png")


def test_jupyter_shows_a_plot_without_pyplot():
    assert Plot()._repr_png_().startswith(b"\x89PNG")
