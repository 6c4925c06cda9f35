"""Draw what the finder must not find: writing, print, doodles, objects, dirt and frames.

Each function adds non-digits to a Page (see layouts).
"""

import numpy as np
from PIL import Image, ImageDraw

from digits.hands import scrawl
from digits.layouts import Page, draw_grid, some_letters
from digits.papers import COLUMNS, ROWS, SIDE, chance, log_uniform, printed_text, step

PRINT = "0123456789" + 4 * "abcdefghijklmnopqrstuvwxyz   ABCDEFGHKLMN" + "-+=/:;()%"


def prose(page: Page) -> None:
    """Fill a page with cursive writing, separate letters, or print."""
    rng = page.rng
    page.height = height = log_uniform(rng, 7, 40)
    style = rng.choice(["cursive", "letters", "print"], p=[0.5, 0.3, 0.2])
    if style == "print":
        size = int(log_uniform(rng, 6, 22))
        page.printed = np.maximum(page.printed, printed_text(rng, size, 99, PRINT))
        return
    left, pen = rng.uniform(0, 40), max(0.8, page.hand.pen * height)
    bases = np.arange(rng.uniform(height, 80), SIDE + height / 2, height * rng.uniform(1.3, 2.5))
    for base in bases[: rng.integers(1, 6) if chance(rng, 0.4) else None]:
        x, end = left + rng.normal(0, 3), SIDE * rng.uniform(0.5, 1.1)
        while x < end:
            length = height * rng.uniform(1, 5)
            if style == "letters" and height > 9:
                signs = some_letters(rng, int(rng.integers(1, 9)), letters=chance(rng, 0.8))
                x = page.row(signs, x, base, height, rng.uniform(-0.05, 0.12)) + 0.6 * height
                continue
            word = scrawl(rng, length, height, min(pen, 0.2 * height))
            corner = page.turned(x, base - height)
            page.cover(page.other, word, *(int(v) for v in corner))
            x += length + rng.uniform(0.4, 0.9) * height


def large_sign(page: Page) -> None:
    """Write one letter or sign as large as a digit, or a word of large letters."""
    rng = page.rng
    count = 1 if chance(rng, 0.6) else int(rng.integers(2, 7))
    page.height = height = (
        rng.uniform(40, 230) if count == 1 else rng.uniform(30, 1.3 * SIDE / count)
    )
    x = rng.uniform(0, max(3, SIDE - 0.7 * height * count))
    base = rng.uniform(height, max(height + 1, SIDE))
    page.row(some_letters(rng, count, letters=chance(rng, 0.5)), x, base, height, 0.1)


def doodle(page: Page) -> None:
    """Draw curves, rings, polygons and zigzags with the page's pen."""
    rng = page.rng
    pen = log_uniform(rng, 1.2, 14)
    sheet = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(1, 9))):
        points = [tuple(point) for point in _outline(rng).tolist()]
        draw.line(points, fill=255, width=max(1, round(2 * pen)), joint="curve")
    page.cover(page.other, np.asarray(sheet.reduce(2), "float32") / 255, 0, 0)


def _outline(rng):
    """Return a polygon, a zigzag or a smooth closed or open curve: (k, 2), in half pixels."""
    middle, reach = rng.uniform(40, 2 * SIDE - 40, 2), log_uniform(rng, 30, 500)
    if chance(rng, 0.25):
        return middle + rng.uniform(-reach / 2, reach / 2, (rng.integers(3, 16), 2))
    around = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    radius = reach * rng.uniform(0.3, 0.6, len(around))
    if chance(rng, 0.5):
        around = np.linspace(0, 2 * np.pi * rng.uniform(0.3, 1.05), 60) + rng.uniform(0, 6)
        waves = [rng.normal(0, 0.3 / k) * np.cos(k * around + rng.uniform(0, 6)) for k in (1, 2, 3)]
        radius = reach / 2 * (0.7 + np.sum(waves, axis=0))
    flat = rng.uniform(0.3, 1)
    return middle + np.stack([radius * np.cos(around), flat * radius * np.sin(around)], 1)


def empty_table(page: Page) -> None:
    """Draw a grid without anything in it, or nothing at all."""
    rng = page.rng
    if chance(rng, 0.6):
        cell = rng.uniform(16, 110, 2) if chance(rng, 0.6) else np.full(2, rng.uniform(16, 110))
        shape = (9, 9) if chance(rng, 0.2) else tuple(rng.integers(1, 10, 2))
        draw_grid(page, tuple(rng.uniform(-30, 70, 2)), tuple(cell), shape)
    if chance(rng, 0.3):
        large_print(page)


