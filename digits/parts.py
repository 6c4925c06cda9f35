"""Gather the connected parts of a mask into digits. NumPy only."""

from typing import NamedTuple

import numpy as np

from digits.morphology import label_parts

MAX_PARTS = 100  # the strongest: only these are examined
BORDER_WEIGHT = 0.003  # of what lies along the border: page edges, desk, fingers
ALONG_BORDER = 0.5  # of a part's longest side: if more pixels touch the border, it lies along it
MIN_STRENGTH = 0.01  # of the strongest part: weaker parts are dirt
MIN_JOINING = 0.08  # of a digit's strongest part: weaker parts do not join it
MAX_GAP = 0.15  # of a digit's longest side: parts farther away do not join it
NEIGHBOUR_HEIGHT = 0.6  # of a digit's height: a part beside it that is taller is a neighbour


class Parts(NamedTuple):
    """Connected parts of a mask.

    Attributes:
        labels: int (n,), the number of each part in the labelled image.
        boxes: int (n, 4), left, top, right, bottom.
        strengths: float (n,), sum of squared contrast, weighted down along the border.
        on_border: bool (n,), whether it lies along the border, like page edges, desk and fingers.
    """

    labels: np.ndarray
    boxes: np.ndarray
    strengths: np.ndarray
    on_border: np.ndarray

    def select(self, index: np.ndarray) -> "Parts":
        """Return some of the parts: `index` is a mask, or indices."""
        return Parts(*(values[index] for values in self))


def find_parts(contrast: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, Parts]:
    """Find the strongest connected parts of a mask.

    Args:
        contrast: float (h, w), in grey levels.
        mask: bool (h, w).

    Returns:
        Labels int (h, w), 0 outside; and the parts, strongest first.
    """
    labels, boxes = label_parts(mask)
    strengths = np.bincount(labels[mask], contrast[mask] ** 2, len(boxes) + 1)[1:]
    rim = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    touching = np.bincount(rim, minlength=len(boxes) + 1)[1:]
    sizes = boxes[:, 2:] - boxes[:, :2]
    on_border = touching > ALONG_BORDER * sizes.max(axis=1)
    on_border |= (sizes == mask.shape[::-1]).any(axis=1)
    strengths[on_border] *= BORDER_WEIGHT
    parts = Parts(np.arange(1, len(boxes) + 1), boxes, strengths, on_border)
    return labels, parts.select(np.argsort(-strengths)[:MAX_PARTS])


def group_parts(parts: Parts) -> list[tuple[list[int], np.ndarray]]:
    """Gather parts, strongest first, into digits.

    Returns:
        Indices of the parts, and the box around them, int (4,), of each digit, strongest first.
    """
    boxes, strengths, on_border = parts.boxes, parts.strengths, parts.on_border
    free = np.flatnonzero(strengths > MIN_STRENGTH * strengths[0]).tolist()
    groups = []
    while free:
        strongest = free[0]
        strong = strengths > MIN_JOINING * strengths[strongest]
        joins = strong & (on_border <= on_border[strongest])
        others = [i for i in free[1:] if joins[i]]
        group, size = [strongest], 0
        while len(group) != size:
            size, box = len(group), _around(boxes[group])
            group += [i for i in others if i not in group and _belongs(boxes[i], box)]
        groups.append((group, box))
        free = [i for i in free if i not in group]
    return groups


def _around(boxes):
    """Return the box around boxes."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _belongs(part, digit):
    """Return whether a part lies close to a digit, and not beside it like a neighbour."""
    gap = np.maximum(part[:2] - digit[2:], digit[:2] - part[2:])
    heights = part[3] - part[1], digit[3] - digit[1]
    beside = gap[0] >= 0 and min(heights) > NEIGHBOUR_HEIGHT * max(heights)
    return gap.max() < MAX_GAP * (digit[2:] - digit[:2]).max() and not beside
