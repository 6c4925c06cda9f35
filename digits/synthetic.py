"""Draw digits that look handwritten: training data without a download, and styles MNIST lacks.

Each digit has several templates of pen strokes. A drawn digit is a template whose points are moved
at random, and whose shape is stretched, slanted and bent; a pen of random width and pressure
follows it. It has MNIST's form: a 20x20 box, the ink's centre of mass at (14, 14).
"""

import functools

import numpy as np

SAMPLES = 72  # points of the pen on its way, about one per pixel
BATCH = 128  # pictures that are drawn together: their pixels fit in a processor's cache

# Strokes on a grid of 100x100, y downwards: "x,y x,y ... | x,y ..." with ! behind sharp corners.
TEMPLATES = {
    0: [
        "55,4 22,18 12,52 25,88 50,97 78,82 88,48 76,14 55,4",
        "50,3 30,14 20,50 29,86 50,97 71,86 80,50 70,14 50,3",  # narrow
        "76,14 46,4 14,34 14,72 42,96 82,76 88,36 66,8 50,6",  # slanting, starts on the right
        "38,10 14,40 16,76 44,97 80,82 90,44 74,10 44,3 30,22",  # the ends pass each other
        "62,2 56,12 26,18 12,52 25,88 50,97 78,82 88,48 76,18 50,8",  # open at the top
        "55,4 22,18 12,52 25,88 50,97 78,82 88,48 76,14 55,4 | 82,12 18,90",  # slashed
        "48,14 22,16 8,52 26,88 56,92 86,76 92,40 74,14 48,10",  # wide
        "60,3 36,20 20,52 18,84 34,97 60,80 78,46 80,16 62,3 48,8",
        "64,10 40,6 16,36 14,70 36,95 66,86 86,50 82,22 60,6 34,14",
        "78,24 50,4 22,22 12,60 32,95 64,90 86,60 84,30 70,10",
    ],
    1: [
        "50,3 50,97",
        "62,3 40,97",
        "52,3 46,40 50,97",
        "34,20 54,3! 54,97",  # short flag
        "22,36 56,3! 56,97",  # flag
        "8,52 58,3! 58,97",  # long flag
        "14,44 40,26 62,3! 54,97",  # bent flag
        "30,22 52,3! 52,97 | 24,97 80,97",  # flag and foot
        "16,40 56,3! 54,97 | 22,96 86,95",
        "50,3 50,97 | 26,96 76,96",  # foot only
        "36,8 50,5 51,50 50,92 64,96",  # hooks
        "26,40 62,3! 50,97",
        "18,28 40,18 58,3! 58,97",
        "30,36 48,3! 48,97! 22,97 | 48,97 78,97",
    ],
    2: [
        "14,26 32,6 64,5 80,26 66,54 14,95! 88,93",
        "16,22 40,3 72,12 74,40 46,72 14,94! 50,92 90,95",
        "14,24 36,4 70,8 76,34 48,76 22,94 12,82 28,74 54,88 90,94",  # looped foot
        "18,16 52,3 78,20 64,54 30,84 16,96 40,86 64,94 90,86",  # waved foot
        "12,10 80,8! 14,93! 90,92",  # like a z
        "24,34 20,14 48,2 76,16 72,44 40,76 10,96! 86,96",
        "16,16 46,4 80,20 72,52 36,72 18,94! 56,97 88,84",
        "14,26 36,4 70,10 72,38 46,74 20,92 8,80 22,68 48,80 70,94 94,84",  # a loop, the tail rises
        "22,20 50,3 76,20 66,56 36,86 14,94 8,80 24,72 44,82 62,97 92,92",
        "14,20 44,2 70,16 62,50 34,82 14,88 14,74 34,74 60,90 96,82",
        "10,34 36,14 66,18 66,44 30,80! 60,78 98,74",  # flat and wide
        "18,30 24,8 56,3 72,24 56,54 22,90 12,80 26,74 52,92 94,88",
        "24,14 56,4 72,22 54,54 12,94! 40,86 90,92",
        "28,24 40,6 66,4 76,24 66,50 44,80 28,92 16,86 24,74 42,76 66,92 86,90",
        "20,18 44,2 66,10 68,36 52,70 34,92 18,94 16,82 30,76 50,82 72,97 92,84",
        "30,12 54,2 70,14 64,44 42,84 30,94 22,86 34,78 56,84 84,80",
        "16,36 22,10 52,2 74,18 70,50 48,84 24,97 8,86 20,72 46,80 84,97",
        "8,20 40,10 56,24 44,50 12,84! 44,80 96,78",
        "20,26 36,8 62,8 70,26 58,56 48,80 30,92 22,82 40,76 60,84 90,62",
    ],
    3: [
        "18,14 48,3 78,18 66,40 38,47! 72,54 86,76 60,96 14,88",
        "16,8 80,6! 44,40! 78,50 84,78 52,97 12,86",  # flat top
        "18,18 48,3 76,20 58,42 40,46 68,52 84,74 54,97 14,84",
        "22,10 60,4 74,24 54,44 34,48 64,50 80,70 66,92 34,97 12,86",
        "14,22 40,3 72,14 66,38 34,48! 60,46 88,66 70,94 32,96 10,76",
        "26,6 70,10 68,34 36,46 40,52 74,58 76,88 40,97 20,90",
        "18,20 46,4 70,16 58,34 40,40 60,46 70,66 50,88 8,92",  # a long lower end
        "26,10 54,3 66,18 46,38! 64,48 62,76 36,97 10,88",
        "12,10 46,4 76,12 64,34 34,46 62,52 74,72 50,92 10,84",
        "20,12 44,3 62,14 56,34 42,44 60,56 62,76 44,94 14,96",
        "30,14 56,6 68,20 52,40 40,44! 58,56 56,80 28,97 12,90",
        "10,22 34,6 66,8 70,28 46,44 66,60 68,84 40,97 14,88",
    ],
    4: [
        "26,4 14,54! 86,52 | 68,6 64,97",  # open
        "18,6 20,50! 78,48 | 80,3 74,97",  # square
        "22,4 18,30 26,50 52,54 84,46 | 76,4 70,97",  # a bowl
        "66,97 66,3! 8,66! 92,66",  # closed, in one go
        "62,4! 10,64! 90,60 | 66,34 60,97",
        "56,3 34,34 8,62! 52,64 92,60 | 58,30 56,97",
        "72,3! 14,48! 80,50 | 74,3 70,97",  # closed and pointed, easily a 9
        "14,6 12,44 30,54 66,46 74,4 70,50 66,97",  # like a u with a leg
        "42,3 10,58! 88,58 | 64,32 64,97",
        "32,3 10,44! 74,44 | 68,10 66,97",
        "60,97 62,3! 14,44! 84,44",  # closed and high
        "70,97 72,3! 6,52! 96,54",
        "66,97 68,3 44,14 20,50! 92,48",  # closed and round
    ],
    5: [
        "80,5 28,6! 24,42 58,38 86,62 62,94 14,90",
        "28,6 22,44 60,40 84,66 58,96 12,88 | 28,6 86,4",  # the cap is a stroke of its own
        "34,12 26,46 62,42 82,66 58,96 14,88 | 40,4 90,2",  # with a gap
        "86,8 42,4 26,28 52,48 76,68 52,95 12,90",  # round, like an s
        "84,4 22,4! 22,44! 72,44 84,68 72,92 16,94",  # square
        "76,6 34,8! 28,40! 54,36 78,54 72,84 40,97 14,84",
        "30,8 26,48 56,44 78,60 74,88 40,98 10,84 | 30,8 58,10 88,2",
        "96,3 48,8! 34,40 62,46 68,72 46,95 8,88",  # a long cap
        "92,12 36,14! 30,46 56,44 66,66 50,90 12,92",
        "40,10 30,44 56,42 66,64 50,92 14,90 | 40,10 96,4",
        "90,4 40,14! 30,40 56,42 72,58 58,84 24,96 10,86",
        "70,6 36,10! 32,42 52,40 64,58 48,84 20,97 12,88",
    ],
    6: [
        "70,4 36,28 18,64 34,95 68,92 80,70 56,52 22,68",
        "46,3 22,40 20,80 48,97 78,82 70,56 42,54 20,74",
        "82,10 48,6 16,48 28,92 72,92 84,64 52,48 18,64",  # round
        "60,3 34,34 14,74 36,97 80,92 88,66 60,50 24,62",  # a round belly
        "34,3 18,48 18,86 50,97 82,84 76,60 48,54 20,70",
        "78,4 50,10 24,36 16,74 44,97 72,84 70,58 44,54 22,76",
        "64,2 30,40 20,76 40,96 64,86 66,66 46,60 22,76",
        "56,2 30,40 12,78 30,97 58,86 62,66 44,58 18,76",  # a small belly
        "40,2 16,50 18,90 52,97 86,80 84,58 56,54 20,80",
        "74,2 34,40 12,72 20,95 60,92 90,70 78,54 40,62 18,80",
        "30,2 14,56 22,92 56,96 78,76 62,58 36,66 24,84",
        "44,3 26,34 16,70 26,94 52,90 60,72 44,62 24,76",  # a long stem, a low small belly
        "64,3 40,22 24,56 24,86 46,97 66,82 62,64 42,62 28,80",
        "80,4! 22,4! 22,97! 78,97! 78,52! 24,52",  # square
        "76,8 40,4 20,30 18,80 44,97 80,88 84,62 56,50 20,60",
        "66,24 70,8 52,3 32,24 24,60 36,90 60,94 74,74 60,56 38,58 26,74",  # a hook at the top
        "74,18 60,3 38,12 24,50 30,88 58,97 78,80 66,60 40,58 26,72",
    ],
    7: [
        "12,10 84,8! 42,97",
        "12,14 84,8! 62,42 46,97",
        "14,26 16,8! 86,8! 54,50 44,97",  # a serif
        "14,8 80,12 72,44 60,97",
        "16,22 32,8 86,6! 42,96",
        "12,12 84,8! 44,97 | 30,52 76,48",  # crossed
        "14,24 16,8! 86,8! 44,97 | 34,54 80,50",
        "14,10 50,16 86,6! 60,48 48,97 | 36,50 76,54",
        "24,6 78,4! 50,97",
        "8,24 20,12 50,18 86,8 60,50 44,97",  # a wave
        "10,20 22,8! 50,14 92,6! 50,52 30,97",
        "20,32 24,10! 76,6 66,44 52,97",
        "16,14 50,10 74,12! 60,50 50,97",
        "6,30 14,16 56,10 90,6! 56,56 36,97",
    ],
    8: [
        "74,14 46,3 24,20 50,46 80,72 52,97 18,78 46,50 78,22 62,6",
        "50,46 26,26 50,3 74,24 50,46 20,72 50,97 80,72 50,46",
        "50,46 22,28 40,4 72,10 72,34 50,46 24,60 22,86 54,97 80,78 70,56 50,46",
        "70,8 30,8 34,36 68,60 70,90 30,92 30,66 70,36 72,10",
        "78,10 44,4 28,24 54,48 78,74 50,97 24,80 48,52 84,6",  # open at the top
        "50,3 28,20 50,42 72,20 50,3 | 50,42 20,70 50,97 80,70 50,42",  # two circles
        "76,20 56,4 30,16 40,42 66,64 60,92 32,96 26,76 48,54 72,34 76,20",  # slanting
        "64,6 34,14 34,40 64,64 62,92 34,96 24,76 52,50 80,16",
        "84,10 50,8 30,26 50,46 72,66 60,92 30,95 24,74 50,50 74,28 80,10",
        "60,3 28,14 36,40 70,48 84,74 56,97 20,86 30,58 66,40 76,14 54,4",  # a large lower circle
        "64,12 46,4 36,18 52,40 62,70 50,97 38,80 50,52 66,22",  # narrow
        "72,16 52,3 34,14 42,36 58,54 58,84 42,97 34,82 50,54 74,24",
        "66,22 56,3 38,6 36,26 52,44 62,66 56,92 40,92 40,70 56,44 66,22",
        "80,8 56,4 30,18 44,40 58,60 54,88 36,97 26,84 40,60 84,14",
        "50,50 20,36 22,10 56,3 84,18 78,40 50,50 22,66 22,90 54,97 80,84 76,62 50,50",
    ],
    9: [
        "74,26 52,4 20,20 28,48 58,46 78,20 70,58 60,97",
        "78,20 46,3 20,28 44,52 76,30 78,8! 74,97",  # straight
        "76,20 48,3 22,24 44,50 76,26 80,64 64,95 24,90",  # round tail
        "76,12 40,5 22,30 48,46 74,22 74,70 50,97 16,84",  # like a g
        "78,8 44,4 18,26 36,48 76,34 80,10! 78,66 66,95 34,97 14,80",
        "70,10 36,6 24,32 46,44 72,20 62,56 36,97",  # slanting
        "72,24 50,4 22,18 26,42 58,44 76,18 76,60 58,90 26,96 18,84 40,80 84,72",  # looped tail
        "80,6 30,10 20,38 50,48 78,30 80,6! 76,97",
        "74,10 42,8 22,34 40,54 68,36 80,8! 70,50 56,97",  # pointed
        "70,18 46,4 26,24 40,46 66,34 74,14 72,50 66,97",
        "82,22 56,3 20,18 18,42 52,46 82,22 64,60 40,97",
        "62,12 38,14 26,34 44,44 66,20 64,58 60,97",
        "66,8 40,6 28,24 44,38 66,22 62,60 54,97",  # a small loop
        "64,14 48,4 34,16 40,32 58,30 66,14 60,50 42,97",
        "82,14 54,3 26,20 24,38 46,46 74,28 82,14! 64,58 52,97",
        "70,22 52,6 30,12 26,32 46,40 66,26 70,22! 70,60 72,97",
        "74,8 40,4 18,22 26,44 56,40 74,16 58,60 26,97",
        "72,10 46,2 28,20 40,40 64,34 74,10 80,50 66,86 36,97 8,84",  # a wide open tail
        "70,16 50,3 32,14 36,34 58,36 72,16 78,58 60,90 30,97 12,82",
        "66,24 62,6 44,3 34,18 44,34 62,32 70,12! 80,56 70,92 40,97 16,90 10,80",
        "74,20 56,3 30,10 26,36 52,42 72,24 76,6! 78,94! 16,96",  # a foot
        "76,14 52,2 24,14 24,40 50,46 72,30 78,8 80,48 74,86 50,98 22,94 14,82",
        "86,34 82,12 56,3 30,14 26,36 44,46 70,40 84,20 82,60 60,88 6,95",
        "64,16 44,6 28,22 36,42 56,36 66,14 68,50 62,80 44,96 26,88 22,76",  # like a g
        "70,20 54,3 32,8 26,28 42,42 64,30 72,14! 72,60 64,90 44,97 20,92",
        "66,30 68,10 50,2 34,14 34,34 52,40 66,28 70,56 62,84 40,97 18,94 8,84",
        "72,26 62,4 40,4 28,24 38,42 60,38 72,22 76,52 68,80 46,96 14,92",
        "60,14 46,4 34,18 42,34 58,26 62,12 64,50 56,84 36,96 20,84",
        "74,12 52,3 32,16 32,36 52,40 70,24 76,10 74,44 58,78 30,97 4,96",
        "68,22 66,6 46,2 28,16 34,36 56,38 68,22 72,48 72,76 56,96 30,96 20,86",
    ],
}


