import keras
import numpy as np
import pytest

from digits.finder_network import run_network, standardise
from digits.finder_targets import TARGETS, draw_batches
from digits.train_finder import (
    OUTPUTS,
    build_finder,
    finder_loss,
    folded_weights,
    main,
    train_finder,
)


@pytest.fixture(scope="module")
def network():
    """A finder whose batch normalisation has seen some batches."""
    keras.utils.set_random_seed(0)
    model = build_finder((4, 6, 8, 10), 5)
    for variable in model.variables:
        spread = np.random.uniform(0.5, 1.5, variable.shape)
        variable.assign(variable + spread if variable.shape.rank == 1 else variable * spread)
    return model


def test_network_has_at_most_300_000_weights_and_sees_2x2_pixels():
    model = build_finder()
    folded = folded_weights(model)
    assert sum(array.size for array in folded.values()) <= 300_000
    assert model(np.zeros((1, 48, 80, 3), "float32")).shape == (1, 24, 40, OUTPUTS)


def test_folded_weights_are_float16_in_the_order_of_the_layers(network):
    folded = folded_weights(network)
    assert list(folded) == [f"{kind}{i}" for i in range(17) for kind in "kb"]
    assert {array.dtype for array in folded.values()} == {np.dtype("float16")}
    assert folded["k0"].shape == (4, 4, 3, 4) and folded["k16"].shape == (1, 1, 5, OUTPUTS)


def test_folded_weights_give_what_the_network_gives(network):
    folded = [array.astype("float32") for array in folded_weights(network).values()]
    pixels = np.random.default_rng(0).normal(size=(64, 64, 3)).astype("float32")
    expected = np.asarray(network(pixels[None])[0])
    given = run_network(pixels, list(zip(folded[::2], folded[1::2])))
    assert given == pytest.approx(expected, rel=0.02, abs=0.02 * float(expected.std()))  # float16


def test_loss_is_lower_for_what_is_right():
    targets = np.zeros((1, 8, 8, TARGETS), "float32")
    targets[..., 4], targets[..., 11] = 1, -1
    targets[0, 2:6, 2:6, :4] = 1  # ink
    targets[0, 4, 4, 5], targets[0, 4, 4, 11] = 1, 3  # centre of a 3
    targets[0, 2:6, 2:6, 6:10], targets[0, 2:6, 2:6, 10] = 8, 1 / 16
    right = np.zeros((1, 8, 8, OUTPUTS), "float32")
    right[..., :5] = -9
    right[0, 2:6, 2:6, :4], right[0, 4, 4, 4], right[..., 5:9] = 9, 9, np.log(np.e - 1)
    right[0, 4, 4, 9 + 3] = 9
    best = float(finder_loss(targets, right))
    assert best == pytest.approx(0, abs=0.01)
    for output in (0, 4, 5, 9 + 4):
        wrong = right.copy()
        wrong[0, 4, 4, output] = -9 if output < 9 else 12
        assert float(finder_loss(targets, wrong)) > best + 0.005


def test_what_is_not_known_costs_nothing():
    targets = np.zeros((1, 4, 4, TARGETS), "float32")
    outputs = np.zeros((1, 4, 4, OUTPUTS), "float32")
    outputs[..., :5] = 9
    assert float(finder_loss(targets, outputs)) == pytest.approx(0, abs=1e-3)


def test_a_wrong_flag_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["--stepz", "3"])
    assert "--stepz" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_minute_of_training_beats_an_untrained_network(tmp_path):
    held_out = draw_batches((99, 99))
    untrained, trained = build_finder(), train_finder(150, seed=0, output=tmp_path / "finder.npz")
    losses = [
        np.mean(
            [
                finder_loss(y.astype("float32"), m(standardise(x.astype("float32"))))
                for x, y in held_out
            ]
        )
        for m in (untrained, trained)
    ]
    assert losses[1] < 0.8 * losses[0]
    assert np.load(tmp_path / "finder.npz")["k0"].shape == (4, 4, 3, 16)
