import numpy as np
import pytest
from scipy import ndimage

from digits import camera, decoys, layouts
from digits.finder_network import standardise
from digits.finder_targets import (
    BOX_UNIT,
    CHUNK,
    SHOWN,
    TARGETS,
    View,
    draw_batches,
    owned_boxes,
    targets_of,
    view_of,
)
from digits.hands import Hand, sign_names
from digits.papers import SIDE
from digits.scenes import LAYOUTS, draw_scene


def draw_scenes(count, seed):
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(16, seed=3)


def view(scene):
    return view_of(scene, SIDE, 1, np.random.default_rng(0))


def test_one_seed_draws_the_same_scenes():
    first, again, other = (draw_scenes(2, seed) for seed in (1, 1, 2))
    for one, same in zip(first, again):
        assert all(np.array_equal(a, b) for a, b in zip(one, same))
    assert not np.array_equal(first[0].picture, other[0].picture)


def test_scenes_are_pictures_of_one_size_with_an_owner_for_each_digit(scenes):
    for scene in scenes:
        assert scene.picture.shape == (SIDE, SIDE, 3) and scene.picture.dtype == np.uint8
        assert scene.ink.shape == scene.owner.shape == (SIDE, SIDE)
        assert scene.owner.max() <= len(scene.labels)
        assert not len(scene.labels) or scene.labels.max() <= 9


def test_boxes_enclose_the_ink_they_own(scenes):
    for scene in scenes:
        owned = ndimage.find_objects(scene.owner)
        boxes = owned_boxes(scene.owner, len(scene.labels))
        for place, (left, top, right, bottom) in zip(owned, boxes):
            if place is None:
                assert right < left  # it cannot be seen
            else:
                assert (slice(top, bottom), slice(left, right)) == place


def test_all_ink_belongs_to_a_digit(scenes):
    for scene in scenes:
        near = ndimage.binary_dilation(scene.owner > 0, iterations=3)
        assert (scene.ink[~near] > 60).sum() < 5  # corners of pixels, where scenes are warped


def test_ink_can_be_seen(scenes):
    strong = [scene for scene in scenes if (scene.ink > 200).sum() > 50]
    assert len(strong) > 5
    for scene in strong:
        grey, ink = scene.picture.mean(axis=2), scene.ink > 200
        ring = ndimage.binary_dilation(ink, iterations=5) & ~ndimage.binary_dilation(ink)
        differs = np.abs(grey[ink].mean() - grey[ring].mean())
        channels = np.abs(scene.picture[ink].mean(0) - scene.picture[ring].mean(0)).max()
        assert max(differs, channels) > 1


def test_shares_of_layouts_sum_to_one():
    assert sum(share for share, _ in LAYOUTS) == pytest.approx(1)


@pytest.mark.parametrize(
    "decoy", [decoys.prose, decoys.large_sign, decoys.doodle, decoys.empty_table]
)
def test_what_is_no_digit_has_neither_ink_nor_labels(decoy):
    drawn = 0
    for seed in range(4):
        page = layouts.Page(np.random.default_rng(seed), photo=True)
        decoy(page)
        assert not page.labels and not page.ink.any() and not page.owner.any()
        drawn += page.other.any() or page.printed.any() or page.lines.getbbox() is not None
    assert drawn >= 2


def test_print_is_no_handwriting():
    page = layouts.Page(np.random.default_rng(1), photo=False)
    decoys.printed_sudoku(page)
    assert page.printed.any() and not page.labels


@pytest.mark.parametrize("layout", [layouts.number, layouts.rows, layouts.grid, layouts.form])
def test_layouts_write_digits(layout):
    pages = [layouts.Page(np.random.default_rng(seed), photo=True) for seed in range(4)]
    for page in pages:
        layout(page)
    assert sum(len(page.labels) for page in pages) > 8
    assert all(page.owner.max() == len(page.labels) for page in pages)


@pytest.mark.parametrize("height", [12, 30, 200])
def test_a_digit_is_as_high_as_it_should_be(height):
    hand = Hand(np.random.default_rng(4), pen=0.1)
    for digit in (2, 3, 8):
        rows = np.flatnonzero((hand.write(digit, height) > 0.2).any(axis=1))
        assert np.ptp(rows) + 1 == pytest.approx(height, abs=2 + 0.02 * height)


def test_all_letters_and_signs_can_be_written():
    hand = Hand(np.random.default_rng(0), pen=0.1)
    assert len(sign_names()) > 80
    assert all(hand.write(name, 30).max() == 1 for name in sign_names())