def _strokes_to_basis(template):
    """Prepare a template: the pen's way is `basis @ points`, a Catmull-Rom curve.

    Returns:
        points float32 (p, 2) in -0.5 to 0.5, each place once, and basis float32 (SAMPLES, p).
    """
    strokes = []
    for stroke in template.split("|"):
        words = [word for word in stroke.split() for _ in range(1 + word.endswith("!"))]
        strokes.append([tuple(map(int, word.strip("!").split(","))) for word in words])
    places = sorted({place for stroke in strokes for place in stroke})
    points = np.array(places, "float32") / 100 - 0.5
    pieces = []  # (length, places before, at, at the end of and after a piece of curve)
    for stroke in strokes:
        index = [places.index(place) for place in stroke]
        for a, b, c, d in zip([index[0], *index], index, index[1:], [*index[2:], index[-1]]):
            pieces.append((np.linalg.norm(points[c] - points[b]), a, b, c, d))
    ends = np.cumsum([length for length, *_ in pieces])
    basis = np.zeros((SAMPLES, len(places)), "float32")
    for row, way in zip(basis, (np.arange(SAMPLES) + 0.5) / SAMPLES * ends[-1]):
        length, a, b, c, d = pieces[np.searchsorted(ends, way)]
        t = 1 - (ends[np.searchsorted(ends, way)] - way) / length
        row[a] += (-t + 2 * t**2 - t**3) / 2
        row[b] += (2 - 5 * t**2 + 3 * t**3) / 2
        row[c] += (t + 4 * t**2 - 3 * t**3) / 2
        row[d] += (-(t**2) + t**3) / 2
    return points, basis


