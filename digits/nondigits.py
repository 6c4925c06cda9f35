"""Draw non-digits in MNIST's form, so that a network learns when not to be sure.

Letters, other scripts, signs, doodles, invented glyphs and things, scribbles, words and numbers,
digits struck out, rotated or mirrored, ruled lines and blots. Shapes that could also be digits are
left out.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from digits.pen import BATCH, SAMPLES, Templates, deform, draw, follow, load_templates, press
from digits.synthetic import pen_paths

STROKES = Path(__file__).with_name("nondigit_strokes.txt")
LONG = 2 * SAMPLES  # points of a path that crosses itself often
CROWDED, BLOT = 0.8, 2.5  # pen widths: where many strokes share the box, and where they close it


@functools.cache
def nondigit_templates() -> Templates:
    """Return the templates of non-digits; their names are "letter A", "sign plus" ..."""
    return load_templates(STROKES)


@functools.cache
def _of_kind(kind):
    return np.flatnonzero([name.split()[0] == kind for name in nondigit_templates().names])


def _write(kind):
    """Return a function that follows templates of a kind."""

    def write(n, rng):
        return follow(nondigit_templates(), rng.choice(_of_kind(kind), n), rng)

    return write


def _walk(headings, lengths):
    """Walk along headings, in radians, float (n, k), by lengths (n, 1): paths (n, k, 2)."""
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=2)
    return np.cumsum(steps, axis=1) * (lengths / headings.shape[1])[..., None]


def _glyph(n, rng):
    """Write invented letters: four to six strokes, straight or bent, most of which meet."""
    strokes: list[np.ndarray] = []
    t, rows = np.linspace(-0.5, 0.5, SAMPLES // 4), np.arange(n)
    for number in range(rng.integers(4, 7)):
        heading = np.pi / 4 * (3 * number + rng.integers(2, size=(n, 1)))
        heading = heading + rng.normal(0, 0.2, (n, 1))
        bend = rng.normal(0, 3, (n, 1)) * (rng.random((n, 1)) < 0.4)
        stroke = _walk(heading + bend * t, rng.uniform(0.3, 0.8, (n, 1)))
        at = rng.uniform(-0.5, 0.5, (n, 2))
        if strokes:
            joint = strokes[rng.integers(len(strokes))][rows, rng.integers(len(t), size=n)]
            at = np.where(rng.random((n, 1)) < 0.6, joint, at)
        own = stroke[rows, rng.choice([0, len(t) // 2], n)]
        strokes.append(stroke + (at - own)[:, None])
    return np.concatenate(strokes, axis=1)


def _thing(n, rng):
    """Draw things: three to five rings, boxes, diamonds and arcs that meet."""
    shapes: list[np.ndarray] = []
    rows, t = np.arange(n), np.linspace(0, 2 * np.pi, SAMPLES)
    for _ in range(rng.integers(3, 6)):
        sweep = np.where(rng.random((n, 1)) < 0.7, 1, rng.uniform(0.3, 0.7, (n, 1)))
        angle = sweep * t + rng.uniform(0, 2 * np.pi, (n, 1))
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=2)
        norm = rng.choice([1, 2, 2, 2, 9], (n, 1, 1))  # of a diamond, a ring and a box
        shape = circle / (np.abs(circle) ** norm).sum(axis=2, keepdims=True) ** (1 / norm)
        shape *= rng.lognormal(0, 0.4, (n, 1, 1)) * rng.lognormal(0, 0.2, (n, 1, 2))
        if shapes:
            whole, at = np.concatenate(shapes, axis=1), rng.integers(len(t), size=n)
            joint = whole[rows, rng.integers(whole.shape[1], size=n)] - shape[rows, at]
            beside = whole.mean(axis=1) + rng.normal(0, 0.4, (n, 2))
            shape += np.where(rng.random((n, 1)) < 0.6, joint, beside)[:, None]
        shapes.append(shape)
    return deform(np.concatenate(shapes, axis=1).astype("float32"), rng)


def _scribble(n, rng):
    """Scribble: coils, spirals, zigzags, meanders and lines with corners."""
    t = np.linspace(0, 1, LONG)
    turns = rng.uniform(2.5, 7, (n, 1))
    angles = turns * 2 * np.pi * t
    corners = rng.uniform(0, 2 * np.pi, (n, 12))
    pieces = (rng.uniform(6, 12, (n, 1)) * t).astype(int)
    waves = sum(rng.normal(0, 1.5, (n, 1)) * np.sin(angles * rng.random((n, 1))) for _ in range(3))
    zigzag = rng.uniform(0.9, 1.35, (n, 1)) * np.sign(np.sin(angles))
    headings = [angles, angles, zigzag, waves + angles / 3, np.take_along_axis(corners, pieces, 1)]
    style = rng.integers(len(headings), size=n)
    paths = _walk(np.stack(headings)[style, np.arange(n)], np.ones((n, 1)))
    coils, spirals = style == 0, style == 1
    paths[coils, :, 0] += rng.uniform(0.3, 1.2, (n, 1))[coils] / turns[coils] * t
    paths[spirals] = np.cumsum(np.diff(paths[spirals], axis=1, prepend=0) * t[:, None], axis=1)
    angle = rng.uniform(0, 2 * np.pi, n)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ijn,nkj->nki", turn, paths)


def _of_height_1(paths):
    """Bring paths into a box that begins at (0, 0) and is 1 high, or 1.5 wide."""
    paths = paths - paths.min(axis=1, keepdims=True)
    size = paths.max(axis=1, keepdims=True)
    return paths / np.maximum(size[..., 1:], size[..., :1] / 1.5)


def _write_together(n, rng):
    """Write two or three digits or letters that run together."""
    parts, right = [], np.zeros((n, 1))
    for _ in range(rng.choice([2, 2, 3])):
        digits = pen_paths(rng.integers(0, 10, n), rng)
        letters = _write("letter")(n, rng)
        part = _of_height_1(digits if rng.random() < 0.6 else letters)
        part = part * rng.uniform(0.7, 1, (n, 1, 1))
        part[..., 0] += right + rng.uniform(-0.12, 0.06, (n, 1))
        part[..., 1] += rng.normal(0, 0.08, (n, 1))
        right = part[..., 0].max(axis=1, keepdims=True)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _strike_out(n, rng):
    """Strike digits out: with a scribble, four lines or a double cross."""
    digits = _of_height_1(pen_paths(rng.integers(0, 10, n), rng))
    middle = digits.mean(axis=1, keepdims=True)
    crossing = np.pi / 2 * (np.arange(4) % 2) * (rng.random((n, 1)) < 0.5)
    angle = rng.uniform(0, np.pi, (n, 1)) + crossing + rng.normal(0, 0.15, (n, 4))
    along = np.linspace(-0.65, 0.65, LONG // 4)[:, None] * rng.uniform(0.8, 1.2, (n, 4, 1, 1))
    lines = along * np.stack([np.cos(angle), np.sin(angle)], axis=2)[:, :, None]
    lines = (lines + rng.normal(0, 0.13, (n, 4, 1, 2))).reshape(n, LONG, 2)
    scribble = _of_height_1(_scribble(n, rng))
    scribble -= scribble.mean(axis=1, keepdims=True)
    over = np.where(rng.random((n, 1, 1)) < 0.6, lines, scribble)
    return np.concatenate([digits, over + middle], axis=1)


def _turn_digits(n, rng):
    """Turn digits onto their side, and mirror those that are no digits when mirrored."""
    sideways = pen_paths(rng.choice([2, 3, 4, 5], n), rng)[..., ::-1]
    sideways = sideways * np.where(rng.random((n, 1, 1)) < 0.5, [1, -1], [-1, 1])
    mirrored = pen_paths(rng.choice([3, 4, 6, 9], n), rng) * [-1, 1]
    return np.where(rng.random((n, 1, 1)) < 0.6, sideways, mirrored)


def _rule(n, rng):
    """Draw remains of ruled paper: three to five horizontal or vertical lines, or both."""
    count = rng.integers(3, 6)
    ends = rng.uniform(-0.6, 0.6, (n, count, 1, 2)) + np.array([-0.5, 0.5])
    t = np.linspace(0, 1, LONG // count)[:, None]
    along = ends[..., :1] * (1 - t) + ends[..., 1:] * t
    across = np.linspace(-0.5, 0.5, count)[:, None, None] + rng.normal(0, 0.1, (n, count, 1, 1))
    across = np.broadcast_to(across, along.shape)
    upright = (rng.random((n, 1)) < 0.5) ^ ((rng.random((n, 1)) < 0.6) & (np.arange(count) % 2))
    lines = np.concatenate([along, across], axis=3)
    lines = np.where(upright[..., None, None].astype(bool), lines[..., ::-1], lines)
    return deform(0.6 * lines.reshape(n, -1, 2).astype("float32"), rng)


def _with_pen(paths_of: Callable, width: float = 1) -> Callable:
    """Return a function that draws the paths of another one."""

    def images(n, rng):
        paths = paths_of(n, rng).astype("float32")
        return draw(paths, width * press(n, rng, paths.shape[1]))

    return images


KINDS: dict[str, tuple[float, Callable]] = {  # kind: share, and how to draw n of them
    "letters": (0.31, _with_pen(_write("letter"))),
    "scripts": (0.20, _with_pen(_write("script"))),
    "signs": (0.10, _with_pen(_write("sign"))),
    "doodles": (0.06, _with_pen(_write("doodle"), CROWDED)),
    "glyphs": (0.07, _with_pen(_glyph)),
    "things": (0.06, _with_pen(_thing, 0.65)),
    "scribbles": (0.05, _with_pen(_scribble, CROWDED)),
    "run together": (0.04, _with_pen(_write_together, CROWDED)),
    "struck out": (0.03, _with_pen(_strike_out, CROWDED)),
    "turned": (0.04, _with_pen(_turn_digits)),
    "rules": (0.02, _with_pen(_rule)),
    "blots": (0.02, _with_pen(_glyph, BLOT)),
}


def draw_nondigits(count: int, seed: int = 0) -> np.ndarray:
    """Draw non-digits of all kinds, in random order.

    Args:
        count: number of images, 784 bytes each.
        seed: the same count and seed give the same images.

    Returns:
        uint8 (count, 28, 28), ink bright on black.
    """
    rng = np.random.default_rng(seed)
    shares = [share for share, _ in KINDS.values()]
    ends = np.rint(np.cumsum(shares) / sum(shares) * count).astype(int)
    images = np.empty((count, 28, 28), "uint8")
    for (_, draw_kind), start, end in zip(KINDS.values(), [0, *ends], ends):
        for first in range(start, end, BATCH):
            last = min(first + BATCH, end)
            images[first:last] = draw_kind(last - first, rng)
    return rng.permutation(images)