def printed_sudoku(page: Page) -> None:
    """Print a sudoku's digits into its cells: print is not handwriting."""
    rng = page.rng
    cell = rng.uniform(16, 34)
    left, top = rng.uniform(-20, max(1, SIDE - 9 * cell), 2)
    draw_grid(page, (left, top), (cell, cell), (9, 9))
    for index in np.flatnonzero(rng.random(81) < rng.uniform(0.2, 0.5)):
        glyph = printed_text(rng, int(0.7 * cell), 1, "123456789")
        used = np.flatnonzero(glyph.any(1)), np.flatnonzero(glyph.any(0))
        if len(used[0]):
            one = glyph[used[0][0] : used[0][-1] + 1, used[1][0] : used[1][-1] + 1]
            one = one[:, : int(0.5 * cell)]
            x, y = left + index % 9 * cell + 0.3 * cell, top + index // 9 * cell + 0.2 * cell
            page.cover(page.printed, one, *(int(v) for v in page.turned(x, y)))


def frame(page: Page) -> None:
    """Draw a frame or ring around what is written, an underline, or a margin."""
    rng = page.rng
    where = np.argwhere(np.maximum(page.ink, page.other) > 0.2)
    (top, left), (bottom, right) = (
        (where.min(0), where.max(0)) if len(where) else ((60, 60), (190, 190))
    )
    margin, pen = rng.uniform(0.08, 0.6, 4) * min(page.height, 80), rng.uniform(0.6, 3.5)
    left, top, right, bottom = np.add((left, top, right, bottom), margin * (-1, -1, 1, 1))
    style = rng.choice(["frame", "ring", "underline", "margin"], p=[0.35, 0.1, 0.25, 0.3])
    if style == "frame":
        page.box(left, top, right, bottom, pen)
    elif style == "ring":
        grow = 0.25 * np.array([left - right, top - bottom, right - left, bottom - top])
        corners = 2 * (np.array([left, top, right, bottom]) + grow)
        ImageDraw.Draw(page.lines).ellipse(corners.tolist(), outline=255, width=round(2 * pen))
    elif style == "underline":
        page.line(left if chance(rng, 0.6) else -20, bottom, right, bottom + rng.normal(0, 3), pen)
    else:
        at = rng.uniform(0, SIDE)
        for shift in (0, 4) if chance(rng, 0.3) else (0,):
            page.line(at + shift, -40, at + shift, SIDE + 40, pen)


def large_print(page: Page) -> None:
    """Print words, as on packages and desks, where nothing else is written."""
    word = printed_text(page.rng, int(log_uniform(page.rng, 8, 60)), int(page.rng.integers(1, 4)))
    word = word * (page.ink + page.other < 0.05)
    near = Image.fromarray(((page.ink > 0.1) * 255).astype("uint8")).reduce(8)
    touched = np.asarray(near.resize((SIDE, SIDE))) > 0
    if not (touched & (word > 0.2)).any():
        page.printed = np.maximum(page.printed, word)


def dirt(page: Page) -> None:
    """Scatter specks, dots and short dashes."""
    rng = page.rng
    sheet = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(log_uniform(rng, 1, 50))):
        (x, y), angle = rng.uniform(0, 2 * SIDE, 2), rng.uniform(0, 2 * np.pi)
        reach = log_uniform(rng, 1, max(6, 0.5 * page.height))
        if chance(rng, 0.4):
            end = x + reach * np.cos(angle), y + reach * np.sin(angle)
            draw.line([x, y, *end], fill=255, width=int(rng.integers(1, 4)))
        else:
            draw.ellipse([x, y, x + 0.2 * reach + 1, y + 0.2 * reach + 1], fill=255)
    page.cover(page.printed, np.asarray(sheet.reduce(2), "float32") / 255, 0, 0)


def things(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay shaded objects on a scene without digits: float32 (SIDE, SIDE, 3)."""
    for _ in range(int(rng.integers(1, 6))):
        angle = rng.uniform(0, np.pi)
        x, y = COLUMNS - rng.uniform(0, SIDE), ROWS - rng.uniform(0, SIDE)
        u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        long, wide = log_uniform(rng, 15, 200), log_uniform(rng, 4, 90)
        if chance(rng, 0.5):  # bent
            v = v + rng.normal(0, 0.3) * u**2 / long
        power = rng.choice([2, 2, 8])
        inside = (np.abs(u / long) ** power + np.abs(v / wide) ** power) ** (1 / power)
        cover = step((inside - 1) * wide, log_uniform(rng, 0.4, 3))[..., None]
        shade = 1 + rng.uniform(-0.6, 0.6) * v / wide + rng.uniform(-0.3, 0.3) * u / long
        colour = rng.uniform(0, 255, 3) * rng.uniform(0.2, 1)
        picture = picture * (1 - cover) + colour * shade.clip(0.1, 2)[..., None] * cover
    return picture
