"""The learned finder: find any number of digits of any size in a picture, on any paper."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from digits.find import NoDigitError
from digits.finder_network import View, look
from digits.form import normalise

SIDES = 96, 192, 384, 768, 1280  # longest side in pixels, coarse to fine
LARGEST_SCALE = 1.5  # enlarging a picture more than this reveals nothing
FOUND = 0.5  # centre score above which there is a digit
WIDE = 384  # pixels: beyond this side length, empty areas are skipped
LEGIBLE = 18  # pixels: if digits are this tall, a finer scale finds no more of them
BEST = 26  # pixels: height at which digits are separated best
INK_HEIGHT = 52  # pixels: height at which their ink is taken
MAX_DIGITS = 200
TOO_TALL = 45  # pixels: of taller digits, the network finds parts
CROWDED = 14  # pixels: shorter digits run into each other
BLOCK = 16  # pixels: cells of the grid that marks what to examine at a finer scale
TOO_MANY = f"There seem to be more than {MAX_DIGITS} digits in the picture. Crop it to fewer."
OVERLAP, INSIDE = 0.35, 0.65  # of two boxes: above either, both are the same digit
FIT = 0.45  # of a digit's size: how far a pixel's predicted box may lie from the digit's
FAINT, PAPER, FULL = 0.4, 0.15, 0.85  # levels of visible ink, of none, and of full ink
MIN_PIXELS = 6  # of ink in a digit


class Detections(NamedTuple):
    """The digits detected in a view.

    Attributes:
        view: the network's output.
        boxes: float (n, 4), left, top, right and bottom in pixels of the picture.
        scores: float32 (n,) in 0-1, strongest first.
    """

    view: View
    boxes: np.ndarray
    scores: np.ndarray

    def heights(self) -> np.ndarray:
        """Return the digits' heights in pixels of the view, at least half their width."""
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
        `(uint8 (28, 28), box float (4,))` for each digit, in no particular order, boxes (left,
        top, right, bottom) in pixels of the picture; and the view in which they were separated.

    Raises:
        NoDigitError: there are more than MAX_DIGITS.
    """
    scales, best = _look_coarse_to_fine(picture)
    if not len(best.boxes):
        return [], best.view
    detected = _join(_at_best_scale(picture, scales, best))
    if len(detected.boxes) > MAX_DIGITS:
        raise NoDigitError(TOO_MANY)
    view = detected.view
    scale = min(view.scale * INK_HEIGHT / detected.typical_height(), max(1, view.scale))
    close = look(picture, scale, detected.boxes) if scale > 1.25 * view.scale else view
    return [(normalise(ink), box) for ink, box in take_ink(close, detected.boxes)], view


def _look_coarse_to_fine(picture):
    """Examine a picture at finer and finer scales until no smaller digits are to be expected.

    Returns:
        The detections at each scale, and the best: those of the coarsest that misses few digits.
    """
    best, near, scales = None, None, []
    for side in SIDES:
        scale = side / max(picture.size)
        if best and scale > LARGEST_SCALE:
            break
        scales.append(detect(look(picture, scale, near)))
        if side >= WIDE:
            near = _worth_a_look(scales[-1].view)
        if best is None or _adds(scales[-1], best):
            best = scales[-1]
        if len(best.boxes) and _shows_all(scales[-1], best):
            break
    return scales, best


def _shows_all(detected, best):
    """Return whether digits are so tall here that a finer scale would find no more of them."""
    if len(detected.boxes) and np.quantile(detected.heights(), 0.2) > LEGIBLE:
        return True
    return best.typical_height() * detected.view.scale / best.view.scale > TOO_TALL


def _worth_a_look(view):
    """Return boxes (n, 4), in pixels of the picture, around everything that may be a digit."""
    height, width = (side // BLOCK for side in view.ink.shape)
    blocks = view.ink[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
    top, left = np.nonzero(blocks.max(axis=(1, 3)) > PAPER)
    return np.stack([left, top, left + 1, top + 1], axis=1) * BLOCK / view.scale


def _adds(new, old):
    """Return whether a finer scale finds enough digits that the coarser one missed."""
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


def _at_best_scale(picture, scales, best):
    """Return the detections at the scale that separates digits best, unless there are fewer."""
    scale = best.view.scale * BEST / best.typical_height()
    scale = min(scale, LARGEST_SCALE, SIDES[-1] / max(picture.size))
    near = [each for each in scales if 0.8 < scale / each.view.scale < 1.25]
    detected = near[0] if near else detect(look(picture, scale, best.boxes))
    return detected if detected.scores.sum() > 0.8 * best.scores.sum() else best


def detect(view: View) -> Detections:
    """Detect the digits in a view: peaks of the centre map, each with its predicted box."""
    padded = np.pad(view.centre, 1)
    height, width = view.centre.shape
    around = [padded[i : i + height, j : j + width] for i, j in np.ndindex(3, 3)]
    y, x = np.nonzero((view.centre >= np.maximum.reduce(around)) & (view.centre > FOUND))
    order = view.centre[y, x].argsort()[::-1][: 2 * MAX_DIGITS]
    y, x = y[order], x[order]
    boxes = _predicted_boxes(view, y, x)
    keep = np.zeros(len(boxes), bool)
    for i, box in enumerate(boxes):
        keep[i] = not _same(box, boxes[keep]).any()
    return Detections(view, boxes[keep] / view.scale, view.centre[y, x][keep])


def _predicted_boxes(view, y, x):
    """Return the boxes that cells predict, float (n, 4), in pixels of the view."""
    middle = np.stack([x, y, x, y], axis=1) * 2 + 1
    return middle + view.reach[y, x] * [-1, -1, 1, 1]


def _area(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1)


def _same(box, others):
    """Return which boxes are of the same digit as one box."""
    left_top, right_bottom = np.maximum(box, others)[:, :2], np.minimum(box, others)[:, 2:]
    shared = (right_bottom - left_top).clip(0).prod(axis=1)
    own, other = _area(box), _area(others)
    return (shared > OVERLAP * (own + other - shared)) | (shared > INSIDE * np.minimum(own, other))


def _join(detected):
    """Join pieces of a stroke that lie above each other."""
    boxes, height = detected.boxes.copy(), detected.typical_height() / detected.view.scale
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
    return detected._replace(boxes=boxes)


def take_ink(view: View, boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take each digit's ink: a pixel belongs to the digit whose box it predicts, or to none.

    Args:
        boxes: float (n, 4) in pixels of the picture.

    Returns:
        `(ink float32 (h, w) in 0-1, box float (4,))` of each digit that has some.
    """
    y, x = np.nonzero(view.ink > PAPER)
    predicted = _predicted_boxes(view, y // 2, x // 2)
    own = boxes * view.scale
    size = np.maximum(own[:, 2:] - own[:, :2], 3)
    size = np.tile(np.maximum(size, 0.4 * size.max(axis=1, keepdims=True)), 2)
    owner, least = np.full(len(x), -1), np.full(len(x), FIT)
    for i, box in enumerate(own):
        left, top, right, bottom = box + 0.3 * size[i] * [-1, -1, 1, 1]
        near = np.flatnonzero((x > left) & (x < right) & (y > top) & (y < bottom))
        distance = (abs(predicted[near] - box) / size[i]).mean(axis=1)
        closer = distance < least[near]
        owner[near[closer]], least[near[closer]] = i, distance[closer]
    digits = []
    for i in range(len(boxes)):
        mine = owner == i
        if (view.ink[y[mine], x[mine]] > FAINT).sum() < MIN_PIXELS:
            continue
        box = np.array([x[mine].min(), y[mine].min(), x[mine].max() + 1, y[mine].max() + 1])
        ink = np.zeros((box[3] - box[1] + 2, box[2] - box[0] + 2), "float32")
        ink[y[mine] - box[1] + 1, x[mine] - box[0] + 1] = view.ink[y[mine], x[mine]]
        ink = ((ink - PAPER) / (FULL - PAPER)).clip(0, 1)
        if (ink > 0.2).sum() >= MIN_PIXELS:
            digits.append((ink, box / view.scale))
    return digits
