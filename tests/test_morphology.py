"""SciPy is the oracle: on random images and masks of many sizes and densities."""

import numpy as np
import pytest
from scipy import ndimage

from digits.morphology import (
    add_margin,
    bounding_box,
    connect_runs,
    grow,
    label_parts,
    opening,
    quantile,
    slide,
)


def random_masks(count=200):
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.random(rng.integers(1, 40, 2)) < rng.choice([0.02, 0.1, 0.3, 0.6])


def random_images():
    rng = np.random.default_rng(1)
    return [rng.normal(size=rng.integers(1, 40, 2)).astype("float32") for _ in range(20)]


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.98, 1])
def test_a_quantile_is_one_of_the_values(share):
    for image in random_images():
        assert quantile(image, share) == np.quantile(image, share, method="lower")


@pytest.mark.parametrize("size", [1, 3, 5, 17])
def test_sliding_extremes_are_scipys(size):
    for image in random_images():
        lowest = ndimage.minimum_filter(image, size, mode="nearest")
        highest = ndimage.maximum_filter(image, size, mode="nearest")
        assert np.array_equal(slide(image, size, np.minimum), lowest)
        assert np.array_equal(slide(image, size, np.maximum), highest)


@pytest.mark.parametrize("size", [3, 9])
def test_openings_are_scipys(size):
    for image in random_images():
        lowest = ndimage.minimum_filter(image, size, mode="nearest")
        assert np.array_equal(
            opening(image, size), ndimage.maximum_filter(lowest, size, mode="nearest")
        )


def test_masks_grow_as_in_scipy():
    for mask in random_masks():
        assert np.array_equal(grow(mask), ndimage.binary_dilation(mask, np.ones((3, 3))))


def test_a_margin_is_zeros_on_every_side():
    for image in random_images():
        assert np.array_equal(add_margin(image, 2), np.pad(image, 2))


def test_the_bounding_box_is_scipys():
    for mask in random_masks():
        if mask.any():
            rows, columns = ndimage.find_objects(mask.astype(int))[0]
            assert bounding_box(mask) == (columns.start, rows.start, columns.stop, rows.stop)


def test_parts_and_boxes_are_scipys():
    for mask in random_masks():
        grown = ndimage.binary_dilation(np.pad(mask, 2), np.ones((3, 3)))
        expected = ndimage.label(grown)[0][2:-2, 2:-2] * mask
        labels, boxes = label_parts(mask)
        assert np.array_equal(labels, expected)
        slices = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(expected)]
        assert np.array_equal(boxes, np.reshape(slices, (-1, 4)))


def test_runs_that_a_later_run_joins_are_one_part():
    # three runs in the first row; in the second, one run touches none, another touches the last two
    first, last = [0, 0, 0, 0, 1], [0, 0, 0, 0, 3]
    assert connect_runs(first, last) == [0, 1, 1, 3, 1]


def test_the_teeth_of_a_comb_are_joined_at_its_bottom():
    # runs 1 and 2 go on as 3 and 4, which 5 joins; 0 ends above
    assert connect_runs([0, 0, 0, 1, 2, 3], [0, 0, 0, 2, 3, 5]) == [0, 1, 1, 1, 1, 1]
