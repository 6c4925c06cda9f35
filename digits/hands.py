"""Write single digits, letters and signs as one person does: a hand, its pen and its pressure.

A sign is written as a coverage: float32 (h, w) in 0-1, how much of each pixel the pen covers.
"""

import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from digits.nondigits import nondigit_templates
from digits.papers import chance, log_uniform
from digits.pen import follow
from digits.synthetic import pen_paths

INVENTED = "invented"  # name of a sign of random strokes, different each time
NARROWEST = 0.35  # width over height, below which a sign's height is taken from its width


@functools.cache
def sign_names() -> np.ndarray:
    """Return the names of all letters, signs, doodles and characters of other scripts."""
    return np.unique(nondigit_templates().names)


@functools.cache
def mnist_digits() -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Return MNIST's training images and, for each digit, the indices of its images.

    They are read from Keras's cache without Keras, whose import takes seconds in each process.

    Returns:
        uint8 (60000, 28, 28) and ten arrays; None where MNIST is not in the cache.
    """
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"), "datasets", "mnist.npz")
    if not cache.exists():
        return None
    with np.load(cache) as arrays:
        images, labels = arrays["x_train"], arrays["y_train"]
    return images, [np.flatnonzero(labels == digit) for digit in range(10)]


class Hand:
    """One writer: two ways to write each digit, always the same pen.

    Args:
        rng: NumPy's random Generator.
        pen: width over height of a digit.
    """

    def __init__(self, rng: np.random.Generator, pen: float):
        self.rng, self.pen = rng, pen
        self.paths = pen_paths(np.repeat(np.arange(10), 2), rng).reshape(10, 2, -1, 2)
        self.mnist = mnist_digits() if chance(rng, 0.25) else None
        self.contrast = rng.uniform(1.2, 4)  # of MNIST's soft edges
        self.restless = rng.uniform(0.01, 0.04)
        self.limbs = rng.uniform(0.85, 1.25, 2) if chance(rng, 0.3) else np.ones(2)
        self.pressure = rng.uniform(0.1, 0.45) if chance(rng, 0.4) else 0.0
        self.nib = rng.normal(0, 0.5, 2) if chance(rng, 0.1) else None  # a broad edge

    def write(self, sign: int | str, height: float, turn: float = 0.0) -> np.ndarray:
        """Write a digit (int) or a letter or sign (its name): a coverage.

        Args:
            sign: 0-9, a name of a non-digit, or INVENTED.
            height: in pixels; wide and flat signs are lower.
            turn: in radians, clockwise.
        """
        if sign == INVENTED:
            return self._draw(_invent(self.rng), height, turn)
        if isinstance(sign, str):
            styles = np.flatnonzero(nondigit_templates().names == sign)
            path = follow(nondigit_templates(), self.rng.choice(styles, 1), self.rng)[0]
            return self._draw(path, height, turn)
        if self.mnist:
            return self._copy(*self.mnist, sign, height)
        path = self.paths[sign, int(chance(self.rng, 0.3))].copy()
        if chance(self.rng, 0.3 if sign == 1 else 0.12):  # narrow, above all a 1
            path[:, 0] *= self.rng.uniform(0.15 if sign == 1 else 0.45, 0.9)
        elif chance(self.rng, 0.08):
            path[:, 0] *= self.rng.uniform(1.1, 1.6)
        return self._draw(path, height, turn)

    def _draw(self, path, height, turn):
        path = self._vary(path)
        cos, sin = np.cos(turn), np.sin(turn)
        path = path @ np.array([[cos, sin], [-sin, cos]], "float32")
        width = min(max(self.pen * height, 0.8), 0.35 * height)
        path = path - path.min(axis=0)
        across, down = path.max(axis=0)
        scale = max(height - width, 2) / max(down, NARROWEST * across, 1e-3)
        corner = width / 2 + 1 + self.rng.random(2)
        return self._follow(path * scale + corner, width, 4 if height < 28 else 2)

    def _vary(self, path):
        """Lengthen outer strokes, then bend the path a little, differently each time."""
        path = np.sign(path) * 0.5 * (2 * np.abs(path)) ** self.limbs
        along = np.linspace(0, np.pi, len(path))[:, None]
        bends = self.rng.normal(0, self.restless, (4, 2))
        return path + sum(np.cos(k * along) * bend for k, bend in enumerate(bends, 1))

    def _follow(self, path, width, scale):
        """Draw along the path, `scale` times larger, and average."""
        columns, rows = np.ceil(path.max(axis=0) + width / 2 + 1.5).astype(int)
        sheet = Image.new("L", (scale * columns, scale * rows))
        draw, path, width = ImageDraw.Draw(sheet), path * scale, width * scale
        steps = np.hypot(*np.diff(path, axis=0).T)
        lifts = np.flatnonzero(steps > max(2.6 * np.median(steps), 2 * scale)) + 1
        wave = 1 + self.pressure * np.sin(np.arange(len(path)) / 12 + self.rng.uniform(0, 6))
        for part in np.split(np.arange(len(path)), lifts):
            if self.nib is not None:
                _draw_nib(draw, path[part], self.nib * width, max(1, width / 3))
            elif self.pressure and width > 3:
                _draw_dabs(draw, path[part], width * wave[part])
            else:
                _draw_line(draw, path[part], width)
        return np.asarray(sheet.reduce(scale), "float32") / 255

    def _copy(self, images, indices, digit, height):
        """Copy one of the images of a digit."""
        glyph = images[self.rng.choice(indices[digit])]
        rows, columns = np.flatnonzero(glyph.any(1)), np.flatnonzero(glyph.any(0))
        image = Image.fromarray(glyph[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        if height > 60 and chance(self.rng, 0.3):
            image = image.filter(ImageFilter.MinFilter(3)) if (glyph > 0).sum() > 140 else image
        scale = height / max(image.height, NARROWEST * image.width)
        width = max(2, round(image.width * scale * self.rng.uniform(0.85, 1.2)))
        size = width, max(3, round(image.height * scale))
        kernel = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
        soft = np.asarray(image.resize(size, kernel), "float32")
        return np.pad(((soft - 128) * self.contrast + 128).clip(0, 255) / 255, 1)


def _invent(rng):
    """Return the path of a sign of 2 to 9 strokes, like those of an unknown script."""
    strokes = []
    for _ in range(rng.integers(2, 10)):
        start = rng.uniform(-0.5, 0.5, 2)
        direction = [(1, 0), (0, 1), (0.7, 0.7), (-0.7, 0.7)][
            rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])
        ]
        reach, bend = rng.uniform(0.2, 0.9), rng.normal(0, 0.1, 2) * chance(rng, 0.4)
        t = np.arange(0, reach, 0.03)[:, None]
        strokes.append(
            (start - np.multiply(direction, reach / 2) + t * direction + bend * t**2).clip(
                -0.5, 0.5
            )
        )
    return np.concatenate(strokes).astype("float32")


def _dot(draw, centre, width):
    (x, y), radius = centre, width / 2
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)


def _draw_line(draw, path, width):
    points = [tuple(point) for point in path.tolist()]
    if len(points) > 1:
        draw.line(points, fill=255, width=max(1, round(width)), joint="curve")
    if width > 2.5:
        _dot(draw, points[0], width)
        _dot(draw, points[-1], width)


def _draw_dabs(draw, path, widths):
    for start, end, width in zip(path.tolist(), path[1:].tolist(), widths):
        draw.line([*start, *end], fill=255, width=max(1, round(width)))
        _dot(draw, start, width)
    _dot(draw, path[-1], widths[-1])


def _draw_nib(draw, path, nib, width):
    """Sweep a straight edge along the path, as a broad pen does."""
    for start, end in zip(path - nib / 2, path[1:] - nib / 2):
        corners = [tuple(corner) for corner in (start, end, end + nib, start + nib)]
        draw.polygon(corners, fill=255, outline=255, width=max(1, round(width)))


def scrawl(rng: np.random.Generator, length: float, height: float, pen: float) -> np.ndarray:
    """Write a cursive word that cannot be read: a coverage.

    Args:
        rng: NumPy's random Generator.
        length, height: in pixels.
        pen: width in pixels.
    """
    turns = max(3.0, length / height * rng.uniform(1.5, 3))
    t = np.arange(0, turns, 1 / 16)
    tall = 0.3 + 0.7 * (rng.random(len(t) // 16 + 2) < 0.3)  # few letters rise or fall far
    lift = np.interp(t, np.arange(len(tall)), tall) * rng.choice([-1, 1], p=[0.25, 0.75])
    phase = 2 * np.pi * t + rng.normal(0, 0.6, len(tall))[np.minimum(t.astype(int), len(tall) - 1)]
    x = length * t / turns + height * rng.uniform(0.1, 0.3) * np.sin(phase)
    y = height * (0.5 - 0.5 * lift * np.cos(phase))
    path = np.stack([x + rng.uniform(-0.2, 0.5) * (height - y), y], axis=1)
    path = path - path.min(axis=0) + pen / 2 + 1
    width, depth = np.ceil(path.max(axis=0) + pen / 2 + 1.5).astype(int)
    sheet = Image.new("L", (3 * width, 3 * depth))
    _draw_line(ImageDraw.Draw(sheet), path * 3, pen * 3)
    return np.asarray(sheet.reduce(3), "float32") / 255


def pen_width(rng: np.random.Generator, photo: bool) -> float:
    """Draw a pen's width relative to a digit's height: thin in photos, brushes on canvases."""
    if photo and chance(rng, 0.5):
        return log_uniform(rng, 0.012, 0.07)
    return log_uniform(rng, 0.02, 0.3)
