"""Evaluate a trained network on its test sets, and never let it replace a better one."""

import warnings
from pathlib import Path

import keras
import numpy as np

from digits.metrics import accuracy, calibration_error, cross_entropy, is_significantly_worse
from digits.networks import predict_images
from digits.saving import load_trained_model

Tests = dict[str, tuple[np.ndarray, np.ndarray]]  # by name: uint8 (n, 28, 28) and int (n,)


def predict_tests(model: keras.Model, tests: Tests) -> dict[str, np.ndarray]:
    """Return the probabilities of each test set, float32 (n, 10), by its name."""
    return {name: predict_images(images, model) for name, (images, _) in tests.items()}


def report(
    tests: Tests, after: dict[str, np.ndarray], before: dict[str, np.ndarray] | None = None
) -> None:
    """Print a line for each test set.

    Args:
        tests: by name.
        after: probabilities of the trained network, as `predict_tests` returns them.
        before: those of the network that it was started from.
    """
    for name, (_, labels) in tests.items():
        then = f" (before: {accuracy(before[name], labels):.2%})" if before else ""
        print(
            f"Test accuracy {accuracy(after[name], labels):.2%}{then}, "
            f"loss {cross_entropy(after[name], labels):.4f}, "
            f"calibration error {calibration_error(after[name], labels):.2%}, "
            f"on {len(labels):,} unseen pictures of {name}"
        )


def choose_output(
    output: Path, tests: Tests, after: dict[str, np.ndarray], fine_tuned: bool
) -> Path:
    """Return where to save: `output`, or beside it if the model there is better.

    A fine-tuned model trades one test set for another, so only a significant loss rules it out.

    Args:
        output: where the user wants it.
        tests, after: as for `report`.
        fine_tuned: whether the model was trained further, not from scratch.
    """
    if not output.exists():
        return output
    beside = output.with_stem(f"{output.stem}_new")
    try:
        there = predict_tests(load_trained_model(output), tests)
    except ValueError as error:
        warnings.warn(
            f"The model at {output} cannot be compared with the new one ({error}), so it is kept. "
            f"The new one is saved as {beside}; --overwrite would replace it",
            stacklevel=2,
        )
        return beside
    for name, (_, labels) in tests.items():
        old, new = accuracy(there[name], labels), accuracy(after[name], labels)
        worse = (
            is_significantly_worse(after[name], there[name], labels) if fine_tuned else new < old
        )
        if worse:
            print(
                f"{output} is better on {name}: {old:.2%}, the new model {new:.2%}. It is kept; "
                f"the new model is saved as {beside} (--overwrite would replace it)"
            )
            return beside
    return output