@functools.cache
def _prepare_templates():
    """Stack all templates: points (t, p, 2), bases (t, SAMPLES, p), digits (t,)."""
    prepared = [_strokes_to_basis(text) for digit in TEMPLATES for text in TEMPLATES[digit]]
    most = max(len(points) for points, _ in prepared)
    points = np.stack([np.pad(p, [(0, most - len(p)), (0, 0)]) for p, _ in prepared])
    bases = np.stack([np.pad(b, [(0, 0), (0, most - b.shape[1])]) for _, b in prepared])
    return points, bases, np.repeat(list(TEMPLATES), [len(TEMPLATES[d]) for d in TEMPLATES])


def _deform(way, rng):
    """Bend, stretch, slant and turn the pen's ways: float32 (n, SAMPLES, 2), in place."""
    n = len(way)
    bend = rng.normal(0, 0.055, (n, 2, 6)).astype("float32")
    x, y = way[..., 0], way[..., 1]
    waves = np.stack([x * y, x * x, y * y, np.sin(5 * x), np.sin(5 * y), np.cos(6 * y)], axis=1)
    way += np.einsum("ncw,nwk->nkc", bend, waves)
    turn, slant = rng.normal(0, 0.14, n), rng.normal(-0.15, 0.25, n)
    aspect = rng.uniform(0.55, 1.25, n)
    affine = np.stack([aspect, slant, turn, np.ones(n)], axis=1).reshape(n, 2, 2)
    affine[:, 1, 0] *= aspect
    affine[:, 0, 1] -= turn
    return np.einsum("nij,nkj->nki", affine.astype("float32"), way)


