"""The learned finder: digits of any size and number in a picture, on any paper."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from digits.find import NoDigitError
from digits.finder_network import View, look
from digits.form import normalise

SIDES = 96, 192, 384, 768, 1280  # longest side in pixels, coarse to fine
LARGEST_SCALE = 1.5  # finer than the picture itself there is nothing to see
FOUND = 0.5  # of a centre: a digit stands here
WIDE = 384  # pixels: from this side on, a closer look leaves out what is empty
LEGIBLE = 18  # pixels: where digits are as tall, a finer look finds no more of them
BEST = 26  # pixels: height at which digits are told apart best
INK_HEIGHT = 52  # pixels: height at which their strokes are taken
MAX_DIGITS = 200
TOO_TALL = 45  # pixels: where digits would be taller, a finer look finds parts of them
CROWDED = 14  # pixels: lower digits run into each other
BLOCK = 16  # pixels: grid on which is noted where a closer look is worth it
TOO_MANY = f"There seem to be more than {MAX_DIGITS} digits in the picture. Crop it to fewer."
OVERLAP, INSIDE = 0.35, 0.65  # of two boxes: from here on both are one digit
FIT = 0.45  # of a digit's size: how far the box that a pixel foretells may lie from its own
FAINT, PAPER, FULL = 0.4, 0.15, 0.85  # ink that counts, that is none, and that is all pen
FEWEST = 6  # pixels of ink in a digit


class Sight(NamedTuple):
    """The digits that stand out in a view.

    Attributes:
        view: what the network sees.
        boxes: float (n, 4), left, top, right and bottom in pixels of the picture.
        scores: float32 (n,) in 0-1, strongest first.
    """

    view: View
    boxes: np.ndarray
    scores: np.ndarray

    def heights(self) -> np.ndarray:
        """Return the digits' heights in pixels of the view; a lying one counts half its width."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T * self.view.scale
        return np.maximum(height, width / 2)

    def typical_height(self) -> float:
        """Return the median of the heights, weighted by the scores."""
        heights = self.heights()
        order = heights.argsort()
        total = self.scores[order].cumsum()
        return float(heights[order][np.searchsorted(total, total[-1] / 2)])


def find_learned(picture: Image.Image) -> tuple[list[tuple[np.ndarray, np.ndarray]], View]:
    """Find the digits in a picture with the learned finder.

    Args:
        picture: upright, RGB.

    Returns:
        `(uint8 (28, 28), box float (4,))` for each digit, in no order, boxes (left, top, right,
        bottom) in pixels of the picture; and the view in which they were told apart.

    Raises:
        NoDigitError: there are more than MAX_DIGITS.
    """
    sights, best = _look_ever_closer(picture)
    if not len(best.boxes):
        return [], best.view
    sight = _join(_at_best_scale(picture, sights, best))
    if len(sight.boxes) > MAX_DIGITS:
        raise NoDigitError(TOO_MANY)
    view = sight.view
    scale = min(view.scale * INK_HEIGHT / sight.typical_height(), max(1, view.scale))
    close = look(picture, scale, sight.boxes) if scale > 1.25 * view.scale else view
    return [(normalise(ink), box) for ink, box in take_ink(close, sight.boxes)], view


def _look_ever_closer(picture):
    """Look at a picture from coarse to fine until no smaller digits are to be expected.

    Returns:
        All that was seen, and the best of it: the coarsest that misses few digits.
    """
    best, near, sights = None, None, []
    for side in SIDES:
        scale = side / max(picture.size)
        if best and scale > LARGEST_SCALE:
            break
        sights.append(detect(look(picture, scale, near)))
        if side >= WIDE:
            near = _worth_a_look(sights[-1].view)
        if best is None or _adds(sights[-1], best):
            best = sights[-1]
        if len(best.boxes) and _shows_all(sights[-1], best):
            break
    return sights, best


def _shows_all(sight, best):
    """Tell whether digits are so tall here that a closer look would find no more of them."""
    if len(sight.boxes) and np.quantile(sight.heights(), 0.2) > LEGIBLE:
        return True
    return best.typical_height() * sight.view.scale / best.view.scale > TOO_TALL


