"""The command line of mnist_dnn.py. It imports nothing heavy, so that `--help` answers at once."""

import argparse
from pathlib import Path

WEIGHTS = "mnist_dnn.h5"  # the bundled model
EPOCHS, BATCH_SIZE, LEARNING_RATE = 12, 512, 0.006
FINE_TUNING = {  # the defaults with --start-from
    "epochs": 8, "learning_rate": 0.0003, "synthetic_share": 0.0, "nondigits": 0,
}  # fmt: skip
NONDIGITS = 18_000
SYNTHETIC_SHARES = {"dense": 0.4, "cnn": 0.1}  # of synthetic digits, relative to the others


def default_patience(epochs: int) -> int:
    """Return how many epochs without improvement to wait; the last epochs improve most."""
    return max(10, epochs // 2)


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the command line; a wrong one ends the program with an error message.

    Args:
        argv: the arguments, by default those of the process.
    """
    parser = argparse.ArgumentParser(
        description="Train a network that reads handwritten digits, or read pictures with one.",
        prog="mnist_dnn.py",
        usage="python mnist_dnn.py [flags]",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26),
    )
    training = _training_flags(parser)
    _model_flags(parser)
    _reading_flags(parser)
    args = parser.parse_args(argv)
    if args.predict or args.convert:
        given = [each for each in training if getattr(args, each.dest) != each.default]
        if given:
            parser.error(f"{given[0].option_strings[0]} is for training: leave it out")
    _fill_in(args)
    for wrong, message in _checks(args):
        if wrong:
            parser.error(message)
    return args


def _fill_in(args):
    """Set the flags that were not given and whose default depends on others."""
    usual = {"epochs": EPOCHS, "learning_rate": LEARNING_RATE, "nondigits": NONDIGITS}
    usual["synthetic_share"] = SYNTHETIC_SHARES[args.model]
    for name, value in (FINE_TUNING if args.start_from else usual).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.patience is None:
        args.patience = default_patience(args.epochs)


def _training_flags(parser):
    """Add the flags that are for training only, and return them."""
    group = parser.add_argument_group("training")
    shares = ", ".join(f"{share} for {name}" for name, share in SYNTHETIC_SHARES.items())
    add, add_data = group.add_argument, group.add_mutually_exclusive_group().add_argument
    return [
        add_data("--data-dir", metavar="DIR", help="train on the pictures in DIR/train/0-9 and "
            "DIR/test/0-9 instead of MNIST"),
        add_data("--labels", metavar="CSV", dest="data_dir", help="train on the pictures that "
            "this file names, in rows of path,label"),
        add("--epochs", metavar="N", type=int, help="at most; more epochs give higher accuracy "
            f"(default: {EPOCHS}; {FINE_TUNING['epochs']} with --start-from)"),
        add("--batch-size", metavar="N", type=int, default=BATCH_SIZE,
            help="images in one step (default: %(default)s)"),
        add("--learning-rate", metavar="X", type=float, help="highest rate; it falls along a "
            f"cosine (default: {LEARNING_RATE}; {FINE_TUNING['learning_rate']} with --start-from)"),
        add("--patience", metavar="N", type=int, help="epochs without improvement before training "
            "stops (default: half of --epochs, at least 10)"),
        add("--seed", metavar="N", type=int, default=0,
            help="the same seed gives the same weights (default: %(default)s)"),
        add("--synthetic-share", metavar="X", type=float, help="synthetic digits to mix in, "
            f"relative to the others, 10,000 to 40,000; 0 for none (default: {shares}; none with "
            "--start-from)"),
        add("--nondigits", metavar="N", type=int, help="non-digits to mix in, so that the "
            "network learns to doubt them; at most half as many as digits, 0 for none (default: "
            f"{NONDIGITS}; none with --start-from)"),
        add("--model", choices=SYNTHETIC_SHARES, default="dense",
            help="network to train (default: %(default)s)"),
        add("--ensemble", metavar="N", type=int, default=1, help="train N networks and save one "
            "model that averages their probabilities (default: %(default)s)"),
        add("--teacher", metavar="MODEL", help="distil this model: learn its soft targets instead "
            "of the labels"),
        add("--start-from", metavar="MODEL", help="fine-tune this model on --data-dir, and on "
            "some of MNIST so that it forgets nothing"),
        add("--resume", action="store_true",
            help="continue an interrupted run; give it the same flags"),
        add("--distributed", action="store_true",
            help="share the work with other machines or GPUs, see docs/scaling.md"),
        add("--overwrite", action="store_true",
            help="replace the model at --output even if it is better"),
        add("--output", metavar="NAME", default=WEIGHTS, help="model to write: name.h5, "
            "name.keras, name.tflite, name.onnx or a SavedModel folder (default: %(default)s)"),
    ]  # fmt: skip


def _model_flags(parser):
    add = parser.add_argument_group("model").add_argument
    add("--weights", metavar="MODEL", default=WEIGHTS,
        help="model for --predict and --convert (default: %(default)s)")  # fmt: skip
    add("--convert", metavar="NAME",
        help="save the model under this name, in the format of its ending")  # fmt: skip


def _reading_flags(parser):
    add = parser.add_argument_group("reading").add_argument
    add("--predict", nargs="+", metavar="PATH",
        help="read these pictures, and those in these folders; prints CSV")  # fmt: skip
    add("--explain", metavar="PNG",
        help="with --predict: draw what was found in the first 20 pictures")  # fmt: skip


def _checks(args):
    """Yield `(whether it applies, the message)` for each mistake in the flags."""
    counts = args.epochs, args.batch_size, args.patience, args.ensemble
    yield min(counts) < 1, "--epochs, --batch-size, --patience and --ensemble are at least 1"
    yield args.learning_rate <= 0, "--learning-rate is above 0"
    yield (
        min(args.synthetic_share, args.nondigits) < 0,
        ("--synthetic-share and --nondigits are at least 0"),
    )
    yield not 0 <= args.seed < 2**32, "--seed is 0 to 4294967295"
    yield bool(args.explain and not args.predict), "--explain needs --predict"
    yield bool(args.predict and args.convert), "--predict and --convert cannot be combined"
    if args.start_from:
        yield not args.data_dir, "--start-from needs --data-dir: the pictures to learn"
        yield (
            args.ensemble > 1 or args.model != "dense",
            ("--start-from continues with the model it names: leave out --model and --ensemble"),
        )
        yield args.distributed, "--start-from runs on one machine: leave out --distributed"
    if args.teacher:
        yield bool(args.start_from), "--teacher is for a new network: leave out --start-from"
        yield args.distributed, "--teacher runs on one machine: leave out --distributed"
        yield (
            Path(args.teacher).resolve() == Path(args.output).resolve(),
            ("--teacher would be overwritten: choose another name with --output"),
        )