def _draw_way(way, radius):
    """Draw with a round pen into a 20x20 box, its centre of mass at (14, 14) of 28x28.

    Args:
        way: float32 (n, SAMPLES, 2).
        radius: float32 (n, SAMPLES), of the pen in pixels.

    Returns:
        uint8 (n, 28, 28).
    """
    thick, thickest = (r[:, None, None] for r in (radius.mean(axis=1), radius.max(axis=1)))
    least, most = way.min(axis=1, keepdims=True), way.max(axis=1, keepdims=True)
    scale = (19 - 2 * thickest) / (most - least).max(axis=2, keepdims=True)
    way = (way - least) * scale + thickest + 0.5  # the ink's soft edge takes half a pixel
    way += np.rint(14 - way.mean(axis=1, keepdims=True))
    pixels = np.arange(0.5, 28, dtype="float32")
    across, down = (((pixels - way[..., i, None]) / radius[..., None]) ** 2 for i in (0, 1))
    nearest = np.full((len(way), 28, 28), np.inf, "float32")
    for k in range(SAMPLES):  # squared distance to the pen, in radii
        np.minimum(nearest, down[:, k, :, None] + across[:, k, None, :], out=nearest)
    ink = (0.5 + thick * (1 - np.sqrt(nearest))).clip(0, 1)
    return np.rint(ink * (255 / ink.max(axis=(1, 2), keepdims=True))).astype("uint8")