def _worth_a_look(view):
    """Return boxes (n, 4), in pixels of the picture, around all that may be digits."""
    height, width = (side // BLOCK for side in view.ink.shape)
    blocks = view.ink[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    top, left = np.nonzero(blocks.max(axis=(1, 3)) > PAPER)
    return np.stack([left, top, left + 1, top + 1], axis=1) * BLOCK / view.scale


def _adds(new, old):
    """Tell whether a closer look finds enough digits that the coarser one missed."""
    if not len(new.boxes):
        return False
    if not len(old.boxes) or old.typical_height() < CROWDED:
        return new.scores.sum() > 0.9 * old.scores.sum()
    left_top, right_bottom = old.boxes[:, :2], old.boxes[:, 2:]
    margin = 0.15 * (right_bottom - left_top).max(axis=1, keepdims=True)
    middle = (new.boxes[:, :2] + new.boxes[:, 2:])[:, None] / 2
    inside = ((middle > left_top - margin) & (middle < right_bottom + margin)).all(axis=2)
    weight = new.scores * np.where(new.heights() < BEST, 1, 0.3)  # tall ones are often parts
    return weight[~inside.any(axis=1)].sum() > 0.25 * old.scores.sum()


def _at_best_scale(picture, sights, best):
    """Return what is seen at the scale at which digits are told apart best, unless it is less."""
    scale = best.view.scale * BEST / best.typical_height()
    scale = min(scale, LARGEST_SCALE, SIDES[-1] / max(picture.size))
    near = [sight for sight in sights if 0.8 < scale / sight.view.scale < 1.25]
    sight = near[0] if near else detect(look(picture, scale, best.boxes))
    return sight if sight.scores.sum() > 0.8 * best.scores.sum() else best


def detect(view: View) -> Sight:
    """Find the digits that stand out in a view: peaks of its centres, each with its box."""
    padded = np.pad(view.centre, 1)
    height, width = view.centre.shape
    around = [padded[i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
    y, x = np.nonzero((view.centre >= np.maximum.reduce(around)) & (view.centre > FOUND))
    order = view.centre[y, x].argsort()[::-1][: 2 * MAX_DIGITS]
    y, x = y[order], x[order]
    boxes = _foretold(view, y, x)
    keep = np.zeros(len(boxes), bool)
    for i, box in enumerate(boxes):
        keep[i] = not _same(box, boxes[keep]).any()
    return Sight(view, boxes[keep] / view.scale, view.centre[y, x][keep])


def _foretold(view, y, x):
    """Return the boxes that cells foretell, float (n, 4), in pixels of the view."""
    middle = np.stack([x, y, x, y], axis=1) * 2 + 1
    return middle + view.reach[y, x] * [-1, -1, 1, 1]


def _area(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1)


def _same(box, others):
    """Tell which boxes are about the same digit as one box."""
    left_top, right_bottom = np.maximum(box, others)[:, :2], np.minimum(box, others)[:, 2:]
    shared = (right_bottom - left_top).clip(0).prod(axis=1)
    own, other = _area(box), _area(others)
    return (shared > OVERLAP * (own + other - shared)) | (shared > INSIDE * np.minimum(own, other))


def _join(sight):
    """Join the pieces of a stroke that stand on each other."""
    boxes, height = sight.boxes.copy(), sight.typical_height() / sight.view.scale
    while len(boxes) > 2:
        i, j = np.triu_indices(len(boxes), 1)
        a, b = boxes[i], boxes[j]
        both = np.concatenate([np.minimum(a, b)[:, :2], np.maximum(a, b)[:, 2:]], axis=1)
        shared = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
        narrower = np.minimum(a[:, 2] - a[:, 0], b[:, 2] - b[:, 0])
        gap = np.maximum(a[:, 1], b[:, 1]) - np.minimum(a[:, 3], b[:, 3])
        size = both[:, 2:] - both[:, :2]
        joins = (shared > 0.5 * narrower) & (gap < 0.1 * height)
        joins &= (size[:, 1] < 1.35 * height) & (size[:, 0] < 1.2 * height)
        if not joins.any():
            break
        k = np.where(joins, gap, np.inf).argmin()
        boxes[i[k]] = both[k]
        boxes = np.delete(boxes, j[k], 0)
    return sight._replace(boxes=boxes)


def take_ink(view: View, boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take each digit's ink: a pixel belongs to the digit whose box it foretells, or to none.

    Args:
        boxes: float (n, 4) in pixels of the picture.

    Returns:
        `(ink float32 (h, w) in 0-1, box float (4,))` of each digit that has some.
    """
    y, x = np.nonzero(view.ink > PAPER)
    foretold = _foretold(view, y // 2, x // 2)
    own = boxes * view.scale
    size = np.maximum(own[:, 2:] - own[:, :2], 3)
    size = np.tile(np.maximum(size, 0.4 * size.max(axis=1, keepdims=True)), 2)
    owner, least = np.full(len(x), -1), np.full(len(x), FIT)
    for i, box in enumerate(own):
        left, top, right, bottom = box + 0.3 * size[i] * [-1, -1, 1, 1]
        near = np.flatnonzero((x > left) & (x < right) & (y > top) & (y < bottom))
        distance = (abs(foretold[near] - box) / size[i]).mean(axis=1)
        closer = distance < least[near]
        owner[near[closer]], least[near[closer]] = i, distance[closer]
    digits = []
    for i in range(len(boxes)):
        mine = owner == i
        if (view.ink[y[mine], x[mine]] > FAINT).sum() < FEWEST:
            continue
        box = np.array([x[mine].min(), y[mine].min(), x[mine].max() + 1, y[mine].max() + 1])
        ink = np.zeros((box[3] - box[1] + 2, box[2] - box[0] + 2), "float32")
        ink[y[mine] - box[1] + 1, x[mine] - box[0] + 1] = view.ink[y[mine], x[mine]]
        ink = ((ink - PAPER) / (FULL - PAPER)).clip(0, 1)
        if (ink > 0.2).sum() >= FEWEST:
            digits.append((ink, box / view.scale))
    return digits
