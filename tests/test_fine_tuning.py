"""A person's odd handwriting is learned from few pictures, and nothing is forgotten."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_of, save_folders

from digits.augment import NO_DIGIT
from digits.batches import Pictures
from digits.collection import Collection
from digits.fine_tuning import REHEARSED, add_own_nondigits, blend, rehearse
from digits.folders import load_image_folders
from digits.synthetic import draw_digits
from mnist_dnn import load_data, main

ROOT = Path(__file__).parents[1]
NO_TEST_FOLDER = r"ignore:[\s\S]*there is no test folder"


@pytest.mark.filterwarnings(NO_TEST_FOLDER)
def test_a_third_of_ones_own_pictures_is_held_out(looped_sevens):
    _, (images, labels), (held_out, _) = load_data(str(looped_sevens), test_share=1 / 3)
    assert len(images) == 20 and len(held_out) == 10 and set(labels) == {7}
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in held_out}


def test_own_pictures_are_a_twentieth_at_least(digits):
    mnist, own = Pictures(*digits), Pictures(digits[0][:7], digits[1][:7])
    mixed = rehearse(mnist, own, seed=0)
    assert len(mixed) == 400 + 21 and sorted(mixed.labels[:400]) == sorted(digits[1])
    large = mnist.select(np.arange(10 * REHEARSED) % 400)
    assert len(rehearse(large, own, seed=0)) == pytest.approx(1.05 * REHEARSED, abs=7)


def test_own_nondigits_are_learned_as_such(tmp_path, digits):
    save_folders(tmp_path / "train", *(part[:20] for part in digits))
    training = Pictures(*digits)
    assert len(add_own_nondigits(training, str(tmp_path))) == 400  # there are none
    Collection(tmp_path).keep(digits[0][0], "none")
    images, labels = add_own_nondigits(training, str(tmp_path)).gather()
    assert labels.tolist() == [*digits[1], NO_DIGIT] and np.array_equal(images[-1], digits[0][0])


def test_a_network_goes_back_as_far_as_it_has_forgotten(model):
    mnist = Pictures(*draw_digits(1000, seed=99))
    rng = np.random.default_rng(0)
    learned = copy_of(model, 1)
    blend(learned, model.get_weights(), mnist)
    assert all(map(np.array_equal, learned.get_weights(), model.get_weights()))
    noise = [rng.normal(0, 2 * w.std(), w.shape) for w in model.get_weights()]
    learned.set_weights([w + n for w, n in zip(model.get_weights(), noise)])
    blend(learned, model.get_weights(), mnist)
    moved = [(a - w) / n for a, w, n in zip(learned.get_weights(), model.get_weights(), noise)]
    assert np.median(moved[0]) == pytest.approx(0.25, abs=0.01)


@pytest.mark.filterwarnings(NO_TEST_FOLDER)
def test_a_folder_of_nondigits_is_no_digit(tmp_path, digits):
    save_folders(tmp_path, *(part[:200] for part in digits))
    Collection(tmp_path).keep(digits[0][300], "none")
    training, test = load_image_folders(tmp_path)
    assert len(training[1]) + len(test[1]) == 200


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_odd_sevens_are_learned_within_two_minutes(looped_sevens, tmp_path, capsys):
    output = tmp_path / "mnist_dnn.h5"
    output.write_bytes((ROOT / "mnist_dnn.h5").read_bytes())
    flags = ["--start-from", str(output), "--output", str(output)]
    began = time.process_time()
    assert main([*flags, "--data-dir", str(looped_sevens)]) == 0
    assert time.process_time() - began < 2 * 120  # of two cores
    printed = capsys.readouterr().out
    (after, before), (mnist_after, mnist_before) = (
        map(float, pair)
        for pair in re.findall(r"accuracy ([\d.]+)% \(before: ([\d.]+)%\)", printed)
    )
    assert after >= before + 20 and mnist_after > mnist_before - 0.15
    assert f"Saved {output}\n" in printed