def _centre(images):
    """Shift by whole pixels to where the centre of mass rounds to (14, 14), in place."""
    total = images.sum(axis=(1, 2), dtype="float32")
    places = np.arange(28, dtype="float32")
    y = np.rint(14 - images.sum(axis=2, dtype="float32") @ places / total).astype(int)
    x = np.rint(14 - images.sum(axis=1, dtype="float32") @ places / total).astype(int)
    for i in np.flatnonzero((y != 0) | (x != 0)):
        images[i] = np.roll(images[i], (y[i], x[i]), axis=(0, 1))


def pen_ways(labels, rng):
    """Move a pen like a hand that writes these digits.

    Args:
        labels: int (n,), 0-9.
        rng: NumPy's random Generator.

    Returns:
        float32 (n, SAMPLES, 2): x and y, downwards; the digits are about 1 high.
    """
    points, bases, digits = _prepare_templates()
    chosen = np.array([rng.choice(np.flatnonzero(digits == label)) for label in labels])
    moved = points[chosen] + rng.normal(0, 0.03, points[chosen].shape).astype("float32")
    return _deform(bases[chosen] @ moved, rng)


def _pen_radii(n, rng):
    """Press the pen: its radius in pixels of a 20x20 digit along n ways, float32 (n, SAMPLES)."""
    width, wave, phase = rng.normal(size=(3, n, 1))
    pressure = np.sin(np.linspace(0, 5, SAMPLES) + 3 * phase)
    return (1.35 * np.exp(0.3 * width + 0.12 * wave * pressure)).clip(0.6, 3.2).astype("float32")


def draw_digits(n, seed=0):
    """Draw n digits, as many of each, in random order.

    Args:
        n: number of pictures, 784 bytes each.
        seed: int; the same n and seed give the same pictures.

    Returns:
        images uint8 (n, 28, 28), ink bright on black, and labels uint8 (n,), 0-9.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation((np.arange(n) % 10).astype("uint8"))
    images = np.empty((n, 28, 28), "uint8")
    for start in range(0, n, BATCH):
        batch = slice(start, start + BATCH)
        ways = pen_ways(labels[batch], rng)
        images[batch] = _draw_way(ways, _pen_radii(len(ways), rng))
        _centre(images[batch])
    return images, labels
