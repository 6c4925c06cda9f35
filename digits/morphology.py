"""Operations on grey levels and masks: quantiles, sliding extremes, connected parts. NumPy only."""

import numpy as np


def quantile(values: np.ndarray, share: float) -> np.floating:
    """Return the value that this share of all values does not exceed; faster than np.quantile."""
    index = int(share * (values.size - 1))
    return np.partition(values, index, axis=None)[index]


def slide_columns(values: np.ndarray, size: int, extreme: np.ufunc) -> np.ndarray:
    """Return the extreme of `size` vertical neighbours; beyond the edge, edge pixels repeat.

    Args:
        values: (h, w).
        size: in pixels, odd.
        extreme: np.minimum or np.maximum.

    Returns:
        An array like `values`.
    """
    rows = np.arange(-(size // 2), len(values) + size // 2)
    values = values[rows.clip(0, len(values) - 1)]
    reach = 1  # rows that each value covers so far
    while reach < size:
        step = min(reach, size - reach)
        values = extreme(values[step:], values[:-step])
        reach += step
    return values


def slide(values: np.ndarray, size: int, extreme: np.ufunc) -> np.ndarray:
    """Return the extreme of the size x size neighbours; the rest is as in `slide_columns`."""
    return slide_columns(slide_columns(values, size, extreme).T, size, extreme).T


def opening(values: np.ndarray, size: int) -> np.ndarray:
    """Remove what is bright and narrower than `size` pixels (odd)."""
    return slide(slide(values, size, np.minimum), size, np.maximum)


def add_margin(values: np.ndarray, size: int) -> np.ndarray:
    """Put `size` zeros around an image; faster than np.pad."""
    padded = np.zeros(np.add(values.shape, 2 * size), values.dtype)
    padded[size:-size, size:-size] = values
    return padded


def bounding_box(mask: np.ndarray) -> tuple:
    """Return the box around what is True: left, top, right, bottom; the last two are exclusive.

    Args:
        mask: bool (..., h, w).

    Returns:
        Four arrays int (...). The box of an empty mask is the whole image.
    """
    left, right = _extent(mask.any(axis=-2))
    top, bottom = _extent(mask.any(axis=-1))
    return left, top, right, bottom


def _extent(lines):
    """Return the index of the first True along the last axis, and that after the last one."""
    return lines.argmax(axis=-1), lines.shape[-1] - lines[..., ::-1].argmax(axis=-1)


def grow(mask: np.ndarray) -> np.ndarray:
    """Grow a mask by one pixel in all eight directions: bool (h, w)."""
    return _grow_inside(add_margin(mask, 1))[1:-1, 1:-1]


def _grow_inside(mask):
    """Grow a mask that has an empty margin: its pixels can be taken as one long row."""
    flat = mask.ravel()
    for step in (1, mask.shape[1]):  # to the left and right, up and down
        grown = flat.copy()
        grown[step:] |= flat[:-step]
        grown[:-step] |= flat[step:]
        flat = grown
    return flat.reshape(mask.shape)


def label_parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the connected parts of a mask; gaps of up to two pixels do not separate parts.

    Args:
        mask: bool (h, w).

    Returns:
        Labels int32 (h, w): 0 outside, then 1, 2, ... in the order of the parts' first pixels. And
        boxes int (n, 4): left, top, right, bottom of each part.
    """
    grown = _grow_inside(add_margin(mask, 2))
    width, flat = grown.shape[1], grown.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]  # of the runs of pixels along rows
    first, last = ends.searchsorted(starts - width, "right"), starts.searchsorted(ends - width)
    root = np.array(connect_runs(first.tolist(), last.tolist()), int)
    number = (root == np.arange(len(root))).cumsum()[root]
    labels = np.zeros(flat.size, "int32")
    labels[flat] = number.repeat(ends - starts)
    labels = labels.reshape(grown.shape)[2:-2, 2:-2] * mask
    return labels, _boxes(*np.divmod(starts, width), ends - starts, number)


def _boxes(top, left, length, number):
    """Return the box around the runs of each part: without their growth, and without the margin."""
    sides = left - 1, top - 1, 3 - left - length, 2 - top  # the last two negated: all are minima
    boxes = np.full((4, number.max(initial=0) + 1), np.iinfo(int).max)
    for lowest, side in zip(boxes, sides):
        np.minimum.at(lowest, number, side)
    return abs(boxes.T[1:])


def connect_runs(first: list[int], last: list[int]) -> list[int]:
    """Return for each run the first run that it is connected to, directly or through others.

    Args:
        first, last: run i touches the runs range(first[i], last[i]) in the row above.
    """
    roots = list(range(len(first)))
    for run, touched in enumerate(map(range, first, last)):
        for above in touched:
            while above != roots[above]:
                above = roots[above]
            if above < roots[run]:
                roots[roots[run]] = above
                roots[run] = above
            else:
                roots[above] = roots[run]
    for run, root in enumerate(roots):
        roots[run] = roots[root]
    return roots
