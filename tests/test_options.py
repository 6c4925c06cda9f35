import subprocess
import sys
import time
from pathlib import Path

import pytest

from digits.options import parse_arguments

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "at least 1"),
        (["--learning-rate", "0"], "above 0"),
        (["--seed", "-1"], "--seed is 0 to"),
        (["--explain", "a.png"], "--explain needs --predict"),
        (["--predict", "a.png", "--epochs", "3"], "--epochs is for training"),
        (["--predict", "a.png", "--output", "a.h5"], "--output is for training"),
        (["--convert", "a.tflite", "--data-dir", "b"], "--data-dir is for training"),
        (["--predict", "a.png", "--convert", "a.tflite"], "cannot be combined"),
        (["--teacher", "a.h5", "--output", "./a.h5"], "another name with --output"),
        (
            ["--teacher", "a.h5", "--start-from", "b.h5", "--data-dir", "c"],
            "leave out --start-from",
        ),
        (["--start-from", "a.h5"], "needs --data-dir"),
        (["--start-from", "a.h5", "--data-dir", "b", "--ensemble", "2"], "leave out --model"),
        (["--start-from", "a.h5", "--data-dir", "b", "--distributed"], "leave out --distributed"),
        (["--modle", "cnn"], "unrecognized arguments"),
    ],
)
def test_wrong_flags_get_a_sentence(flags, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(flags)
    assert message in capsys.readouterr().err


def test_patience_is_half_of_the_epochs_and_at_least_10():
    epochs = ["12"], ["60"], ["60", "--patience", "3"]
    assert [parse_arguments(["--epochs", *each]).patience for each in epochs] == [10, 30, 3]


def test_a_cnn_gets_fewer_synthetic_digits_unless_told_otherwise():
    shares = [parse_arguments(["--model", name]).synthetic_share for name in ("dense", "cnn")]
    assert shares == [0.4, 0.1]
    assert parse_arguments(["--model", "cnn", "--synthetic-share", "0"]).synthetic_share == 0


@pytest.mark.parametrize("flags", [["--help"], ["--epochs", "0"], ["--explain", "a.png"]])
def test_help_and_wrong_flags_do_not_wait_for_tensorflow(flags):
    start = time.monotonic()
    done = subprocess.run([sys.executable, ROOT / "mnist_dnn.py", *flags], capture_output=True)
    assert done.returncode == (0 if flags == ["--help"] else 2)
    assert time.monotonic() - start < 1