def test_a_picture_seen_at_an_angle_has_its_corners_where_they_should_be():
    corners = np.array([(20, 30), (230, 10), (240, 250), (5, 200)], float)
    a, b, c, d, e, f, g, h = camera.perspective(corners)
    for (x, y), expected in zip(corners, [(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)]):
        scale = g * x + h * y + 1
        seen = (a * x + b * y + c) / scale, (d * x + e * y + f) / scale
        assert seen == pytest.approx(expected, abs=1e-6)


def test_targets_hold_the_box_of_each_digit(scenes):
    for scene in scenes[:12]:
        targets, boxes = targets_of(view(scene)), owned_boxes(scene.owner, len(scene.labels))
        rows, columns = np.nonzero(targets[..., 10])
        left, top, right, bottom = targets[rows, columns, 6:10].T
        x, y = 2 * columns + 1, 2 * rows + 1
        predicted = np.stack([x - left, y - top, x + right, y + bottom], axis=1)
        nearest = np.abs(predicted[:, None] - boxes[None]).max(axis=2).min(axis=1, initial=99)
        assert (nearest <= 1).all()  # half a cell, where a digit ends within one


def written(owner, labels, pixels, ink=0, paper=255):
    """Return a View of digits of one colour on paper of another."""
    picture = np.where(owner[..., None] > 0, ink, paper).repeat(3, axis=2).astype("uint8")
    cover = (255 * (owner > 0)).astype("uint8")
    return View(picture, cover, owner, np.array(labels), np.array(pixels))


def test_each_digit_weighs_as_much_and_has_its_centre_in_its_middle():
    owner = np.zeros((64, 64), "uint8")
    owner[4:24, 6:16], owner[30:60, 30:50] = 1, 2
    targets = targets_of(written(owner, [3, 7], [200, 600]))
    assert targets.shape == (32, 32, TARGETS) and targets[..., 10].sum() == pytest.approx(2)
    assert targets[7, 5, 5] > 0.9 and targets[22, 20, 5] > 0.9
    assert targets[7, 5, 11] == 3 and targets[22, 20, 11] == 7
    assert targets[0, 30, 5] == 0 and targets[0, 30, 11] == -1
    assert targets[22, 20, 6:10] == pytest.approx([11, 15, 9, 15])  # to 30, 30, 50 and 60


def test_a_digit_of_which_little_is_seen_is_not_trained_on():
    owner = np.zeros((32, 32), "uint8")
    owner[:10, :10] = 1
    targets = targets_of(written(owner, [3], [400]))
    assert not targets[..., 5].any() and not targets[..., 10].any()
    assert not targets[:5, :5, 4].any() and targets[6:, 6:, 4].all()


def test_a_digit_that_nobody_would_see_is_not_trained_on():
    owner = np.zeros((32, 32), "uint8")
    owner[4:24, 8:20] = 1
    for paper, trained in ((120, True), (103, False)):
        targets = targets_of(written(owner, [0], [240], ink=100, paper=paper))
        assert bool(targets[..., 5].any()) == trained
        assert targets[4:10, 5:9, 4].all() == trained


def test_a_digit_too_large_to_be_seen_whole_has_ink_alone():
    owner = np.zeros((160, 160), "uint8")
    owner[2:158, 60:90] = 1
    targets = targets_of(written(owner, [1], [4680]))
    assert targets[..., :4].sum() == 4680 and targets[..., 4].all()
    assert not targets[..., 5].any() and not targets[..., 10].any()


@pytest.mark.slow
def test_batches_show_each_scene_several_times():
    batches = draw_batches((0, 1))
    shown = sum(len(pictures) for pictures, _ in batches)
    assert CHUNK * (SHOWN - 1) < shown <= CHUNK * SHOWN
    for pictures, targets in batches:
        n, height, width, _ = pictures.shape
        assert targets.shape == (n, height // 2, width // 2, TARGETS)
        assert np.isfinite(targets).all() and targets[..., 6:10].max() < 32 * BOX_UNIT


def test_standardised_pictures_have_mean_0_and_about_unit_spread(scenes):
    pictures = np.stack([scene.picture for scene in scenes])
    x = standardise(pictures.astype("float32"))
    assert x.dtype == np.float32 and x.mean(axis=(1, 2)) == pytest.approx(0, abs=1e-3)
    assert (x.std(axis=(1, 2, 3)) < 1.001).all()


@pytest.mark.slow
def test_a_thousand_scenes_can_be_drawn():
    rng = np.random.default_rng(8)
    shares = [len(draw_scene(rng).labels) for _ in range(1000)]
    assert 0.15 < np.mean(np.array(shares) == 0) < 0.4 and max(shares) > 50
