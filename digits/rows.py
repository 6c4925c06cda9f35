"""Sort digits into rows in reading order, even if the page is tilted or heights differ."""

import numpy as np

STEEPEST = 0.35  # rows per column: a steeper row is split into several
LAST = 3  # digits at the end of a row that the next one must be level with


def sort_into_rows(boxes: np.ndarray) -> list[list[int]]:
    """Sort boxes into rows from top to bottom, and each row from left to right.

    Args:
        boxes: float (n, 4): left, top, right, bottom.

    Returns:
        For each row the indices of its boxes.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    lift = _tilt(boxes, middle) * middle[:, 0]
    top, bottom = boxes[:, 1] - lift, boxes[:, 3] - lift
    rows: list[list[int]] = []
    for i in middle[:, 0].argsort().tolist():
        shares = [_share_beside(top, bottom, i, row[-LAST:]) for row in rows]
        if shares and max(shares) > 0.5:
            rows[int(np.argmax(shares))].append(i)
        else:
            rows.append([i])
    return sorted(rows, key=lambda row: np.median((top + bottom)[row]))


def _share_beside(top, bottom, i, row):
    """Return the vertical overlap of a box and the end of a row, as a share of the lower one."""
    row_top, row_bottom = top[row].min(), bottom[row].max()
    shared = min(bottom[i], row_bottom) - max(top[i], row_top)
    return shared / max(min(bottom[i] - top[i], row_bottom - row_top), 1e-6)


def _tilt(boxes, middle):
    """Return the typical slope from a digit to the next one on its right, 0 if there are few."""
    heights = boxes[:, 3] - boxes[:, 1]
    typical, slopes = np.median(heights), []
    for (x, y), height in zip(middle, heights):
        across, down = middle[:, 0] - x, middle[:, 1] - y
        beside = (across > 0.2 * typical) & (abs(down) < np.minimum(0.5 * across, 0.8 * typical))
        if beside.any():
            j = np.where(beside, across + 2 * abs(down), np.inf).argmin()
            if across[j] > 0.6 * typical and abs(height - heights[j]) < 0.3 * typical:
                slopes.append(down[j] / across[j])
    return float(np.clip(np.median(slopes), -STEEPEST, STEEPEST)) if len(slopes) > 2 else 0.0
