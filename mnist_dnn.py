"""Train a Dense network on MNIST and read your own pictures of handwritten digits with it.

    python mnist_dnn.py                                  train, save the best model, plot
    python mnist_dnn.py --predict my_digit.png           read pictures
    predict_pil_image(Image.open("my_digit.png"), model) the same from Python

Every picture, in training from folders as in prediction, takes the same path:
any picture -> digits in MNIST's form, 28x28 -> network -> digit, ten probabilities.
"""

import contextlib
import dataclasses
import io
import os
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from digits.options import (
    EPOCHS,
    LEARNING_RATE,
    default_patience,
    parse_arguments,
)
from digits.quiet import load_tensorflow, plain_messages

if __name__ == "__main__":
    parse_arguments()  # --help and wrong flags need not wait for TensorFlow
    load_tensorflow()

import keras
import numpy as np
from keras import layers

from digits import hosts
from digits.atomic import reserved
from digits.augment import TEMPERATURE, DigitAccuracy
from digits.batches import Batches, Pictures
from digits.checkpoint import Checkpoint
from digits.cores import ProcessEndedError
from digits.evaluation import Tests, choose_output, predict_tests, report
from digits.files import Picture, open_picture
from digits.find import Box, NoDigitError, find_digits, pil_to_mnist
from digits.fine_tuning import HELD_OUT, add_own_nondigits, blend, rehearse
from digits.folders import TEST_SHARE, Data, load_image_folders, stratified_split
from digits.networks import (
    apply_temperature,
    build_cnn,
    build_ensemble,
    calibrate,
    members,
    normalized,
    predict_images,
    require_trainable,
)
from digits.nondigits import draw_nondigits
from digits.reading import read_digits
from digits.runs import open_checkpoints, remove_checkpoints
from digits.saving import check_output, load_trained_model, save_trained_model
from digits.synthetic import draw_digits
from digits.tables import predict_files, write_table

if TYPE_CHECKING:
    import argparse

    from matplotlib.figure import Figure

__all__ = [
    "NoDigitError", "build_cnn", "build_dnn", "build_ensemble", "find_digits",
    "load_image_folders", "load_mnist", "load_trained_model", "main", "open_picture",
    "pil_to_mnist", "plot_history", "predict_digits", "predict_files", "predict_images",
    "predict_pil_image", "save_trained_model", "train",
]  # fmt: skip

MIN_SYNTHETIC = 10_000  # with fewer, a small folder of own digits is not enough to learn from
MAX_SYNTHETIC = 40_000  # more would repeat the same styles, and take 5 s or more to draw
SYNTHETIC = "synthetic digits"  # the source where there is no MNIST
UNSEEN = 2**32  # outside the range of --seed: synthetic test digits are never trained on


def load_mnist(timeout: float = 30.0) -> tuple[Data, Data]:
    """Load MNIST with Keras's own loader, which downloads it once and caches it.

    Args:
        timeout: seconds that the server may stay silent.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: uint8 (60000, 28, 28), (60000,), (10000, 28, 28)
        and (10000,); pixels 0-255, ink bright.

    Raises:
        ConnectionError: MNIST is not in the cache and cannot be downloaded.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout)
    try:
        return keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a plain Exception when a download fails
        cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", "mnist.npz")
        raise ConnectionError(
            f"MNIST could not be downloaded ({error}). "
            f"To supply it by hand, put mnist.npz at {cache}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def load_data(data_dir: str | None, test_share: float = TEST_SHARE) -> tuple[str, Data, Data]:
    """Load folders of pictures if named, else MNIST; draw digits if MNIST cannot be loaded.

    Args:
        data_dir: folders as `load_image_folders` takes them.
        test_share: of their pictures to test on, if there is no test folder.

    Returns:
        The name of the source; images uint8 (n, 28, 28) and labels (n,) to train on; and the same
        to test on.
    """
    if data_dir:
        return data_dir, *load_image_folders(data_dir, test_share)
    try:
        return "MNIST", *load_mnist()
    except ConnectionError as error:
        warnings.warn(
            f"{error}. Training on synthetic digits: this model is NOT trained on MNIST",
            stacklevel=2,
        )
    return SYNTHETIC, draw_digits(60_000, seed=1), draw_digits(10_000, seed=UNSEEN)


def split(data: Data, seed: int) -> tuple[Pictures, Pictures]:
    """Split images and labels, stratified, into Pictures to train on and to validate on.

    A twelfth is held out, at most 10,000: enough to measure the accuracy to 0.1 points.
    """
    pictures = Pictures(*data)
    share = min(1 / 12, 10_000 / len(pictures))
    kept, held_out = stratified_split(pictures.labels, share, seed)
    return pictures.select(kept), pictures.select(held_out)


def draw_synthetic(pictures: Pictures, share: float, seed: int) -> Pictures:
    """Draw digits in styles that MNIST lacks: `share` of the others' number, 10,000 to 40,000."""
    count = min(max(round(share * len(pictures)), MIN_SYNTHETIC), MAX_SYNTHETIC)
    return Pictures(*draw_digits(count if share else 0, seed))


