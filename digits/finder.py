"""The learned finder: digits of any size and number in a picture, on any paper."""

import numpy as np
from PIL import Image

from digits import finder_network
from digits.finder_network import View, look
from digits.find import normalise

SIDES = 96, 192, 384, 768, 1280  # longest side in pixels, coarse to fine
LARGEST_SCALE = 1.5  # finer than the picture itself there is nothing to see
FOUND = 0.5  # of a centre: a digit stands here
LEGIBLE = 24  # pixels: where digits are as tall, a finer look finds no more of them
BEST = 26  # pixels: height at which digits are told apart best
INK_HEIGHT = 52  # pixels: height at which their strokes are taken
MAX_DIGITS = 200
OVERLAP, INSIDE = 0.35, 0.65  # of two boxes: from here on both are one digit
FIT = 0.45  # of a digit's size: how far the box that a pixel foretells may lie from its own
FAINT, PAPER, FULL = 0.4, 0.15, 0.85  # ink that counts, that is none, and that is all pen
FEWEST = 6  # pixels of ink in a digit


class TooManyDigitsError(ValueError):
    pass


def find_learned(picture: Image.Image) -> list[tuple[np.ndarray, np.ndarray]]:
    """Find the digits in a picture with the learned finder.

    Args:
        picture: upright, RGB.

    Returns:
        `(uint8 (28, 28), box float (4,))` for each digit, in no order; boxes are (left, top, right,
        bottom) in pixels of the picture.
    """
    best = _choose(picture)
    if best is None:
        return []
    view, boxes, scores = best
    height = _typical_height(boxes, scores)
    scale = min(BEST / height, LARGEST_SCALE, SIDES[-1] / max(picture.size))
    if not 0.8 < scale / view.scale < 1.2:
        again = look(picture, scale, boxes)
        found = detect(again)
        if found[1].sum() > 0.8 * scores.sum():
            view, (boxes, scores) = again, found
    boxes, scores = _join(boxes, scores)
    scale = min(INK_HEIGHT / _typical_height(boxes, scores), max(1, view.scale))
    if scale > 1.25 * view.scale:
        view = look(picture, scale, boxes)
    return [(normalise(ink), box) for ink, box in take_ink(view, boxes)]


def _choose(picture):
    best = None
    for side in SIDES:
        scale = side / max(picture.size)
        if scale > LARGEST_SCALE:
            break
        view = look(picture, scale)
        boxes, scores = detect(view)
        if not len(boxes):
            continue
        heights = _heights(boxes) * scale
        evidence = ((scores - 0.3) / 0.5).clip(0, 1) ** 1.5
        if best is None:
            new, need = evidence.sum(), 0.15
        else:
            margin = 0.15 * (best[1][:, 2:] - best[1][:, :2]).max(axis=1)[:, None]
            middle = (boxes[:, :2] + boxes[:, 2:])[:, None] / 2
            known = (middle > best[1][:, :2] - margin) & (middle < best[1][:, 2:] + margin)
            new = (evidence * np.where(heights < 28, 1, 0.3))[~known.all(axis=2).any(axis=1)].sum()
            need = 0.25 * best[3] + 0.1
            if _typical_height(best[1], best[2]) * best[0].scale < 14:
                need, new = min(need, 0.9 * best[3]), max(new, evidence.sum())
        if new > need:
            best = view, boxes, scores, evidence.sum()
        if best is not None and (
            (scores.max() > 0.5 and np.quantile(heights, 0.2) > LEGIBLE)
            or _typical_height(*best[1:3]) * scale > 45
        ):
            break
    return best and best[:3]


def _heights(boxes):
    return np.maximum(boxes[:, 3] - boxes[:, 1], (boxes[:, 2] - boxes[:, 0]) / 2)


def _typical_height(boxes, scores):
    heights, order = _heights(boxes), _heights(boxes).argsort()
    total = scores[order].cumsum()
    return heights[order][np.searchsorted(total, total[-1] / 2)]


def detect(view: View, threshold: float = FOUND) -> tuple[np.ndarray, np.ndarray]:
    """Return digits' boxes float (n, 4), in pixels of the picture, and scores, strongest first."""
    centre = view.centre
    highest = centre.copy()
    padded = np.pad(centre, 1)
    for i, j in np.ndindex(3, 3):
        np.maximum(highest, padded[i : i + len(centre), j : j + centre.shape[1]], out=highest)
    y, x = np.nonzero((centre >= highest) & (centre > threshold))
    scores = centre[y, x]
    order = scores.argsort()[::-1][: 2 * MAX_DIGITS]
    y, x, scores = y[order], x[order], scores[order]
    boxes = _foretold(view, y, x)
    keep = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        keep[i] = not _same(boxes[i], boxes[keep]).any()
    return boxes[keep] / view.scale, scores[keep]


def _foretold(view, y, x):
    """Return the boxes that cells foretell, float (n, 4), in pixels of the view."""
    middle = np.stack([x, y, x, y], axis=1) * 2 + 1
    return middle + view.reach[y, x] * [-1, -1, 1, 1]


def _area(boxes):
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1)


def _same(box, others):
    shared = np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], 1)
    shared, own, other = _area(shared), _area(box), _area(others)
    return (shared > OVERLAP * (own + other - shared)) | (shared > INSIDE * np.minimum(own, other))


def _join(boxes, scores):
    """Join the pieces of a stroke that stand on each other."""
    boxes, scores = boxes.copy(), scores.copy()
    while len(boxes) > 2:
        height = _typical_height(boxes, scores)
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
        boxes[i[k]], scores[i[k]] = both[k], max(scores[i[k]], scores[j[k]])
        boxes, scores = np.delete(boxes, j[k], 0), np.delete(scores, j[k])
    return boxes, scores


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
