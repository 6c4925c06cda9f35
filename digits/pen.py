"""Draw digits and non-digits with a pen that follows templates of strokes as a hand does.

A template's points are moved at random, and its shape is stretched, slanted and bent; a pen of
random width and pressure follows it. The images have MNIST's form: a 20x20 box, the ink's centre of
mass at (14, 14).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

SAMPLES = 72  # points of a pen path, about one per pixel
BATCH = 128  # images that are drawn together: their pixels fit in a processor's cache


class Templates(NamedTuple):
    """Pen paths before they vary: path = basis @ points.

    Attributes:
        points: float32 (t, p, 2), x and y in -0.5 to 0.5, padded with zeros.
        bases: float32 (t, SAMPLES, p), Catmull-Rom curves through the points.
        names: str (t,), what each template is.
    """

    points: np.ndarray
    bases: np.ndarray
    names: np.ndarray


def load_templates(path: Path) -> Templates:
    """Load templates, one "name: strokes" per line; the first lines explain the format."""
    lines = [line.split("  #")[0] for line in path.read_text("utf-8").splitlines()]
    pairs = [line.split(": ", 1) for line in lines if not line.startswith("# ")]
    prepared = [_points_and_basis(strokes) for _, strokes in pairs]
    most = max(len(points) for points, _ in prepared)
    points = np.stack([np.pad(p, [(0, most - len(p)), (0, 0)]) for p, _ in prepared])
    bases = np.stack([np.pad(b, [(0, 0), (0, most - b.shape[1])]) for _, b in prepared])
    return Templates(points, bases, np.array([name for name, _ in pairs]))


def _points_and_basis(text):
    """Parse strokes: points float32 (p, 2), each once, and basis float32 (SAMPLES, p)."""
    strokes = []
    for stroke in text.split("|"):
        words = [word for word in stroke.split() for _ in range(1 + word.endswith("!"))]
        strokes.append([tuple(map(int, word.strip("!").split(","))) for word in words])
    unique = sorted({point for stroke in strokes for point in stroke})
    points = np.array(unique, "float32") / 100 - 0.5
    return points, _basis(points, [[unique.index(point) for point in each] for each in strokes])


def _basis(points, strokes):
    """Return Catmull-Rom weights of the points, float32 (SAMPLES, p), at equal distances."""
    pieces = []  # (length, points before, at, at the end of and after a piece of curve)
    for index in strokes:
        for a, b, c, d in zip([index[0], *index], index, index[1:], [*index[2:], index[-1]]):
            pieces.append((np.linalg.norm(points[c] - points[b]), a, b, c, d))
    ends = np.cumsum([length for length, *_ in pieces])
    basis = np.zeros((SAMPLES, len(points)), "float32")
    for row, at in zip(basis, (np.arange(SAMPLES) + 0.5) / SAMPLES * ends[-1]):
        piece = np.searchsorted(ends, at)
        length, a, b, c, d = pieces[piece]
        t = 1 - (ends[piece] - at) / length
        row[a] += (-t + 2 * t**2 - t**3) / 2
        row[b] += (2 - 5 * t**2 + 3 * t**3) / 2
        row[c] += (t + 4 * t**2 - 3 * t**3) / 2
        row[d] += (-(t**2) + t**3) / 2
    return basis


def follow(templates: Templates, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Follow templates as a hand does, never twice the same.

    Args:
        templates: as loaded.
        chosen: int (n,), the templates' indices.
        rng: random generator.

    Returns:
        Pen paths, float32 (n, SAMPLES, 2): x and y, downwards; they are about 1 high.
    """
    points = templates.points[chosen]
    points = points + rng.normal(0, 0.03, points.shape).astype("float32")
    return deform(templates.bases[chosen] @ points, rng)


def deform(paths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bend, stretch, slant and turn pen paths, float32 (n, k, 2); they may change in place."""
    n = len(paths)
    bend = rng.normal(0, 0.055, (n, 2, 6)).astype("float32")
    x, y = paths[..., 0], paths[..., 1]
    waves = np.stack([x * y, x * x, y * y, np.sin(5 * x), np.sin(5 * y), np.cos(6 * y)], axis=1)
    paths += np.einsum("ncw,nwk->nkc", bend, waves)
    turn, slant = rng.normal(0, 0.14, n), rng.normal(-0.15, 0.25, n)
    aspect = rng.uniform(0.55, 1.25, n)
    affine = np.stack([aspect, slant, turn, np.ones(n)], axis=1).reshape(n, 2, 2)
    affine[:, 1, 0] *= aspect
    affine[:, 0, 1] -= turn
    return np.einsum("nij,nkj->nki", affine.astype("float32"), paths)


def press(n: int, rng: np.random.Generator, samples: int = SAMPLES) -> np.ndarray:
    """Return the pen's radius in pixels along n paths, float32 (n, samples)."""
    width, wave, phase = rng.normal(size=(3, n, 1))
    pressure = np.sin(np.linspace(0, 5, samples) + 3 * phase)
    return (1.35 * np.exp(0.3 * width + 0.12 * wave * pressure)).clip(0.6, 3.2).astype("float32")


def draw(paths: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Draw with a round pen, in MNIST's form.

    Args:
        paths: float32 (n, k, 2), of any size.
        radii: float32 (n, k), of the pen in pixels.

    Returns:
        uint8 (n, 28, 28), ink bright.
    """
    thick, thickest = (r[:, None, None] for r in (radii.mean(axis=1), radii.max(axis=1)))
    least, most = paths.min(axis=1, keepdims=True), paths.max(axis=1, keepdims=True)
    scale = (19 - 2 * thickest) / (most - least).max(axis=2, keepdims=True)
    paths = (paths - least) * scale + thickest + 0.5  # the ink's soft edge takes half a pixel
    paths += np.rint(14 - paths.mean(axis=1, keepdims=True))
    pixels = np.arange(0.5, 28, dtype="float32")
    across, down = (((pixels - paths[..., i, None]) / radii[..., None]) ** 2 for i in (0, 1))
    nearest = np.full((len(paths), 28, 28), np.inf, "float32")
    for k in range(paths.shape[1]):  # squared distance to the pen, in radii
        np.minimum(nearest, down[:, k, :, None] + across[:, k, None, :], out=nearest)
    ink = (0.5 + thick * (1 - np.sqrt(nearest))).clip(0, 1)
    images = np.rint(ink * (255 / ink.max(axis=(1, 2), keepdims=True))).astype("uint8")
    centre(images)
    return images


def centre(images: np.ndarray) -> None:
    """Shift uint8 (n, 28, 28), in place, to where the centre of mass rounds to (14, 14)."""
    total = images.sum(axis=(1, 2), dtype="float32")
    pixels = np.arange(28, dtype="float32")
    y = np.rint(14 - images.sum(axis=2, dtype="float32") @ pixels / total).astype(int)
    x = np.rint(14 - images.sum(axis=1, dtype="float32") @ pixels / total).astype(int)
    for i in np.flatnonzero((y != 0) | (x != 0)):
        images[i] = np.roll(images[i], (y[i], x[i]), axis=(0, 1))
