"""Measure how far each pixel lies from the paper, whatever the light. NumPy and Pillow only."""

import functools

import numpy as np
from PIL import Image

from digits.morphology import grow, opening, quantile, slide_columns

WORK_SIZE = 128  # pixels: longest side at which pictures are examined
GRID = 24  # cells along each side of the grid on which the paper's surface is fitted
SLOPES = np.linspace(-0.12, 0.12, 13)  # of ruled lines, in rows per column
CANVAS_NOISE = 0.3  # grey levels, sigma: above this, the background is photographed paper
PEN = 17  # pixels at working size: wider than any pen


def shrink(picture: Image.Image) -> Image.Image:
    """Reduce a picture to working size: its longest side becomes WORK_SIZE if it is longer."""
    scale = max(1, max(picture.size) / WORK_SIZE)
    size = [max(1, round(side / scale)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BOX, reducing_gap=1.5)


def is_canvas(picture: Image.Image) -> bool:
    """Tell whether the background is a drawing canvas without noise, not photographed paper.

    Args:
        picture: upright grey or RGB image.
    """
    return bool(_project(shrink(picture))[1] < CANVAS_NOISE)


def measure_contrast(picture: Image.Image) -> tuple[np.ndarray, float]:
    """Measure how far each pixel lies from the paper, towards the ink's colour.

    Shadows, lights and ruled lines are removed.

    Args:
        picture: grey or RGB image at working size.

    Returns:
        float32 (h, w) in grey levels, ink positive; and the paper's noise, sigma in grey levels,
        below CANVAS_NOISE on a drawing canvas.
    """
    contrast, noise = _project(picture)
    if noise < CANVAS_NOISE:
        return contrast, noise
    if _is_lighter(contrast):
        contrast = -contrast
    contrast = contrast - _light(contrast)
    contrast = _without_rules(_without_rules(contrast).T).T
    contrast -= quantile(contrast, 0.35)
    return contrast, max(_noise(contrast), CANVAS_NOISE)


def _project(picture):
    """Return the contrast as `measure_contrast`, with shadows and lines, and the noise."""
    grid = _channels(picture.resize((GRID, GRID), Image.Resampling.BOX))
    surface = _paper_colours(grid)
    away = grid - surface
    direction = _ink_direction(away)
    paper = (direction @ surface).astype("float32")
    if paper.size > 1:
        paper = Image.fromarray(paper.reshape(GRID, GRID))
        paper = np.asarray(paper.resize(picture.size, Image.Resampling.BICUBIC))
    weighted = zip(direction.astype("float32"), _channels(picture))
    contrast = sum(weight * channel for weight, channel in weighted)  # cheaper than calling BLAS
    return contrast.reshape(picture.height, picture.width) - paper, _noise(direction @ away)


def _channels(picture):
    """Return the colours of a picture's pixels: float32 (channels, h * w)."""
    return np.asarray(picture, "float32").reshape(picture.width * picture.height, -1).T


def _noise(contrast):
    """Return sigma of the paper's contrast: a quarter of normal noise lies below 0.32 sigma."""
    return quantile(abs(contrast), 0.25) / 0.32


def _ink_direction(away):
    """Return the direction of the ink, float64 (channels,): few pixels of the grid, but far away.

    Its length is 1 in red, green and blue, and as grey in all three would give if grey is alone.
    """
    direction = away @ (away**2).sum(axis=0)
    return direction * (3 / len(away)) ** 0.5 / max((direction @ direction) ** 0.5, 1e-6)


@functools.cache
def _paper_terms():
    """Return a quadratic surface's terms on the grid, (6, n), the cells with a vote, and votes."""
    y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j].reshape(2, -1)
    border = np.flatnonzero(np.maximum(abs(x), abs(y)) > 0.93)
    votes = np.r_[np.arange(len(x)), np.tile(border, 10)]  # the border is rarely ink
    return np.stack([x**0, x, y, x * x, x * y, y * y]), votes, np.bincount(votes)


def _paper_colours(colours):
    """Fit a quadratic surface of colour through the pixels that agree on it: light falls unevenly.

    Args:
        colours: float32 (channels, GRID * GRID).

    Returns:
        float of the same shape, or (channels, 1) where the paper is of one colour.
    """
    terms, votes, counts = _paper_terms()
    surface = np.array([[quantile(channel[votes], 0.5)] for channel in colours])
    for _ in range(4):
        squares = ((colours - surface) ** 2).mean(axis=0)
        typical = quantile(squares[votes], 0.5)
        if typical == 0:
            break
        weighted = terms * counts / (1 + squares / max(2.25 * typical, 5.3)) ** 2
        normal = weighted @ terms.T + 1e-3 * np.eye(6)
        surface = np.linalg.solve(normal, weighted @ colours.T).T @ terms
    return surface


def _wide(contrast):
    """Return a width in pixels, odd, that no pen has: two ninths of the picture."""
    return max(contrast.shape) * 2 // 9 | 1


def _light(contrast):
    """Return shadows and lights: what is wider than the pen, whose edges are the sharp ones."""
    thin = contrast - opening(contrast, PEN)
    pen = grow(thin > 0.5 * quantile(thin, 0.98))
    slopes = sum(slope**2 for slope in np.gradient(contrast))
    if slopes[pen].sum() > 0.8 * slopes.sum():
        return contrast - thin
    return opening(contrast, _wide(contrast))


def _power(contrast, size):
    """Weigh what is bright and narrower than `size` pixels."""
    thin = contrast - opening(contrast, size)
    return np.vdot(thin * thin, thin)


def _is_lighter(contrast):
    """Tell whether the pen is lighter than its paper: strokes are thinner than the gaps in them."""
    wide = _wide(contrast)
    total = np.array([_power(contrast, wide), _power(-contrast, wide)])
    for size in (5, 9, 13, 17, wide):
        powers = np.array([_power(contrast, size), _power(-contrast, size)])
        if ((powers > 0.5 * total) & (total > 0.02 * total.max())).any():
            break
    return powers[1] > 2 * powers[0]


def _without_rules(contrast):
    """Subtract what a row, perhaps tilted, has in common from end to end: a ruled line."""
    height, width = contrast.shape
    ends = np.linspace(0, width, min(16, width) + 1).astype(int)
    pieces = (np.add.reduceat(contrast, ends[:-1], axis=1) / np.diff(ends)).T.astype("float32")
    piece, tilt, row = np.ogrid[: len(pieces), : len(SLOPES), :height]
    rise = np.rint(SLOPES[:, None] * (ends[:-1] - width / 2)[:, None, None]).astype(int)
    rise = rise.clip(-(height // 2), (height - 1) // 2)
    lowest = rise.max()  # a row above the first one is counted from the last one
    rules = pieces[piece, row + rise - lowest].min(axis=0).clip(0).T
    rules -= slide_columns(slide_columns(rules, 5, np.minimum), 5, np.maximum)  # thinner than pens
    ruled = rules[row - rise + lowest - height, tilt].max(axis=1)
    return contrast - np.repeat(ruled.T, np.diff(ends), axis=1)
