import itertools

import keras
import numpy as np
import pytest
from keras import layers

from digits import finder_network
from digits.finder import detect, take_ink
from digits.finder_network import View, convolve, load_weights, run_network, tiles


def small_unet():
    """Build the finder's network with few channels, as Keras knows it."""

    def block(x, filters, size=3, stride=1):
        return layers.Conv2D(filters, size, stride, padding="same", activation="relu")(x)

    inputs = keras.Input((None, None, 3))
    half = block(block(inputs, 4, 4, 2), 4)
    quarter = block(block(half, 6, stride=2), 6)
    eighth = block(block(quarter, 8, stride=2), 8)
    x = block(block(block(eighth, 10, stride=2), 10), 10)
    for skip, filters in ((eighth, 8), (quarter, 6), (half, 4)):
        x = layers.UpSampling2D()(block(x, filters, 1))
        x = block(layers.Add()([x, skip]), filters)
    return keras.Model(inputs, layers.Conv2D(9, 1)(block(x, 5)))


def test_network_in_numpy_equals_keras():
    keras.utils.set_random_seed(1)
    model = small_unet()
    model.set_weights([np.random.normal(0, 0.2, w.shape) for w in model.get_weights()])
    weights = model.get_weights()
    pixels = np.random.normal(size=(48, 80, 3)).astype("float32")
    expected = model(pixels[None])[0]
    assert run_network(pixels, list(zip(weights[::2], weights[1::2]))) == pytest.approx(
        np.asarray(expected), abs=1e-4
    )


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (3, 2), (4, 2)])
def test_convolution_in_strips_equals_keras(size, stride, monkeypatch):
    monkeypatch.setattr(finder_network, "STRIP", 1000)  # a few rows in each strip
    layer = layers.Conv2D(7, size, stride, padding="same", activation="relu")
    x = np.random.normal(size=(32, 48, 5)).astype("float32")
    expected = np.asarray(layer(x[None])[0])
    assert convolve(x, *layer.get_weights(), stride) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("length", [16, 48, 384, 400, 720, 736, 1040, 2048])
def test_tiles_cover_a_length_and_overlap(length):
    ends = list(tiles(length))
    assert ends[0][0] == 0 and ends[-1][1] == length
    assert all(start < end and (end - start) <= finder_network.TILE for start, end in ends)
    assert all(after[0] < before[1] for before, after in itertools.pairwise(ends))
    assert all(side % finder_network.STRIDE == 0 for tile in ends for side in tile)


def test_without_its_file_there_are_no_weights(tmp_path):
    assert load_weights(tmp_path / "finder.npz") is None


def view_of(boxes, strokes, shape=(64, 96)):
    """Make a view by hand: each stroke (left, top, right, bottom, index of its digit's box)."""
    height, width = shape
    view = View(
        np.zeros(shape, "float32"),
        np.zeros((height // 2, width // 2), "float32"),
        np.full((height // 2, width // 2, 4), 300, "float32"),
        scale=1,
    )
    y, x = np.mgrid[1:height:2, 1:width:2]
    for left, top, right, bottom, owner in strokes:
        view.ink[top:bottom, left:right] = 1
        if owner is not None:
            box = boxes[owner]
            reach = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y], axis=-1)
            here = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
            view.reach[here] = reach[here]
    for left, top, right, bottom in boxes:
        middle = (top + bottom) // 4, (left + right) // 4
        view.centre[middle] = 0.9
        view.reach[middle] = [
            2 * middle[1] + 1 - left, 2 * middle[0] + 1 - top,
            right - 2 * middle[1] - 1, bottom - 2 * middle[0] - 1,
        ]  # fmt: skip
    return view


TWO = np.array([[10, 10, 30, 50], [30, 12, 52, 50]])


def test_touching_digits_are_separated():
    strokes = [(10, 10, 30, 50, 0), (30, 12, 52, 50, 1)]  # one blob of ink
    view = view_of(TWO, strokes)
    _, boxes, scores = detect(view)
    assert scores == pytest.approx([0.9, 0.9])
    assert sorted(boxes.tolist()) == TWO.tolist()
    assert sorted(box.tolist() for _, box in take_ink(view, boxes)) == TWO.tolist()


def test_broken_stroke_stays_one_digit():
    box = np.array([[10, 10, 40, 50]])
    view = view_of(box, [(10, 10, 40, 24, 0), (10, 32, 40, 50, 0)])
    ((ink, found),) = take_ink(view, box)
    assert found.tolist() == box[0].tolist()
    assert ink.sum() == 30 * (14 + 18)


def test_lines_belong_to_no_digit():
    view = view_of(TWO[:1], [(0, 54, 96, 58, None), (10, 10, 30, 50, 0)])
    ((_, box),) = take_ink(view, TWO[:1])
    assert box.tolist() == TWO[0].tolist()


def test_a_centre_seen_twice_is_one_digit():
    view = view_of(np.array([[10, 10, 30, 50], [12, 10, 32, 54]]), [])
    boxes = detect(view).boxes
    assert len(boxes) == 1


def test_boxes_are_in_pixels_of_the_picture():
    view = view_of(TWO, [(10, 10, 30, 50, 0)])._replace(scale=0.5)
    boxes = detect(view).boxes
    assert sorted(boxes.tolist()) == (2 * TWO).tolist()
