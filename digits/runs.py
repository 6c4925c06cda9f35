"""The checkpoints of a training run: one beside the model for each network of the run."""

import argparse
import glob
import warnings
import zlib
from pathlib import Path

import keras

from digits import hosts
from digits.batches import Pictures
from digits.checkpoint import Checkpoint

FLAGS = (
    "epochs", "batch_size", "learning_rate", "patience", "synthetic_share", "nondigits",
    "model", "ensemble", "seed", "start_from",
)  # fmt: skip


def open_checkpoints(
    output: Path, model: keras.Model, pictures: Pictures, args: argparse.Namespace
) -> list[Checkpoint]:
    """Return a Checkpoint for each network; with --resume, in its saved state.

    Args:
        output: the model file that they lie beside.
        model: the first network.
        pictures: all that is trained on.
        args: the flags.

    Raises:
        ValueError: the interrupted run had other flags or pictures.
    """
    settings = _settings(model, pictures, args)
    checkpoints = [
        Checkpoint(output.with_name(f"{output.name}.checkpoint-{number}"), settings)
        for number in range(1, args.ensemble + 1)
    ]
    if args.resume:
        _resume(checkpoints)
    elif checkpoints[0].path.exists():
        warnings.warn(
            f"This run replaces the interrupted one in {checkpoints[0].path}, "
            "which --resume would have continued",
            stacklevel=2,
        )
    return checkpoints


def _settings(model, pictures, args):
    """Return everything that determines a run, by its name in messages."""
    settings = {f"--{flag.replace('_', '-')}": getattr(args, flag) for flag in FLAGS}
    settings["a number of weights of"] = f"{model.count_params():,}"
    settings["pictures with the checksum"] = pictures.checksum()
    hosts.require_same(repr(settings), "pictures")
    teacher = zlib.crc32(Path(args.teacher).read_bytes()) if args.teacher else None
    settings["a teacher with the checksum"] = teacher
    return settings


def _resume(checkpoints):
    """Resume each network up to the first that was not started."""
    for number, checkpoint in enumerate(checkpoints, start=1):
        try:
            found = checkpoint.resume()
        except ValueError:
            if number == 1:
                raise
            return  # left by an older run, whose first checkpoint this run has replaced
        if not found:
            return
        state = "is finished" if checkpoint.finished else "continues"
        print(f"Network {number} {state} after epoch {checkpoint.first_epoch}")
        if not checkpoint.finished:
            return


def remove_checkpoints(output: Path) -> None:
    """Remove the checkpoints of this run and of older ones, once the model is saved."""
    for path in output.parent.glob(f"{glob.escape(output.name)}.checkpoint-*"):
        path.unlink(missing_ok=True)
