"""Train a Dense network on MNIST and read your own pictures of handwritten digits with it.

    python mnist_dnn.py                                  train, save the best model, draw plots
    python mnist_dnn.py --predict my_digit.png           read pictures
    predict_pil_image(Image.open("my_digit.png"), model) the same from Python

Every picture, in training from folders as in prediction, takes the same path:
any picture -> `pil_to_mnist`, 28x28 like MNIST -> network -> (digit, ten probabilities).
"""

import argparse
import contextlib
import csv
import functools
import glob
import io
import itertools
import logging
import os
import socket
import sys
import threading
import warnings
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import: hide TensorFlow's chatter

import keras
import numpy as np
from keras import layers

from digits import hosts
from digits.augment import TEMPERATURE, Pictures, own_share, soften, varied_batches
from digits.checkpoint import Checkpoint
from digits.cores import ProcessEndedError, in_processes
from digits.dense_numpy import softmax
from digits.files import exif_orientation, find_pictures, open_picture, turn
from digits.find import NoDigitError, find_digits, pil_to_mnist
from digits.folders import all_digits, load_image_folders, read_pictures, stratified_split
from digits.saving import check_output, load_trained_model, save_trained_model
from digits.synthetic import draw_digits

NEEDS_MATPLOTLIB = "it needs Matplotlib (python -m pip install matplotlib)"
MIN_SYNTHETIC = 10_000  # a small folder of own digits needs as many, or the net learns too little
MAX_SYNTHETIC = 40_000  # more would repeat the same styles, and take 5 s or more to draw


# Data


def load_mnist(timeout=30.0):
    """Load MNIST through Keras's own loader, which downloads it once and caches it.

    Args:
        timeout: seconds that the server may take to begin its answer, or to go on with it.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: uint8 (60000, 28, 28), (60000,), (10000, 28, 28)
        and (10000,); pixels 0-255, ink bright.

    Raises:
        ConnectionError: MNIST is not in the cache and cannot be downloaded.
    """
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", "mnist.npz")
    outcome = {}

    def load():
        try:
            outcome["data"] = keras.datasets.mnist.load_data()
        except Exception as error:  # Keras raises a plain Exception when a download fails
            outcome["reason"] = str(error)

    socket.setdefaulttimeout(timeout)
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(timeout)
    if cache.exists():  # the server has answered: now the download may take its time
        thread.join()
    socket.setdefaulttimeout(None)
    if "data" not in outcome:
        reason = outcome.get("reason", f"no answer within {timeout:.0f} s")
        raise ConnectionError(
            f"MNIST could not be downloaded ({reason}). "
            f"To supply it by hand, put mnist.npz at {cache}"
        )
    return outcome["data"]


def split(data, seed):
    """Split `(images, labels)`, stratified, into Pictures to train on and others to validate.

    A twelfth is held out, and at most 10,000, which settle the accuracy to 0.1 points.
    """
    pictures = Pictures(*data)
    share = min(1 / 12, 10_000 / len(pictures))
    kept, held_out = stratified_split(pictures.labels, share, seed)
    return pictures.select(kept), pictures.select(held_out)


def add_repeated(pictures, own, share=0.2):
    """Add own pictures, if any, to others, repeated until they are at least a fifth of those."""
    times = -(-int(share * len(pictures)) // max(len(own), 1))
    return pictures + own.select(np.tile(np.arange(len(own)), times))


def draw_for(pictures, share, seed):
    """Draw 10,000 to 40,000 digits, in styles of writing that MNIST lacks, to mix into others.

    Args:
        pictures: Pictures, the others.
        share: of drawn digits, relative to their number; 0 for none.

    Returns:
        Pictures.
    """
    count = min(max(round(share * len(pictures)), MIN_SYNTHETIC), MAX_SYNTHETIC)
    return Pictures(*draw_digits(count if share else 0, seed))


# Model and training


def normalised(layer):
    """Return a layer with batch normalization, which makes up for its bias, and GELU."""
    return [layer, layers.BatchNormalization(), layers.Activation("gelu")]


def build_dnn(hidden_units=896, hidden_layers=3, dropout_rate=0.1):
    """Build the Dense network: float32 (n, 28, 28) in 0-1 -> ten probabilities."""
    hidden = []
    for _ in range(hidden_layers):
        hidden += normalised(layers.Dense(hidden_units, use_bias=False))
        hidden.append(layers.Dropout(dropout_rate))
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            *hidden,
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_dnn",
    )


