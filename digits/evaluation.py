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
    output: Path, tests: Tests, after: dict[str, np.ndarray], own: str | None = None
) -> Path:
    """Return where to save: `output`, or beside it if the model there is better.

    A fine-tuned model must read one's own pictures better, and nothing significantly worse.

    Args:
        output: where the user wants it.
        tests, after: as for `report`.
        own: name of one's own pictures, if the model was fine-tuned on them.
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
        keeps = _is_improved if name == own else _is_not_lost if own else _is_not_lower
        if not keeps(after[name], there[name], labels):
            verdict = "is better on" if new < old else "is as good on"
            print(
                f"{output} {verdict} {name}: {old:.2%}, the new model {new:.2%}. It is kept; "
                f"the new model is saved as {beside} (--overwrite would replace it)"
            )
            return beside
    return output


def _is_not_lower(new, old, labels):
    return accuracy(new, labels) >= accuracy(old, labels)


def _is_not_lost(new, old, labels):
    return not is_significantly_worse(new, old, labels)


def _is_improved(new, old, labels):
    """Return whether more answers are right, or as many with a lower loss."""
    scores = [(accuracy(each, labels), -cross_entropy(each, labels)) for each in (new, old)]
    return scores[0] > scores[1]
