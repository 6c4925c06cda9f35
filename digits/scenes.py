"""Draw scenes to train the finder on: digits and non-digits on paper, boards and canvases.

Everything is synthetic, except that a quarter of the writers copy MNIST's training images.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from digits import camera, decoys, layouts
from digits.papers import (
    SIDE,
    board_colour,
    chance,
    ink_colour,
    light,
    log_uniform,
    paper,
    paper_colour,
    rules,
    smooth_noise,
)

LAYOUTS = (  # share, layout
    (0.25, layouts.large_digit),
    (0.18, layouts.number),
    (0.20, layouts.rows),
    (0.09, layouts.grid),
    (0.05, layouts.form),
    (0.06, decoys.prose),
    (0.06, decoys.large_sign),
    (0.05, decoys.doodle),
    (0.05, decoys.empty_table),
    (0.01, decoys.printed_sudoku),
)
ADDITIONS = ((0.10, decoys.frame), (0.08, decoys.large_print), (0.12, decoys.dirt))
VISIBLE = 12.0  # mean difference of the channels, of 255, that most of the ink must make


class Scene(NamedTuple):
    """A picture and its ground truth.

    Attributes:
        picture: uint8 (SIDE, SIDE, 3).
        ink: uint8 (SIDE, SIDE), 255 where the digits' ink covers all of a pixel.
        owner: uint8 (SIDE, SIDE), 1 + index of the digit a pixel belongs to, 0 for none.
        labels: uint8 (n,), the digits, 0-9.
    """

    picture: np.ndarray
    ink: np.ndarray
    owner: np.ndarray
    labels: np.ndarray


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene."""
    kind = rng.choice(["paper", "board", "canvas"], p=[0.74, 0.1, 0.16])
    page = layouts.Page(rng, photo=kind != "canvas")
    layout = rng.choice(len(LAYOUTS), p=[share for share, _ in LAYOUTS])
    LAYOUTS[layout][1](page)
    for probability, addition in ADDITIONS:
        if chance(rng, probability):
            addition(page)
    colour = _background(kind, rng)
    picture = paper(rng, colour) if page.photo else np.full((SIDE, SIDE, 3), colour, "float32")
    shade = light(rng) if page.photo else np.ones((1, 1), "float32")
    least = VISIBLE + 2.5 * _roughness(picture * shade[..., None])
    picture, ink, seen = _write(_print(picture, page, colour), page, shade, least)
    if page.photo and not page.labels and chance(rng, 0.2):
        picture = decoys.things(picture, rng)
    return _take(picture, ink, page, seen, shade)


def _background(kind, rng):
    if kind == "paper":
        return paper_colour(rng)
    if kind == "board":
        return board_colour(rng)
    return np.full(3, rng.choice([0, 255, 255])) if chance(rng, 0.75) else rng.uniform(0, 255, 3)


def _print(picture, page, colour):
    """Add the paper's rules, the lines and boxes, and the print."""
    rng = page.rng
    pen = ink_colour(rng, colour)
    lines = np.asarray(page.lines.reduce(2), "float32") / 255
    if chance(rng, 0.25):  # drawn by a dry pen
        lines = lines * (0.8 + 0.4 * smooth_noise(rng, 10)).clip(0, 1)
    layers = [(lines, _line_colour(rng, colour, pen)), (page.printed, ink_colour(rng, colour))]
    if chance(rng, 0.26 if page.photo else 0.06):
        layers.insert(0, (rules(rng), _line_colour(rng, colour, pen)))
    for cover, ink in layers:
        if cover.any():
            picture = picture + (ink - picture) * (cover * rng.uniform(0.15, 1))[..., None]
    return picture


def _line_colour(rng, colour, pen):
    """Draw a colour for lines: the paper's, darker or bluish, or any pen's."""
    if chance(rng, 0.3):
        return pen
    if chance(rng, 0.3):
        return ink_colour(rng, colour)
    blue = (1, 1, 1) if chance(rng, 0.6) else (0.6, 0.8, 1)
    return colour * rng.uniform(0.2, 0.9) * np.array(blue)


def _roughness(picture):
    """Return the spread of the texture that a stroke must stand out from, of 255."""
    grey = Image.fromarray(picture.mean(-1).astype("float32"))
    coarse = grey.reduce(16).resize(grey.size, Image.Resampling.BICUBIC)
    return float(np.std(np.asarray(grey) - np.asarray(coarse)))


