"""Turn scenes into training data for the finder: views, and targets for each 2x2 pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from digits.scenes import Scene, draw_scene

BOX_UNIT = 8.0  # pixels, of the distances to a box's sides
SMALLEST = 10  # pixels of a digit's longer side; smaller ones are ignored in the loss
LARGEST = (
    144  # pixels; larger ones are left to coarser views, since the network cannot see them whole
)
VISIBLE = 0.6  # share of a digit's pixels in the view, below which it is ignored too
CONTRAST = 8.0  # of 255, between ink and the paper around it, below which nobody would see it
SPREAD = 0.8  # of the paper's standard deviation: likewise
CENTRE_SPREAD = 0.14  # standard deviation of a centre's bump, relative to the box's side
TARGETS = 12  # ink (4), seen, heat, box (4), weight, digit


class Kind(NamedTuple):
    """How scenes are shown: a share of the batches, each of some squares of `side` pixels."""

    share: float
    side: int
    reduction: int
    pictures: int


CHUNK = 64  # scenes that are drawn together
SHOWN = 4  # times that each scene is shown, on average
VIEWS = (
    Kind(0.25, side=256, reduction=1, pictures=3),
    Kind(0.34, side=128, reduction=2, pictures=12),
    Kind(0.10, side=64, reduction=4, pictures=40),
    Kind(0.13, side=192, reduction=1, pictures=5),
    Kind(0.18, side=128, reduction=1, pictures=12),
)


class View(NamedTuple):
    """A part of a scene, or all of it.

    Attributes:
        picture: uint8 (h, w, 3).
        ink, owner: uint8 (h, w), as of a Scene.
        labels: uint8 (n,).
        pixels: int (n,), of each digit in the whole scene, at the view's scale.
    """

    picture: np.ndarray
    ink: np.ndarray
    owner: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray


def view_of(scene: Scene, side: int, reduction: int, rng: np.random.Generator) -> View:
    """Return a scene reduced by `reduction`, cropped to a square, usually with a digit in it."""
    picture, ink, owner = scene.picture, scene.ink, scene.owner
    if reduction > 1:
        picture, ink, owner = _reduce(picture, ink, owner, reduction)
    pixels = np.bincount(owner.ravel(), minlength=len(scene.labels) + 1)[1:]
    size = len(owner)
    if side < size:
        middle = rng.uniform(0, size, 2)
        indices = np.argwhere(owner)
        if len(indices) and rng.random() < 0.85:
            middle = indices[rng.integers(len(indices))] + rng.normal(0, side / 6, 2)
        top, left = (np.clip(middle - side / 2, 0, size - side) // 2 * 2).astype(int)
        here = np.s_[top : top + side, left : left + side]
        picture, ink, owner = picture[here], ink[here], owner[here]
    return View(picture, ink, owner, scene.labels, pixels)


def _reduce(picture, ink, owner, reduction):
    size = len(owner) // reduction
    shape = (size, reduction, size, reduction)
    small = picture.reshape(*shape, 3).mean((1, 3))
    return (
        np.rint(small).astype("uint8"),
        ink.reshape(shape).mean((1, 3)),
        owner.reshape(shape).max((1, 3)),
    )


def owned_boxes(owner: np.ndarray, count: int) -> np.ndarray:
    """Return the boxes around each digit's pixels: int (count, 4), left, top, right, bottom.

    A digit without a pixel gets a box whose right side is left of its left side.
    """
    y, x = np.nonzero(owner)
    boxes = np.tile([10**6, 10**6, -1, -1], (count, 1))
    digit = owner[y, x].astype(int) - 1
    np.minimum.at(boxes[:, 0], digit, x)
    np.minimum.at(boxes[:, 1], digit, y)
    np.maximum.at(boxes[:, 2], digit, x + 1)
    np.maximum.at(boxes[:, 3], digit, y + 1)
    return boxes


def targets_of(view: View) -> np.ndarray:
    """Return the targets of a view: float32 (h / 2, w / 2, TARGETS).

    They are: the ink of four pixels; 1 where the loss applies; the bump of a digit's centre; the
    distances to the box of the digit that this cell belongs to, in pixels; that cell's weight, so
    that each digit's weights sum to 1; the digit at a centre, -1 elsewhere. Digits larger than
    LARGEST have ink alone.
    """
    height, width = view.owner.shape[0] // 2, view.owner.shape[1] // 2
    targets = np.zeros((height, width, TARGETS), "float32")
    targets[..., :4] = _cells(view.ink) / np.float32(255)
    targets[..., 4], targets[..., 11] = 1, -1
    owner = _cells(view.owner).max(-1).astype(int)
    boxes = owned_boxes(view.owner, len(view.labels))
    here = np.bincount(view.owner.ravel(), minlength=len(boxes) + 1)[1:]
    for index in np.flatnonzero(here).tolist():
        box, mine = boxes[index], owner == index + 1
        if not is_legible(view, box, index + 1):
            left, top, right, bottom = box // 2
            targets[top : bottom + 1, left : right + 1, 4] = owner[mine] = 0
        elif here[index] < VISIBLE * view.pixels[index]:  # a part, in which there is no centre
            targets[mine, 4] = owner[mine] = 0
        elif max(box[2:] - box[:2]) > LARGEST:
            owner[mine] = 0
        else:
            _add_centre(targets, owner, box, index + 1, view.labels[index])
    rows, columns = np.nonzero(owner)
    middle = 2.0 * np.stack([columns, rows], 1) + 1
    mine = boxes[owner[rows, columns] - 1]
    distances = np.concatenate([middle - mine[:, :2], mine[:, 2:] - middle], 1)
    targets[rows, columns, 6:10] = np.maximum(distances, 0)
    targets[rows, columns, 10] = 1 / np.bincount(owner.ravel())[owner[rows, columns]]
    return targets


def is_legible(view: View, box: np.ndarray, number: int) -> bool:
    """Return whether a digit is tall enough and stands out from the paper around it.

    Args:
        view: with the picture as it was taken.
        box: of the digit.
        number: 1 + its index.
    """
    if max(box[2:] - box[:2]) < SMALLEST:
        return False
    left, top, right, bottom = np.add(box, [-4, -4, 4, 4]).clip(0)
    part = np.s_[top:bottom, left:right]
    picture, ink = view.picture[part].astype("float32"), view.ink[part] / np.float32(255)
    paper, ink = picture[ink == 0], ink * (view.owner[part] == number)
    if not len(paper) or ink.sum() < 1:
        return False
    colour = np.tensordot(ink, picture, 2) / ink.sum()
    contrast = float(np.abs(colour - paper.mean(axis=0)).mean())
    return contrast > max(CONTRAST, SPREAD * float(paper.std(axis=0).mean()))


def _cells(pixels):
    """Return the four pixels of each cell: (h / 2, w / 2, 4)."""
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    quads = pixels.reshape(height, 2, width, 2).transpose(0, 2, 1, 3)
    return quads.reshape(height, width, 4)


def _add_centre(targets, owner, box, number, label):
    """Add a digit's bump; where it is highest, cells without an owner belong to the digit."""
    middle, size = (box[:2] + box[2:]) / 4 - 0.5, (box[2:] - box[:2]) / 2  # in cells
    spread = np.maximum(CENTRE_SPREAD * np.maximum(size, 0.45 * size.max()), 0.8)
    least = np.maximum(0, np.floor(middle - 3 * spread)).astype(int)
    most = np.ceil(middle + 3 * spread).astype(int) + 1
    part = np.s_[least[1] : most[1], least[0] : most[0]]
    heat = targets[part][..., 5]
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    x, y = (columns + least[0] - middle[0]) / spread[0], (rows + least[1] - middle[1]) / spread[1]
    bump = np.exp(-(x**2 + y**2) / 2)
    higher = bump > heat
    heat[higher] = bump[higher]
    targets[part][..., 11][higher & (bump > 0.5)] = label
    core = owner[part]
    core[higher & (bump > 0.3)] = number


def draw_batches(seed: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw a chunk of scenes and show each several times, in batches of one kind of view.

    Args:
        seed: one or more numbers; the same ones give the same batches.

    Returns:
        pictures uint8 (n, h, w, 3), and targets float16 (n, h / 2, w / 2, TARGETS), of each batch.
    """
    rng = np.random.default_rng(list(seed))
    scenes = [draw_scene(rng) for _ in range(CHUNK)]
    order = np.concatenate([rng.permutation(CHUNK) for _ in range(SHOWN)])
    batches = []
    while len(order) >= max(kind.pictures for kind in VIEWS):
        kind = VIEWS[rng.choice(len(VIEWS), p=[kind.share for kind in VIEWS])]
        now, order = order[: kind.pictures], order[kind.pictures :]
        views = [view_of(scenes[index], kind.side, kind.reduction, rng) for index in now]
        targets = np.stack([targets_of(view) for view in views]).astype("float16")
        batches.append((np.stack([view.picture for view in views]), targets))
    return batches