def build_cnn(dropout_rate=0.1):
    """Build a convolutional network: float32 (n, 28, 28) in 0-1 -> ten probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(32, 5, use_bias=False),  # 24x24
            *normalised(layers.MaxPooling2D()),  # 12x12
            *normalised(layers.Conv2D(64, 3, use_bias=False)),  # 10x10
            layers.Conv2D(64, 3, use_bias=False),  # 8x8
            *normalised(layers.MaxPooling2D()),  # 4x4
            *normalised(layers.Conv2D(128, 3, padding="same", use_bias=False)),
            layers.Conv2D(128, 3, padding="same", use_bias=False),
            *normalised(layers.MaxPooling2D()),  # 2x2
            layers.Flatten(),
            layers.Dropout(dropout_rate),
            *normalised(layers.Dense(128, use_bias=False)),
            layers.Dropout(dropout_rate),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_cnn",
    )


BUILDERS = {"dense": build_dnn, "cnn": build_cnn}
SYNTHETIC_SHARES = {"dense": 0.4, "cnn": 0.1}  # a CNN learns from fewer, and MNIST the better


def build_ensemble(models):
    """Join networks that take the same pictures into one that averages their probabilities."""
    inputs = keras.Input(models[0].input_shape[1:])
    for number, model in enumerate(models, start=1):
        model.name = f"member_{number}"
    return keras.Model(inputs, layers.Average()([model(inputs) for model in models]))


def parts(models):
    """Return the networks that are averaged: those in ensembles, and those that are none."""
    found = []
    for model in models:
        if isinstance(model.layers[-1], layers.Average):
            found += [layer for layer in model.layers if isinstance(layer, keras.Model)]
        else:
            found.append(model)
    return found


def train(
    model,
    training,
    validation,
    *,
    epochs,
    batch_size,
    learning_rate,
    patience,
    seed,
    drawn=None,
    teacher=None,
    checkpoint=None,
):
    """Train `model` in place and leave it with the weights of its best epoch.

    The pictures are varied anew in each epoch (`varied_batches`). Training stops early when the
    validation loss has not improved for `patience` epochs. Ctrl-C keeps the best epoch so far.

    Args:
        model: takes float32 (n, 28, 28) in 0-1, gives ten probabilities.
        training, validation: Pictures.
        drawn: Pictures to mix in, fewer and fewer in the second half.
        teacher: network of the same kind, whose probabilities, softened, are learned instead of the
            labels. Loss and accuracy then tell how well it is imitated.
        checkpoint: Checkpoint that keeps the run after each epoch, and from which it goes on.

    Returns:
        Keras's History: `history.history` has loss, accuracy, val_loss and val_accuracy by epoch.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first epoch ended.
    """
    drawn = drawn or training.select([])
    steps = -(-(len(training) + len(drawn)) // batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps, warmup_target=learning_rate, warmup_steps=steps // 2
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        # TensorFlow's XLA is several times slower on a CPU
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    best = keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True)
    history = keras.callbacks.History()
    first_epoch = 0
    if checkpoint:
        checkpoint.follow(best, history)
        first_epoch = epochs if checkpoint.finished else checkpoint.first_epoch
    images, labels = own_share(validation).gather()
    targets = np.eye(10, dtype="float32")[labels]
    if teacher:
        targets = soften(predict_images(images, teacher))
    _, our_devices = hosts.device_shares()
    try:
        model.fit(
            varied_batches(training, drawn, steps, seed, epochs, first_epoch, teacher),
            steps_per_epoch=steps,
            validation_data=(images.astype("float32") / 255, targets),
            validation_batch_size=256 * (our_devices.stop - our_devices.start),
            initial_epoch=first_epoch,
            epochs=epochs,
            callbacks=[best, history, *[checkpoint] * bool(checkpoint)],
            shuffle=False,  # the batches are shuffled already
            verbose=(1 if sys.stdout.isatty() else 2) if hosts.is_first() else 0,
        )
    except KeyboardInterrupt:
        if hosts.processes() > 1:  # the others wait for this one's part of a step
            hosts.fail("Interrupted. Start all hosts again, with --resume")
        if best.best_weights is None:
            raise
        model.set_weights(best.best_weights)
        warnings.warn(f"Interrupted: epoch {best.best_epoch + 1} is kept as the best", stacklevel=2)
    if teacher:
        divide_logits(model, 1 / TEMPERATURE)
    return history


def divide_logits(model, temperature):
    """Divide the last layer's weights, so that probabilities lie closer together if it is above 1.

    Args:
        model: the last layer with weights is followed by softmax alone. It is changed in place.
    """
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    if isinstance(last, keras.Model):
        divide_logits(last, temperature)
    else:
        last.set_weights([values / temperature for values in last.get_weights()])


def calibrate(models, images, labels):
    """Make probabilities honest: divide the logits by one temperature (`divide_logits`).

    Args:
        models: networks whose probabilities are averaged, or a single one in a list; they are
            changed in place.
        images, labels: uint8 (n, 28, 28) and (n,), which no model has been trained on.

    Returns:
        The temperature, above 1 where the models were too sure: that with the least loss.
    """
    floor = np.finfo("float32").tiny
    logs = [np.log(np.maximum(predict_images(images, model), floor)) for model in models]
    temperatures = np.geomspace(0.5, 2, 81)
    losses = [
        cross_entropy(np.mean([softmax(each / temperature) for each in logs], axis=0), labels)
        for temperature in temperatures
    ]
    temperature = float(temperatures[np.argmin(losses)])
    for model in models:
        divide_logits(model, temperature)
    return temperature


def cross_entropy(probabilities, labels):
    """Return the mean loss, in nats, of float32 (n, 10) for labels (n,)."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def calibration_error(probabilities, labels, bins=15):
    """Return the expected calibration error, 0-1: how far confidence and accuracy lie apart.

    Pictures are gathered in bins of equal width by confidence; the differences between mean
    confidence and accuracy are weighted by their pictures. Source: Guo et al. 2017.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(abs(np.bincount(place, confidence - right)).sum() / len(labels))


# Prediction


def predict_images(images, model, batch_size=1024):
    """Give ten probabilities for each picture that is like MNIST's.

    Args:
        images: uint8 (n, 28, 28), ink bright on black.
        model: any Keras model that takes (784,), (28, 28) or (28, 28, 1) and gives ten logits or
            probabilities. Pixels reach it in 0-1, or in 0-255 where it has a Rescaling layer.

    Returns:
        float32 (n, 10); rows sum to 1.

    Raises:
        ValueError: the model has another input or output.
    """
    shape = tuple(model.input_shape[1:])
    if shape not in [(784,), (28, 28), (28, 28, 1)] or tuple(model.output_shape[1:]) != (10,):
        raise ValueError(
            f"Expected a model from 28x28 pixels to 10 classes, "
            f"got one from {shape} to {tuple(model.output_shape[1:])}"
        )
    x, scale = images.reshape(-1, *shape), 1 if _rescales(model) else 255
    outputs = [
        model.predict_on_batch(x[i : i + batch_size].astype("float32") / scale)
        for i in range(0, len(x), batch_size)
    ]
    return _as_probabilities(np.concatenate(outputs).astype("float32"))


def _rescales(model):
    """Tell whether a model takes pixels in 0-255 and divides them itself."""
    return any(isinstance(layer, layers.Rescaling) for layer in model.layers)


def _are_probabilities(outputs):
    """Tell probabilities from logits, float32 (n, 10)."""
    return (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3)


def _as_probabilities(outputs):
    """Turn logits float32 (n, 10) into probabilities; leave probabilities as they are."""
    return outputs if _are_probabilities(outputs) else softmax(outputs)


def predict_pil_image(image, model):
    """Read the one handwritten digit in a picture.

    Args:
        image: PIL image of any size and mode: a photo, a scan, a drawing, light or dark.
        model: as for `predict_images`.

    Returns:
        The digit, int 0-9, and the probabilities, float32 (10,).

    Raises:
        NoDigitError: no digit, or several, stand out from the background.
    """
    probabilities = predict_images(pil_to_mnist(image)[None], model)[0]
    return int(probabilities.argmax()), probabilities


def predict_digits(image, model):
    """Read several well-separated digits in reading order.

    Args:
        image, model: as for `predict_pil_image`.

    Returns:
        A list of `(digit, probabilities, box)`; box is (left, top, right, bottom) in pixels of the
        upright picture.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    pictures, boxes = zip(*find_digits(image))
    rows = predict_images(np.stack(pictures), model)
    return [(int(row.argmax()), row, box) for row, box in zip(rows, boxes)]


