"""Measure how far each pixel lies from the paper, in any light. NumPy and Pillow only."""

import functools

import numpy as np
from PIL import Image

from digits.morphology import grow, opening, quantile, slide_columns

WORK_SIZE = 128  # pixels: longest side at which pictures are examined
CANVAS_NOISE = 0.3  # grey levels, sigma: above this, the background is photographed paper
PEN = 17  # pixels at working size: wider than most pens
PEN_WIDTHS = 5, 9, 13, 17  # pixels at working size, odd
RULE = 5  # pixels at working size, odd: wider than ruled lines
STRIPS = 16  # across the picture, in each of which a ruled line has to appear
SLOPES = np.linspace(-0.12, 0.12, 13)  # of ruled lines, in rows per column
GRID = 24  # cells along each side of the grid on which the paper's surface is fitted
BORDER_VOTES = 10  # further votes of a cell at the border, where ink is rare


def shrink(picture: Image.Image) -> Image.Image:
    """Reduce a picture to working size: its longest side becomes WORK_SIZE if it is longer."""
    scale = max(1, max(picture.size) / WORK_SIZE)
    size = [max(1, round(side / scale)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BOX, reducing_gap=1.5)


def measure_contrast(picture: Image.Image) -> tuple[np.ndarray, float]:
    """Measure how far each pixel lies from the paper, towards the colour of the ink.

    On photographed paper, shadows, highlights and ruled lines are removed.

    Args:
        picture: upright grey or RGB image, at working size.

    Returns:
        float32 (h, w) in grey levels, ink positive; and the paper's noise, sigma in grey levels,
        which is below CANVAS_NOISE on a drawing canvas only.
    """
    contrast, noise = _project(picture)
    if noise < CANVAS_NOISE:
        return contrast, noise
    if _is_lighter(contrast):
        contrast = -contrast
    contrast = contrast - _light(contrast)
    contrast = _without_rules(_without_rules(contrast).T).T
    contrast -= quantile(contrast, 0.35)  # more than a third of a picture is paper
    return contrast, max(_noise(contrast), CANVAS_NOISE)


def _project(picture):
    """Project colours onto the line from the paper's to the ink's.

    Returns:
        float32 (h, w), the distance from the paper in grey levels; and the noise of the grid.
    """
    grid = _channels(picture.resize((GRID, GRID), Image.Resampling.BOX))
    surface = _fit_paper(grid)
    away = grid - surface
    direction = _ink_direction(away)
    paper = (direction @ surface).astype("float32")
    if paper.size > 1:
        paper = Image.fromarray(paper.reshape(GRID, GRID))
        paper = np.asarray(paper.resize(picture.size, Image.Resampling.BICUBIC))
    weighted = zip(direction.astype("float32"), _channels(picture))
    contrast = sum(weight * channel for weight, channel in weighted)  # faster than calling BLAS
    return contrast.reshape(picture.height, picture.width) - paper, _noise(direction @ away)


def _channels(picture):
    """Return the colours of a picture's pixels: float32 (channels, h * w)."""
    return np.asarray(picture, "float32").reshape(picture.width * picture.height, -1).T


def _noise(contrast):
    """Estimate sigma of the paper's contrast: a quarter of normal noise is below 0.32 sigma."""
    return quantile(abs(contrast), 0.25) / 0.32


def _ink_direction(away):
    """Estimate the direction of the ink's colour: few cells differ from the paper, but by far.

    Args:
        away: float (channels, GRID * GRID), the difference from the paper.

    Returns:
        float64 (channels,), of length 1 in RGB; sqrt(3) in grey, the same as three equal channels.
    """
    direction = away @ (away**2).sum(axis=0)
    return direction * (3 / len(away)) ** 0.5 / max((direction @ direction) ** 0.5, 1e-6)


def _fit_paper(colours):
    """Fit a quadratic surface through the colours that most cells agree on: light is uneven.

    Args:
        colours: float32 (channels, GRID * GRID).

    Returns:
        float of the same shape, or (channels, 1) where the paper has one colour.
    """
    terms, voters, votes = _paper_terms()
    surface = np.array([[quantile(channel[voters], 0.5)] for channel in colours])
    for _ in range(4):  # least squares, reweighted: cells of ink lose their weight
        squares = ((colours - surface) ** 2).mean(axis=0)
        typical = quantile(squares[voters], 0.5)
        if typical == 0:
            break
        weighted = terms * votes / (1 + squares / max(2.25 * typical, 5.3)) ** 2
        normal = weighted @ terms.T + 1e-3 * np.eye(6)
        surface = np.linalg.solve(normal, weighted @ colours.T).T @ terms
    return surface


@functools.cache
def _paper_terms():
    """Return the terms of a quadratic surface on the grid, and the votes on it.

    Returns:
        The terms for n cells, float (6, n); the cell behind each vote, int (votes,); and the number
        of votes of each cell, int (n,).
    """
    y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j].reshape(2, -1)
    border = np.flatnonzero(np.maximum(abs(x), abs(y)) > 0.93)
    voters = np.r_[np.arange(len(x)), np.tile(border, BORDER_VOTES)]
    return np.stack([x**0, x, y, x * x, x * y, y * y]), voters, np.bincount(voters)


def _is_lighter(contrast):
    """Return whether the pen is lighter than the paper: strokes are thinner than their gaps."""
    wide = _wide(contrast)
    total = np.array([_power(contrast, wide), _power(-contrast, wide)])
    for size in (*PEN_WIDTHS, wide):  # the first at which one of the two shows its strokes
        powers = np.array([_power(contrast, size), _power(-contrast, size)])
        if ((powers > 0.5 * total) & (total > 0.02 * total.max())).any():
            break
    return powers[1] > 2 * powers[0]


def _power(contrast, size):
    """Sum the cubes of what is bright and narrower than `size` pixels."""
    thin = contrast - opening(contrast, size)
    return np.vdot(thin * thin, thin)


def _wide(contrast):
    """Return a width that no pen has: two ninths of the longest side, odd."""
    return max(contrast.shape) * 2 // 9 | 1


def _light(contrast):
    """Estimate shadows and highlights: they are wider than the pen.

    How wide the pen may be depends on the edges: most of them belong to thin strokes, or not.
    """
    thin = contrast - opening(contrast, PEN)
    strokes = grow(thin > 0.5 * quantile(thin, 0.98))
    edges = sum(slope**2 for slope in np.gradient(contrast))
    if edges[strokes].sum() > 0.8 * edges.sum():
        return contrast - thin
    return opening(contrast, _wide(contrast))


def _without_rules(contrast):
    """Subtract what a row, perhaps tilted, has in common from end to end: a ruled line."""
    height, width = contrast.shape
    ends = np.linspace(0, width, min(STRIPS, width) + 1).astype(int)
    strips = (np.add.reduceat(contrast, ends[:-1], axis=1) / np.diff(ends)).T.astype("float32")
    strip, slope, row = np.ogrid[: len(strips), : len(SLOPES), :height]
    rise = np.rint(SLOPES[:, None] * (ends[:-1] - width / 2)[:, None, None]).astype(int)
    rise = rise.clip(-(height // 2), (height - 1) // 2)
    most = rise.max()  # subtracted, so that indices are negative, not too high: rows wrap around
    rules = strips[strip, row + rise - most].min(axis=0).clip(0).T  # (height, slopes)
    rules -= slide_columns(slide_columns(rules, RULE, np.minimum), RULE, np.maximum)
    ruled = rules[row - rise + most - height, slope].max(axis=1)  # (strips, height)
    return contrast - np.repeat(ruled.T, np.diff(ends), axis=1)