def build_dnn(
    hidden_units: int = 896, hidden_layers: int = 3, dropout_rate: float = 0.1
) -> keras.Model:
    """Build the Dense network: float32 (n, 28, 28) in 0-1 -> ten probabilities."""
    hidden: list[keras.Layer] = []
    for _ in range(hidden_layers):
        hidden += normalized(layers.Dense(hidden_units, use_bias=False))
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


BUILDERS: dict[str, Callable[..., keras.Model]] = {"dense": build_dnn, "cnn": build_cnn}


def train(
    model: keras.Model,
    batches: Batches,
    validation: Pictures,
    *,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    patience: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> keras.callbacks.History:
    """Train `model` in place and leave it with the weights of its best epoch.

    Training stops early when the validation loss has not improved for `patience` epochs. Ctrl-C
    keeps the best epoch so far.

    Args:
        model: takes float32 (n, 28, 28) in 0-1, returns ten probabilities.
        batches: augmented images and their targets. With a teacher, loss and accuracy show how
            well it is imitated.
        validation: images that `batches` does not hold.
        epochs: at most.
        learning_rate: highest rate, reached after half an epoch; it falls along a cosine.
        patience: epochs, by default half of `epochs` and at least 10.
        checkpoint: stores the run after each epoch; a resumed one continues it.

    Returns:
        Keras's History: `history.history` has loss, accuracy, val_loss and val_accuracy by epoch.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first epoch ended.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * batches.steps, warmup_target=learning_rate, warmup_steps=batches.steps // 2
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    _compile(model, optimizer, DigitAccuracy(name="accuracy"))
    best = keras.callbacks.EarlyStopping(
        patience=patience or default_patience(epochs), restore_best_weights=True
    )
    callbacks, first_epoch = [best, keras.callbacks.History()], 0
    if checkpoint:
        checkpoint.follow(*callbacks)
        callbacks.append(checkpoint)
        first_epoch = epochs if checkpoint.finished else checkpoint.first_epoch
    try:
        _fit(model, batches, validation, callbacks, epochs, first_epoch)
    except KeyboardInterrupt:
        _keep_best_epoch(model, best)
    _compile(model, optimizer, "accuracy")  # the saved file must not refer to a class of ours
    if batches.teacher:
        apply_temperature(model, 1 / TEMPERATURE)
    return callbacks[1]


def _compile(model, optimizer, metric):
    # TensorFlow's XLA is several times slower on a CPU
    jit_compile = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, "categorical_crossentropy", metrics=[metric], jit_compile=jit_compile)


def _fit(model, batches, validation, callbacks, epochs, first_epoch):
    model.fit(
        batches.dataset(epochs, first_epoch),
        steps_per_epoch=batches.steps,
        validation_data=batches.unaugmented(validation),
        validation_batch_size=256 * hosts.local_devices(),
        initial_epoch=first_epoch,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,  # the batches are shuffled already
        verbose=(1 if sys.stdout.isatty() else 2) if hosts.is_first() else 0,
    )


def _keep_best_epoch(model, best):
    """Restore the best epoch after Ctrl-C, or raise KeyboardInterrupt if none has ended."""
    if hosts.processes() > 1:  # the others wait for this one's share of a step
        hosts.fail("Interrupted. Start all hosts again, with --resume")
    if best.best_weights is None:
        raise KeyboardInterrupt
    model.set_weights(best.best_weights)
    warnings.warn(f"Interrupted: keeping epoch {best.best_epoch + 1}, the best", stacklevel=3)


def plot_history(history: keras.callbacks.History) -> "Figure":
    """Plot accuracy and loss by epoch: training dashed, validation solid, the best epoch marked."""
    from matplotlib.ticker import MaxNLocator

    from digits.plots import Plot

    values = history.history
    epochs = np.arange(1, len(values["loss"]) + 1)
    best = int(np.argmin(values["val_loss"]))
    figure = Plot(figsize=(11, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("accuracy", "loss")):
        validation = values[f"val_{name}"]
        axes.plot(epochs, values[name], "--", color="C0", label="training (augmented)")
        axes.plot(epochs, validation, color="C1", label="validation")
        label = f"best: {validation[best]:.4f}"
        axes.plot(epochs[best], validation[best], "o", color="C1", label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def predict_pil_image(image: Picture, model: keras.Model) -> tuple[int, np.ndarray]:
    """Read the one handwritten digit in a picture.

    Args:
        image: PIL image of any size and mode; or array, uint8 (h, w) or (h, w, 3) RGB. OpenCV's
            colours are BGR: pass `frame[..., ::-1]`.
        model: as for `predict_images`.

    Returns:
        The digit, int 0-9, and the probabilities, float32 (10,).

    Raises:
        NoDigitError: no digit, or several, stand out from the background.
    """
    found = predict_digits(image, model)
    if len(found) > 1:
        raise NoDigitError(
            f"There seem to be {len(found)} digits in the picture. Crop it to the one to read, "
            "or use predict_digits."
        )
    digit, probabilities, _ = found[0]
    return digit, probabilities


def predict_digits(image: Picture, model: keras.Model) -> list[tuple[int, np.ndarray, Box]]:
    """Read every digit in a picture, in reading order.

    Args:
        image: as for `predict_pil_image`.
        model: as for `predict_images`.

    Returns:
        `(digit, probabilities, box)` for each; the box is (left, top, right, bottom) in pixels of
        the upright picture.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    found = read_digits(image, lambda images: predict_images(images, model))
    return [(int(each.probabilities.argmax()), each.probabilities, each.box) for each in found]


def main(argv: list[str] | None = None) -> int:
    """Train, or read pictures, or convert a model. Returns the exit status."""
    args = parse_arguments(argv)
    with plain_messages():
        try:
            if args.predict:
                return write_table(args.predict, load_trained_model(args.weights), args.explain)
            return convert(args.weights, args.convert) if args.convert else run(args)
        except (OSError, ValueError, ProcessEndedError) as error:
            hosts.fail(f"Error: {error}")


def convert(source: str, target: str) -> int:
    """Save a trained model under another name, in the format that its ending names."""
    check_output(target)
    save_trained_model(load_trained_model(source), target)
    print(f"Saved {target}")
    return 0


def run(args: "argparse.Namespace") -> int:
    """Train as the flags say; of several hosts, the first one prints and saves."""
    check_output(args.output)
    if args.distributed:
        join_hosts(args)
    with contextlib.ExitStack() as stack:
        if hosts.is_first():
            stack.enter_context(reserved(Path(args.output)))
        else:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        return fit_and_save(args)


def join_hosts(args: "argparse.Namespace") -> None:
    """Start training together with other hosts, if they were given the same flags."""
    hosts.start()
    own = "output", "data_dir"  # each host may have its own paths
    flags = {name: value for name, value in vars(args).items() if name not in own}
    hosts.require_same(repr(flags), "flags")


def fit_and_save(args: "argparse.Namespace") -> int:
    """Load, split, build, train, calibrate, then evaluate, save and plot."""
    teacher = load_network(args.teacher) if args.teacher else None
    output, training, validation, tests = prepare(args)
    networks = build_networks(args)
    start = networks[0].get_weights()
    before = predict_tests(networks[0], tests) if args.start_from else None
    synthetic = draw_synthetic(training, args.synthetic_share, args.seed)
    nondigits = min(args.nondigits, (len(training) + len(synthetic)) // 2)
    training += Pictures.nondigits(draw_nondigits(nondigits, args.seed))
    batches = Batches(training, synthetic, args.batch_size, args.seed, teacher)
    checkpoints = open_checkpoints(output, networks[0], training + synthetic, args)
    if args.resume and output.exists() and not checkpoints[0].first_epoch:
        print(f"Nothing to resume beside {output}. Leave out --resume to start again")
        return 0
    with hosts.lost_host_is_named():
        networks, history = train_networks(networks, batches, validation, checkpoints, args)
        first, networks = hosts.is_first(), hosts.detach(networks)
    if first:
        if args.start_from:
            blend(networks[0], start, split(load_mnist()[0], args.seed)[1])
        calibrate(members(networks), *validation.gather())
        model = build_ensemble(networks) if len(networks) > 1 else networks[0]
        finish(model, history, tests, before, output, args)
        if all(checkpoint.finished for checkpoint in checkpoints):
            remove_checkpoints(output)
    return 0


def prepare(args: "argparse.Namespace") -> tuple[Path, Pictures, Pictures, Tests]:
    """Return where to save, Pictures to train on and to validate on, and the test sets by name."""
    source, data, test = load_data(args.data_dir, HELD_OUT if args.start_from else TEST_SHARE)
    output = Path(args.output)
    if source == SYNTHETIC:  # never replaces a model trained on real digits
        output = output.with_stem("synthetic_dnn")
        if args.teacher:
            raise ValueError("--teacher needs real pictures to learn from: MNIST or --data-dir")
    training, validation = split(data, args.seed)
    tests = {source: test}
    if args.data_dir:
        training = add_own_nondigits(training, args.data_dir)
    if args.start_from:
        mnist, tests["MNIST"] = load_mnist()
        pairs = zip(split(mnist, args.seed), (training, validation))
        training, validation = (rehearse(many, few, args.seed) for many, few in pairs)
    if not len(validation):
        raise ValueError("Expected at least two training pictures of a digit: one to validate on")
    print(
        f"{source}: {len(training):,} pictures to train on, {len(validation):,} to validate, "
        f"{len(test[1]):,} to test"
    )
    return output, training, validation, tests


def build_networks(args: "argparse.Namespace") -> list[keras.Model]:
    """Return the networks to train: new ones, or the one of --start-from."""
    keras.utils.set_random_seed(args.seed)
    if args.start_from:
        return [load_network(args.start_from)]
    options = {"dropout_rate": 0.0} if args.teacher else {}  # soft targets are not overfitted
    return [BUILDERS[args.model](**options) for _ in range(args.ensemble)]


def load_network(path: str) -> keras.Model:
    """Load a model to fine-tune or to distil; raise ValueError if it has another shape."""
    model = load_trained_model(path)
    require_trainable(model, path)
    return model


def train_networks(
    networks: list[keras.Model],
    batches: Batches,
    validation: Pictures,
    checkpoints: list[Checkpoint],
    args: "argparse.Namespace",
) -> tuple[list[keras.Model], keras.callbacks.History]:
    """Train each network in place; return them, and the last one's history.

    After Ctrl-C it returns those that have finished an epoch.
    """
    trained: list[keras.Model] = []
    for model, checkpoint in zip(networks, checkpoints):
        if len(networks) > 1:
            print(f"Network {len(trained) + 1} of {len(networks)}")
        seeded = dataclasses.replace(batches, seed=args.seed + len(trained))
        options = {name: getattr(args, name) for name in ("epochs", "learning_rate", "patience")}
        try:
            history = train(model, seeded, validation, checkpoint=checkpoint, **options)
        except KeyboardInterrupt:
            if not trained:
                raise
            break
        trained.append(model)
        if not checkpoint.finished:
            break
    if len(trained) < len(networks):
        print(f"Interrupted: {len(trained)} of {len(networks)} networks are kept")
    return trained, history


def finish(
    model: keras.Model,
    history: keras.callbacks.History,
    tests: Tests,
    before: dict[str, np.ndarray] | None,
    output: Path,
    args: "argparse.Namespace",
) -> None:
    """Evaluate the model, save it where it loses nothing better, and draw the plots."""
    after = predict_tests(model, tests)
    report(tests, after, before)
    if not args.overwrite:
        output = choose_output(output, tests, after, args.data_dir if args.start_from else None)
    save_trained_model(model, output)
    print(f"Saved {output}")
    save_plots(history, *next(iter(zip(tests.values(), after.values()))), output.parent)


def save_plots(
    history: keras.callbacks.History, test: Data, probabilities: np.ndarray, folder: Path
) -> None:
    """Save the training curves and the mistakes, where Matplotlib is installed."""
    try:
        from digits.plots import plot_mistakes

        plot_history(history).savefig(folder / "training_curves.png", dpi=120)
        plot_mistakes(*test, probabilities).savefig(folder / "confusion_matrix.png", dpi=120)
        print("Saved training_curves.png and confusion_matrix.png beside it")
    except ImportError:
        print("No plots: they need Matplotlib (python -m pip install matplotlib)")


if __name__ == "__main__":
    sys.exit(main())