def _write(picture, page, shade, least):
    """Add the ink; return the picture, the ink that remains to be found, and its contrast.

    Under the light `shade`, ink is made stronger until it differs from the paper by `least`; digits
    that cannot be seen even then are removed from the scene.
    """
    rng, strokes = page.rng, np.maximum(page.ink, page.other)
    colour = np.median(picture[::8, ::8], axis=(0, 1))
    pen = ink_colour(rng, colour)
    full = max(1.0, float(np.abs(pen - colour).mean()))
    faint = page.photo and chance(rng, 0.5)
    density = _density(page) * (camera.contrast(rng, full) if faint else rng.uniform(0.65, 1))
    gaps = _gaps(page) if page.photo and chance(rng, 0.15) else np.ones((SIDE, SIDE), "float32")
    opacity, seen = (strokes * density * gaps).clip(0, 1), 60.0
    contrast, on = np.abs(pen - picture).mean(-1) * shade, page.ink * gaps > 0.5
    for _ in range(6 if on.any() else 0):
        seen = float(np.quantile((contrast * opacity)[on], 0.25))
        if seen > least:
            break
        opacity = (1.6 * opacity).clip(0, 1)
    _forget_unseen(page, contrast * opacity, 0.7 * least)
    _forget_unseen(page, gaps, 0.5)
    visible = page.ink * (page.owner > 0) * np.minimum(1, 2 * gaps)
    return picture + (pen - picture) * opacity[..., None], visible, seen


def _forget_unseen(page, contrast, least):
    """Remove digits whose ink differs from the paper by less than `least` on average."""
    owned = page.owner.ravel()
    weight = (page.ink.ravel() > 0.4).astype("float32")
    total = np.bincount(owned, weight, minlength=len(page.labels) + 1)
    mean = np.bincount(owned, weight * contrast.ravel(), minlength=len(total))
    unseen = mean < least * np.maximum(total, 1)
    page.owner[unseen[page.owner]] = 0


def _density(page):
    """Draw how densely the ink lies: uneven, grained by the paper, fainter towards one side."""
    rng, density = page.rng, np.ones((SIDE, SIDE), "float32")
    if chance(rng, 0.35):
        density *= (1 + rng.uniform(0.05, 0.35) * smooth_noise(rng, int(rng.integers(6, 60)))).clip(
            0.25, 1.3
        )
    if chance(rng, 0.25):
        density *= 1 - rng.uniform(0.1, 0.6) * rng.random((SIDE, SIDE), "float32")
    if len(page.labels) > 1 and chance(rng, 0.15):  # some digits are fainter than others
        density *= rng.uniform(0.3, 1, len(page.labels) + 1).astype("float32")[page.owner]
    if page.photo and chance(rng, 0.2):
        density *= 1 - rng.uniform(0.2, 0.75) * (0.5 + 0.5 * smooth_noise(rng, 2)).clip(0, 1)
    return density


def _gaps(page):
    """Break strokes, as a dry pen or a pencil on rough paper does: 0 in the gaps."""
    rng = page.rng
    cells = int(np.clip(SIDE / page.height * log_uniform(rng, 2, 16), 6, 128))
    return 1 / (1 + np.exp(-8 * (smooth_noise(rng, cells) + rng.uniform(0.7, 1.7))))


def _take(picture, ink, page, seen, shade):
    """Light the scene and take the picture: from above, or of a sheet on a desk."""
    rng, owner = page.rng, page.owner
    if page.photo and chance(rng, 0.25):
        picture = camera.edges(picture, _room(page), rng)
    if page.photo and chance(rng, 0.05):
        picture = camera.finger(picture, _room(page), rng)
    ink = np.rint(ink * 255).astype("uint8")
    if chance(rng, 0.2 if page.photo else 0.05):
        corners = camera.some_corners(rng)
        picture = camera.on_a_desk(picture, corners, rng)
        ink = camera.seen_from(corners, ink)
        owner = camera.seen_from(corners, owner, sharp=True)
    noise = blur = 0.0
    if page.photo:
        picture = _lit(picture, shade, rng)
        noise = min(log_uniform(rng, 0.2, 8), seen / 4) if chance(rng, 0.7) else 0.0
    if chance(rng, 0.4 if page.photo else 0.12):
        blur = rng.uniform(0.3, min(5, max(0.8, 0.5 * page.hand.pen * page.height)))
    image = camera.photograph(picture, rng, blur, noise)
    if chance(rng, 0.06):
        image = 255 - image
    if chance(rng, 0.12):
        image = image[..., rng.permutation(3)]
    return Scene(image, ink, owner, np.array(page.labels, "uint8"))


def _lit(picture, shade, rng):
    """Let the light fall on the picture, sometimes in different colours, and vary the exposure."""
    tints = np.stack([1 + rng.uniform(-0.06, 0.06) * smooth_noise(rng, 2) for _ in "rgb"], -1)
    picture = picture * shade[..., None] * (tints if chance(rng, 0.25) else 1)
    return picture + (rng.uniform(-25, 25) if chance(rng, 0.5) else 0)


def _room(page):
    """Return how far the ink is from the left, top, right and bottom side, in pixels."""
    rows, columns = (np.flatnonzero((page.ink > 0.1).any(axis)) for axis in (1, 0))
    if not len(rows):
        return (SIDE // 2,) * 4
    return columns[0], rows[0], SIDE - 1 - columns[-1], SIDE - 1 - rows[-1]