def predict_files(paths, model, batch_size=256):
    """Read picture files: all cores decode them, and a batch goes through the network at once.

    Args:
        paths: iterable of file names; a batch of them is held at a time for each core.
        model: as for `predict_images`.

    Yields:
        For each batch a list of `(path, digits, confidence, problem)`, strings: the digits in
        reading order, the product of their probabilities, or else what is wrong with the file.
    """
    paths = iter(paths)
    batches, work = itertools.tee(iter(lambda: list(itertools.islice(paths, batch_size)), []))
    read = functools.partial(read_pictures, find=all_digits, problem=(ValueError, OSError))
    for batch, (images, counts, problems) in zip(batches, in_processes(read, work)):
        rows = iter(predict_images(images, model) if len(images) else ())
        yield [
            (path, *_as_text(list(itertools.islice(rows, count))), problem)
            for path, count, problem in zip(batch, counts, problems)
        ]


def _as_text(rows):
    """Write probabilities, a list of float32 (10,), as digits and one confidence."""
    digits = "".join(str(row.argmax()) for row in rows)
    return digits, f"{np.prod([row.max() for row in rows]):.4f}" if rows else ""


# Plots: figures without pyplot, so that no window and no global state is involved


def plot_history(history):
    """Draw accuracy and loss by epoch, training dashed, validation solid, the best epoch marked.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = history.history
    epochs = np.arange(1, len(values["loss"]) + 1)
    best = int(np.argmin(values["val_loss"]))
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        validation = values[f"val_{name}"]
        axes.plot(epochs, values[name], "--", color="C0", label="training (varied pictures)")
        axes.plot(epochs, validation, color="C1", label="validation")
        axes.plot(
            epochs[best], validation[best], "o", color="C1", label=f"best: {validation[best]:.4f}"
        )
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def plot_mistakes(images, labels, probabilities, count=24):
    """Draw the confusion matrix beside the most confident mistakes.

    Args:
        images, labels, probabilities: uint8 (n, 28, 28), (n,) and float32 (n, 10).
        count: of mistakes to show at most.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]])][:count]
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    _draw_confusion(left.subplots(), labels, predicted)
    right.suptitle("Most confident mistakes: label, then prediction")
    for axes, i in zip(right.subplots(4, -(-count // 4)).flat, [*wrong, *[None] * count]):
        axes.set_axis_off()
        if i is not None:
            axes.imshow(images[i], cmap="gray_r")
            confidence = probabilities[i, predicted[i]]
            axes.set_title(f"{labels[i]} \u2192 {predicted[i]}  {confidence:.0%}", fontsize=9)
    return figure


def _draw_confusion(axes, labels, predicted):
    """Draw counts of label against prediction; the colour shows mistakes only."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    mistakes = counts * (1 - np.eye(10))
    axes.imshow(mistakes, cmap="Oranges", vmax=1.6 * mistakes.max() + 1)  # black is legible on all
    for (label, prediction), value in np.ndenumerate(counts):
        style = {"color": "0.55"} if label == prediction else {"weight": "bold"}
        axes.text(prediction, label, value or "", ha="center", va="center", fontsize=8, **style)
    accuracy = (labels == predicted).mean()
    axes.set(xlabel="prediction", ylabel="label", xticks=range(10), yticks=range(10))
    axes.set_title(f"{accuracy:.2%} of {len(labels):,} test pictures are read right")


def plot_explanations(pictures, model):
    """Draw each picture with the digits found in it, the 28x28 that the net saw, and its answer.

    Args:
        pictures: dict of name to PIL image.
        model: as for `predict_images`.

    Returns:
        A matplotlib Figure with a row for each digit found.
    """
    from matplotlib.figure import Figure

    rows = []
    for name, picture in pictures.items():
        try:
            rows += [(name, picture, *found) for found in find_digits(picture)]
        except NoDigitError as error:
            rows.append((name, picture, None, str(error)))
    figure = Figure(figsize=(8, 1.9 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 3, squeeze=False, width_ratios=(1.25, 1, 1.6))
    for axes, (name, picture, pixels, found) in zip(grid, rows):
        axes[0].set_title(Path(name).name, fontsize=9)
        axes[0].imshow(turn(picture, exif_orientation(picture)).convert("RGB"))
        if pixels is None:
            axes[2].text(0.5, 0.5, found, ha="center", va="center", wrap=True, fontsize=9)
        else:
            _draw_explanation(*axes, pixels, found, predict_images(pixels[None], model)[0])
        for each in axes[: 3 if pixels is None else 2]:
            each.set_axis_off()
    return figure


def _draw_explanation(left, middle, right, pixels, box, probabilities):
    """Draw the box around the digit, the 28x28 and the probabilities."""
    x0, y0, x1, y1 = np.subtract(box, 0.5)  # a pixel's middle is its place
    left.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="C1")
    middle.imshow(pixels, cmap="gray")
    middle.set_title("what the network sees", fontsize=9)
    right.bar(range(10), probabilities, color="C0")
    right.set(xticks=range(10), ylim=(0, 1), yticks=(0, 0.5, 1))
    right.set_title(f"{probabilities.argmax()}, {probabilities.max():.1%} sure", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)


# Command line


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


def parse_arguments(argv=None):
    """Parse the flags; `argv` as for argparse."""
    parser = argparse.ArgumentParser(
        description="Train a network that reads handwritten digits, or read pictures with it.",
        formatter_class=_HelpFormatter,
    )
    for name, metavar, default, words in (
        ("--data-dir", "DIR", None, "folders train/0-9 and test/0-9 of pictures, not MNIST"),
        ("--epochs", "N", 12, "at most as many; more read better"),
        ("--batch-size", "N", 512, "pictures in one step"),
        ("--learning-rate", "X", 0.006, "highest; it falls along a cosine"),
        ("--patience", "N", 0, "epochs without improvement before it stops; 0 for half of "
         "--epochs, and 10 at least"),
        ("--ensemble", "N", 1, "networks to train and to save as one that averages them"),
        ("--output", "NAME", "mnist_dnn.h5", "model to write, or to read with --predict: name.h5, "
         "name.keras, or a SavedModel folder; name.tflite is written only"),
        ("--seed", "N", 0, "of everything random"),
        ("--start-from", "MODEL", None, "go on with this model, at a tenth of the learning rate; "
         "the pictures of --data-dir are added to MNIST"),
        ("--teacher", "MODEL", None, "learn this model's probabilities instead of the labels"),
        ("--explain", "PNG", None, "with --predict: draw what was found and seen in the "
         "first 20 pictures"),
    ):  # fmt: skip
        kind = str if default is None else type(default)
        parser.add_argument(name, metavar=metavar, default=default, type=kind, help=words)
    parser.add_argument("--model", choices=BUILDERS, default="dense", help="to train")
    shares = ", ".join(f"{share} for {name}" for name, share in SYNTHETIC_SHARES.items())
    words = f"of drawn digits to mix in, 10,000 to 40,000; 0 for none (default: {shares})"
    parser.add_argument("--synthetic-share", metavar="X", type=float, help=words)
    words = "go on with a run that was interrupted, with the same flags"
    parser.add_argument("--resume", action="store_true", help=words)
    words = "share the work with other hosts or GPUs, see the README"
    parser.add_argument("--distributed", action="store_true", help=words)
    words = "read these pictures, and those in these folders, instead of training; prints CSV"
    parser.add_argument("--predict", nargs="+", metavar="PATH", help=words)
    args = parser.parse_args(argv)
    args.patience = args.patience or max(10, args.epochs // 2)  # most is gained at the end
    if args.synthetic_share is None:
        args.synthetic_share = SYNTHETIC_SHARES[args.model]
    if min(args.epochs, args.batch_size, args.patience, args.ensemble) < 1:
        parser.error("--epochs, --batch-size, --patience and --ensemble are at least 1")
    if args.start_from and args.distributed:
        parser.error("--start-from goes on with a model on one machine: no --distributed")
    if args.teacher and (args.start_from or args.distributed):
        parser.error("--teacher is for a new network: no --start-from, and no --distributed")
    if args.teacher and keras.backend.backend() != "tensorflow":
        parser.error("--teacher needs KERAS_BACKEND=tensorflow")
    if args.teacher and Path(args.teacher).resolve() == Path(args.output).resolve():
        parser.error("--teacher would be overwritten: give the new model another name by --output")
    if args.start_from and not args.data_dir:
        parser.error("--start-from learns the pictures of --data-dir as well: name their folder")
    if args.start_from and (args.ensemble > 1 or args.model != "dense"):
        parser.error("--start-from goes on with the model that it names: no --model, no --ensemble")
    if args.learning_rate <= 0 or args.synthetic_share < 0:
        parser.error("--learning-rate is more than 0, and --synthetic-share not less")
    return args


def load_data(data_dir):
    """Load folders, else MNIST, else draw digits; return the name of the source as well."""
    if data_dir:
        return data_dir, *load_image_folders(data_dir)
    try:
        return "MNIST", *load_mnist()
    except ConnectionError as error:
        warnings.warn(
            f"{error}. Training on drawn digits instead: this model is NOT trained on MNIST",
            stacklevel=2,
        )
    unseen = 2**32  # larger than a --seed can be: those digits may be mixed in
    return "drawn digits", draw_digits(60_000, seed=1), draw_digits(10_000, seed=unseen)


def main(argv=None):
    """Train, or with --predict read pictures. Returns the exit status."""
    args = parse_arguments(argv)
    logging.getLogger("absl").setLevel(logging.ERROR)  # .h5 is what the user asked for
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each network is traced anew
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
    try:
        return read(args) if args.predict else run(args)
    except (OSError, ValueError, ProcessEndedError) as error:
        if args.predict and isinstance(error, BrokenPipeError):  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it
            return 1
        hosts.fail(f"Error: {error}")


def run(args):
    """Load, split, build, train, calibrate, then test, save and plot."""
    if args.distributed:
        join_hosts(args)
    check_output(args.output)
    teacher = load_network(args.teacher) if args.teacher else None
    source, data, test = load_data(args.data_dir)
    output = Path(args.output)
    if source == "drawn digits":  # never in the place of a model that has seen real ones
        output = output.with_stem("synthetic_dnn")
        if args.teacher:
            raise ValueError("--teacher needs real pictures to be asked about: MNIST or --data-dir")
    members, training, validation, old = prepare(data, args)
    if not len(validation):
        raise ValueError(
            "Expected two training pictures or more of a digit, to hold one out to validate on"
        )
    drawn = draw_for(training, args.synthetic_share, args.seed)
    print(
        f"{source}: {len(training):,} pictures to train on, {len(validation):,} to validate, "
        f"{len(test[1]):,} to test; {len(drawn):,} drawn digits mixed in"
    )
    checkpoints = open_checkpoints(output, members[0], training + drawn, args)
    with hosts.lost_host_is_named():
        members, history = train_members(
            members, training, validation, drawn, teacher, checkpoints, args
        )
        first, members = hosts.is_first(), hosts.detach(members)
    if first:
        calibrate(parts(members), *validation.gather())
        model = build_ensemble(members) if len(members) > 1 else members[0]
        finish(model, history, test, old, output)
        if all(checkpoint.finished for checkpoint in checkpoints):
            remove_checkpoints(output)
    return 0


def join_hosts(args):
    """Start training together with other hosts, if they were given the same flags."""
    hosts.start()
    own = "output", "data_dir"  # each host may have its own places
    flags = {name: value for name, value in vars(args).items() if name not in own}
    hosts.require_same(repr(flags), "flags")
    if not hosts.is_first():  # the first process says it all
        sys.stdout = io.StringIO()


def prepare(data, args):
    """Return networks, Pictures to train on and to validate, and the old test with --start-from.

    The old test is what the network was able to do before: `(images, labels), accuracy`.
    """
    keras.utils.set_random_seed(args.seed)
    training, validation = split(data, args.seed)
    if not args.start_from:
        options = {"dropout_rate": 0.0} if args.teacher else {}  # its answers are not overfitted
        members = [BUILDERS[args.model](**options) for _ in range(args.ensemble)]
        return members, training, validation, None
    model, (old, old_test) = load_network(args.start_from), load_mnist()
    pairs = zip(split(old, args.seed), (training, validation))
    training, validation = (add_repeated(many, few) for many, few in pairs)
    return [model], training, validation, (old_test, measure(model, *old_test)["accuracy"])


def finish(model, history, test, old, output):
    """Test the model, save it and draw the plots."""
    scores = measure(model, *test)
    print(
        "Test accuracy {accuracy:.2%}, loss {loss:.4f}, calibration error {calibration:.2%}, "
        "on {count:,} unseen pictures".format(**scores)
    )
    if old:
        old_test, old_accuracy = old
        output = keep_the_better(output, old_accuracy, measure(model, *old_test)["accuracy"])
    save_trained_model(model, output)
    print(f"Saved {output}")
    save_plots(history, test, scores["probabilities"], output)


def open_checkpoints(output, model, pictures, args):
    """Return a Checkpoint beside the model for each network, with --resume in its last state."""
    flags = (
        "epochs batch_size learning_rate patience synthetic_share model ensemble seed start_from"
    )
    settings = {f"--{flag.replace('_', '-')}": getattr(args, flag) for flag in flags.split()}
    settings["a network with the weights"] = f"{model.count_params():,}"  # another version's differ
    settings["pictures with the checksum"] = pictures.checksum()
    hosts.require_same(repr(settings), "pictures")
    teacher = zlib.crc32(Path(args.teacher).read_bytes()) if args.teacher else None
    settings["a softened teacher with the checksum"] = teacher
    checkpoints = []
    for number in range(1, args.ensemble + 1):
        checkpoint = Checkpoint(output.with_name(f"{output.name}.checkpoint-{number}"), settings)
        checkpoints.append(checkpoint)
        with contextlib.suppress(*[ValueError] * (number > 1)):  # it may be of an older run
            if args.resume and checkpoint.resume():
                done = "is finished" if checkpoint.finished else "goes on"
                print(f"Network {number} {done} after epoch {checkpoint.first_epoch}")
    if args.resume and not checkpoints[0].first_epoch:
        print(f"No interrupted run is left beside {output}: training starts at the beginning")
    elif checkpoints[0].path.exists() and not args.resume:
        warnings.warn(
            f"An interrupted run is left in {checkpoints[0].path}: --resume would go on with it. "
            "This run starts anew and will take its place",
            stacklevel=2,
        )
    return checkpoints


def remove_checkpoints(output):
    """Remove what is left of this run and of older ones, once the model is saved."""
    for path in output.parent.glob(f"{glob.escape(output.name)}.checkpoint-*"):
        path.unlink(missing_ok=True)


def train_members(members, training, validation, drawn, teacher, checkpoints, args):
    """Train each network in place; return them, and the last one's history.

    After Ctrl-C it returns those of which an epoch has ended.
    """
    trained = []
    for model, checkpoint in zip(members, checkpoints):
        if len(members) > 1:
            print(f"Network {len(trained) + 1} of {len(members)}")
        try:
            history = train(
                model,
                training,
                validation,
                epochs=args.epochs,
                batch_size=args.batch_size,
                learning_rate=args.learning_rate / (10 if args.start_from else 1),
                patience=args.patience,
                seed=args.seed + len(trained),
                drawn=drawn,
                teacher=teacher,
                checkpoint=checkpoint,
            )
        except KeyboardInterrupt:
            if not trained:
                raise
            break
        trained.append(model)
        if not checkpoint.finished:
            break
    if len(trained) < len(members):
        print(f"Interrupted: {len(trained)} of {len(members)} networks are kept")
    return trained, history


def measure(model, images, labels):
    """Return a dict of accuracy, loss, calibration, count and probabilities on a test set."""
    probabilities = predict_images(images, model)
    return {
        "accuracy": (probabilities.argmax(axis=1) == labels).mean(),
        "loss": cross_entropy(probabilities, labels),
        "calibration": calibration_error(probabilities, labels),
        "count": len(labels),
        "probabilities": probabilities,
    }


def load_network(path):
    """Load a model to go on with or to learn from.

    Raises:
        ValueError: it does not lead from float32 (n, 28, 28) to ten probabilities.
    """
    model, blank = load_trained_model(path), np.zeros((1, 28, 28), "float32")
    fits = model.input_shape == (None, 28, 28) and model.output_shape == (None, 10)
    fits = fits and not (Path(path).is_dir() or _rescales(model))
    if not fits or not _are_probabilities(model.predict_on_batch(blank)):
        raise ValueError(
            "Expected a .h5 or .keras model from 28x28 pixels in 0-1 to ten probabilities, "
            f"got {path}"
        )
    return model


def keep_the_better(output, old_accuracy, accuracy):
    """Return another name for a model that has forgotten more than 0.1 points of what it knew."""
    print(f"On the old test set {accuracy:.2%}, before {old_accuracy:.2%}")
    if accuracy >= old_accuracy - 0.001 or not output.exists():
        return output
    beside = output.with_stem(output.stem + "_worse")
    warnings.warn(
        f"It reads the old test set worse than before, so {output} is kept, "
        f"and the new model saved as {beside}",
        stacklevel=2,
    )
    return beside


def save_plots(history, test, probabilities, output):
    """Save the plots beside the model, where Matplotlib is installed."""
    try:
        plot_history(history).savefig(output.with_name("training_curves.png"), dpi=120)
        plot_mistakes(*test, probabilities).savefig(
            output.with_name("confusion_matrix.png"), dpi=120
        )
        print("Saved training_curves.png and confusion_matrix.png beside it")
    except ImportError:
        print(f"No plots: {NEEDS_MATPLOTLIB}")


def read(args):
    """Print what the pictures say as CSV, batch by batch; return 1 if one could not be read."""
    model, table, status = load_trained_model(args.output), sys.stdout, 0
    if hasattr(table, "reconfigure"):  # a file may have any name; a notebook has its own stream
        table.reconfigure(encoding="utf-8", errors="surrogateescape")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("picture", "digits", "confidence", "problem"))
    shows_progress = sys.stderr.isatty() and not table.isatty()
    with contextlib.redirect_stdout(sys.stderr):  # Keras's progress bar is not for the table
        total = sum(1 for _ in find_pictures(args.predict)) if shows_progress else 0
        progress = keras.utils.Progbar(total, unit_name="picture")
        for rows in predict_files(find_pictures(args.predict), model):
            writer.writerows(rows)
            table.flush()
            if total > len(rows):
                progress.add(len(rows))
            status |= any(problem for *_, problem in rows)
        if args.explain:
            explain(args.predict, model, args.explain)
    return int(status)


def explain(names, model, output, count=20):
    """Draw the first pictures, where Matplotlib is installed."""
    pictures = {}
    for path in itertools.islice(find_pictures(names), count):
        with contextlib.suppress(ValueError):  # the table tells what is wrong with it
            pictures[path] = open_picture(path)
    if pictures:
        try:
            plot_explanations(pictures, model).savefig(output, dpi=120)
            print(f"Saved {output}")
        except ImportError:
            print(f"No {output}: {NEEDS_MATPLOTLIB}")


if __name__ == "__main__":
    sys.exit(main())
