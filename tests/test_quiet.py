import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from digits.quiet import native_stderr_discarded, plain_messages


def test_native_stderr_is_discarded_and_comes_back(capfd):
    with native_stderr_discarded():
        os.write(2, b"chatter")
    os.write(2, b"an error")
    assert capfd.readouterr().err == "an error"


def test_errors_are_raised_through_the_silence():
    with pytest.raises(ImportError), native_stderr_discarded():
        raise ImportError


def test_a_warning_is_one_line_and_nothing_stays_changed(capsys):
    before = warnings.showwarning, logging.getLogger("absl").level
    with plain_messages():
        warnings.simplefilter("always")
        warnings.warn("No folder for 3", stacklevel=1)
    assert capsys.readouterr().err == "Warning: No folder for 3\n"
    assert (warnings.showwarning, logging.getLogger("absl").level) == before


def test_the_terminal_shows_our_lines_alone(model_path, tmp_path):
    command = [sys.executable, Path(__file__).parents[1] / "mnist_dnn.py"]
    command += ["--weights", model_path, "--convert", tmp_path / "digits.keras"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"Saved {tmp_path / 'digits.keras'}\n", "")
