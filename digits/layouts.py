"""Lay out what is written on a page: digits in many arrangements, and non-digits between them.

A layout is a function that writes on a Page; LAYOUTS in scenes.py says how often each is used.
"""

import itertools

import numpy as np
from PIL import Image, ImageDraw

from digits.hands import INVENTED, Hand, pen_width, sign_names
from digits.papers import SIDE, chance, log_uniform, printed_text

MAX_DIGITS = 120
SMALLEST = 9.0  # height of a digit in pixels
OFTEN = (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9)  # twice: digits that other shapes are mistaken for


class Page:
    """What has been written, as coverages of the whole scene: float32 (SIDE, SIDE).

    Attributes:
        ink: of the digits.
        owner: uint8, 1 + index of the digit that a pixel belongs to, 0 for none.
        other: of letters, signs and strokes in the same pen.
        printed: of text in another ink.
        lines: Pillow image, twice as large, of lines and boxes.
        labels: the digits, 0-9, in the order of their owners.
        height: of the digits in pixels, roughly.
    """

    def __init__(self, rng: np.random.Generator, photo: bool):
        self.rng, self.photo = rng, photo
        self.hand = Hand(rng, pen_width(rng, photo))
        self.tilt = rng.normal(0, 0.04 if chance(rng, 0.75) else 0.12)
        self.ink, self.other, self.printed = np.zeros((3, SIDE, SIDE), "float32")
        self.owner = np.zeros((SIDE, SIDE), "uint8")
        self.lines = Image.new("L", (2 * SIDE, 2 * SIDE))
        self.labels: list[int] = []
        self.height = 40.0

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the upright page lies on the tilted one."""
        cos, sin, middle = np.cos(self.tilt), np.sin(self.tilt), SIDE / 2
        x, y = x - middle, y - middle
        return cos * x - sin * y + middle, sin * x + cos * y + middle

    def line(self, x: float, y: float, to_x: float, to_y: float, width: float = 1.0) -> None:
        """Draw a ruler's line."""
        ends = np.multiply(2, [*self.turned(x, y), *self.turned(to_x, to_y)])
        ImageDraw.Draw(self.lines).line(ends.tolist(), fill=255, width=max(1, round(2 * width)))

    def box(self, left: float, top: float, right: float, bottom: float, width: float) -> None:
        """Draw a box of four lines."""
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        for start, end in itertools.pairwise(corners):
            self.line(*start, *end, width)

    def sign(self, sign: int | str, x: float, base: float, height: float) -> float:
        """Write a digit or a named sign that stands on `base`; return its width."""
        left, top = self.turned(x, base - height)
        cover = self.hand.write(sign, height, self.tilt)
        if isinstance(sign, int):
            self._own(sign, cover, round(left) - 1, round(top) - 1)
        else:
            self.cover(self.other, cover, round(left) - 1, round(top) - 1)
        return cover.shape[1] - 3

    def _own(self, digit, cover, left, top):
        """Write a digit if most of it lies on the page."""
        ours, theirs = overlap(cover.shape, left, top)
        if cover[theirs].sum() < max(4, 0.75 * cover.sum()) or len(self.labels) == MAX_DIGITS:
            return
        cover, ink = cover[theirs], self.ink[ours]
        self.labels.append(digit)
        self.owner[ours][(cover > ink) & (cover > 0.15)] = len(self.labels)
        np.maximum(ink, cover, out=ink)

    def cover(self, layer: np.ndarray, cover: np.ndarray, left: int, top: int) -> None:
        """Add a coverage to one of the page's layers, as far as it lies on the page."""
        ours, theirs = overlap(cover.shape, left, top)
        np.maximum(layer[ours], cover[theirs], out=layer[ours])

    def row(
        self, signs: list, x: float, base: float, height: float, gap: float, zeros: float = 1.0
    ) -> float:
        """Write digits and signs one after the other; return where the row ends.

        Args:
            signs: digits (int), names of signs, "." and ",".
            x, base: left end and base line in pixels.
            height: of a digit in pixels.
            gap: between two signs, relative to the height; if negative, they touch.
            zeros: height of a zero relative to that of other digits.
        """
        rng, restless, lifted = self.rng, self.rng.uniform(0.02, 0.12), chance(self.rng, 0.3)
        for sign in signs:
            size = height * float(np.clip(rng.normal(1, restless), 0.6, 1.4))
            size = max(SMALLEST, size * (zeros if sign == 0 else 1))
            foot = base - (height - size) / 2 * lifted + rng.normal(0, 0.04) * height
            if sign in (".", ","):
                x += self.point(sign, x, base, height)
            else:
                x += self.sign(sign, x, foot, size)
            x += max(gap + rng.normal(0, 0.035), -0.25) * height
        return x

    def point(self, sign: str, x: float, base: float, height: float) -> float:
        """Write a decimal point or comma; return its width."""
        width = max(1.3, self.hand.pen * height * self.rng.uniform(0.9, 1.6))
        sheet = Image.new("L", (round(4 * width) + 8, round(12 * width) + 8))
        draw = ImageDraw.Draw(sheet)
        draw.ellipse([4, 4, 4 + 4 * width, 4 + 4 * width], fill=255)
        if sign == ",":
            draw.line([4 + 2 * width, 4 + 2 * width, 4, 4 + 8 * width], 255, round(2 * width))
        left, top = self.turned(x, base - width)
        self.cover(self.other, np.asarray(sheet.reduce(4), "float32") / 255, int(left), int(top))
        return width + 0.03 * height


def overlap(shape: tuple[int, int], left: int, top: int) -> tuple[tuple, tuple]:
    """Return the slices of the page and of a patch at (left, top) that cover each other."""
    ours, theirs = [], []
    for start, size in zip((top, left), shape):
        first, last = min(max(0, start), SIDE), min(max(0, start + size), SIDE)
        ours.append(slice(first, last))
        theirs.append(slice(first - start, last - start))
    return tuple(ours), tuple(theirs)


def some_gap(rng: np.random.Generator) -> float:
    """Draw the gap between digits relative to their height: touching, close or wide."""
    low, high = ((-0.22, 0.03), (0.03, 0.2), (0.15, 0.8))[rng.choice(3, p=[0.3, 0.35, 0.35])]
    return rng.uniform(low, high)


def some_digits(rng: np.random.Generator, count: int) -> list[int]:
    """Draw digits, sometimes all the same."""
    if count > 1 and chance(rng, 0.12):
        return [int(rng.integers(10))] * count
    return [int(digit) for digit in rng.choice(OFTEN, count)]


def some_letters(rng: np.random.Generator, count: int, letters: bool = True) -> list[str]:
    """Draw names of letters, or of any signs, invented ones among them."""
    if not letters and chance(rng, 0.25):
        return [INVENTED] * count
    names = [name for name in sign_names() if not letters or name.startswith("letter")]
    return [str(name) for name in rng.choice(names, count)]


def large_digit(page: Page) -> None:
    """Write one digit of 60 to 250 pixels, sometimes in a box."""
    rng = page.rng
    page.height = height = rng.uniform(60, 250) if chance(rng, 0.7) else log_uniform(rng, 50, 200)
    width = 0.7 * height
    x = rng.uniform(-0.02 * SIDE, max(4, SIDE - width))
    base = rng.uniform(height - 0.02 * SIDE, SIDE + 0.02 * SIDE)
    if chance(rng, 0.4):  # in the middle
        x, base = (SIDE - width) / 2 + rng.normal(0, 8), (SIDE + height) / 2 + rng.normal(0, 8)
    page.hand.restless *= 1.5
    page.sign(int(rng.integers(10)), x, base, height)
    if chance(rng, 0.14):
        margin, pen = rng.uniform(0.04, 0.5, 4) * height, rng.uniform(0.6, 4)
        left, top, right, bottom = margin * (-1, -1, 1, 1)
        page.box(x + left, base - height + top, x + width + right, base + bottom, pen)


def number(page: Page) -> None:
    """Write one row of 2 to 8 large digits."""
    rng = page.rng
    count = 2 if chance(rng, 0.5) else int(rng.integers(2, 9))
    page.height = height = min(log_uniform(rng, 20, 150), 1.5 * SIDE / count)
    signs: list = some_digits(rng, count)
    if chance(rng, 0.15):
        signs.insert(
            int(rng.integers(1, count + 1)), str(rng.choice([".", ".", ",", "sign minus"]))
        )
    x = rng.uniform(2, max(3, SIDE - 0.75 * height * count))
    zeros = rng.uniform(0.45, 0.85) if chance(rng, 0.25) else 1
    page.row(signs, x, rng.uniform(height + 2, SIDE - 2), height, some_gap(rng), zeros)


def rows(page: Page) -> None:
    """Write rows of numbers, perhaps with signs and words between them."""
    rng = page.rng
    page.height = height = log_uniform(rng, 12, 46)
    gap, zeros = some_gap(rng), rng.uniform(0.45, 0.85) if chance(rng, 0.2) else 1
    most, space = int(rng.integers(1, 12)), rng.uniform(0.5, 2.5) * height
    odd = rng.uniform(0.05, 0.5) if chance(rng, 0.35) else 0  # share of non-digits
    left = rng.uniform(2, 0.5 * SIDE if chance(rng, 0.4) else 30)
    pitch = height * rng.uniform(1.2, 2.8)
    bases = np.arange(rng.uniform(height, 0.4 * SIDE), SIDE + 0.1 * height, pitch)
    for base in bases[: rng.integers(1, 14) if chance(rng, 0.7) else None]:
        x, end = left + rng.normal(0, 2), SIDE * rng.uniform(0.4, 1.05)
        while x < end - 0.5 * height:
            signs: list = some_digits(rng, int(rng.integers(1, most + 1)))
            if chance(rng, odd):
                sign = rng.choice([".", ",", "sign minus", *some_letters(rng, 2, False)])
                signs.insert(int(rng.integers(len(signs) + 1)), str(sign))
            if chance(rng, odd):
                signs = list(some_letters(rng, int(rng.integers(2, 7))))
            x = page.row(signs, x, base, height, gap, zeros) + space


def grid(page: Page) -> None:
    """Write digits into the cells of a table, of boxes, a sudoku, or of no lines at all."""
    rng = page.rng
    columns, lines = (9, 9) if chance(rng, 0.2) else rng.integers(1, 11, 2)
    wide, high = SIDE * rng.uniform(0.6, 1.1, 2) / (columns, lines)
    if chance(rng, 0.4) or columns == lines == 9:
        wide = high = min(wide, high)
    wide, high = max(wide, 15), max(high, 16)
    page.height = height = min(high * rng.uniform(0.45, 0.9), wide * rng.uniform(0.6, 1.3), 120)
    page.tilt *= 0.6
    left = rng.uniform(-0.1 * wide, max(1, SIDE - columns * wide))
    top = rng.uniform(-0.1 * high, max(1, SIDE - lines * high))
    many = int(rng.integers(1, 4)) if wide > 1.6 * height else 1
    filled, odd = rng.uniform(0.3, 1), 0.1 * chance(rng, 0.3)
    for cell in range(columns * lines):
        x, y = left + cell % columns * wide, top + cell // columns * high
        if chance(rng, filled):
            signs = some_digits(rng, int(rng.integers(1, many + 1)))
            x += max(0, wide - 0.62 * height * len(signs)) * rng.uniform(0.2, 0.7)
            base = y + height + (high - height) * rng.uniform(0.25, 0.75)
            page.row(some_letters(rng, 1) if chance(rng, odd) else signs, x, base, height, 0.05)
    if chance(rng, 0.65):
        draw_grid(page, (left, top), (wide, high), (columns, lines))


def draw_grid(page: Page, corner: tuple, cell: tuple, shape: tuple) -> None:
    """Draw the lines of a table, a sudoku, rows alone, or separate boxes."""
    rng, (left, top), (wide, high), (columns, lines) = page.rng, corner, cell, shape
    pen = rng.uniform(0.6, 2.5)
    style = rng.choice(["table", "boxes", "rows", "sudoku"], p=[0.45, 0.3, 0.1, 0.15])
    if style == "boxes":
        margin = rng.uniform(0, 0.12) * min(wide, high)
        for index in range(columns * lines):
            x, y = left + index % columns * wide, top + index // columns * high
            page.box(x + margin, y + margin, x + wide - margin, y + high - margin, pen)
        return
    bold = np.where(np.arange(max(shape) + 1) % 3 == 0, 2, 1) if style == "sudoku" else [1] * 99
    for line in range(lines + 1):
        y = top + line * high
        page.line(left, y, left + columns * wide, y, pen * bold[line])
    for column in range(columns + 1 if style != "rows" else 0):
        x = left + column * wide
        page.line(x, top, x, top + lines * high, pen * bold[column])


def form(page: Page) -> None:
    """Write numbers after printed words, on lines or in rows of boxes."""
    rng = page.rng
    page.height = height = log_uniform(rng, 13, 40)
    page.tilt *= 0.4
    x, size = rng.uniform(60, 130), int(rng.integers(8, 16))
    for base in np.arange(rng.uniform(height, 60), SIDE, height * rng.uniform(1.5, 3)):
        label = printed_text(rng, size, 1)
        used = np.flatnonzero(label.any(1)), np.flatnonzero(label.any(0))
        if len(used[0]) and chance(rng, 0.8):
            word = label[used[0][0] : used[0][-1] + 1, used[1][0] : used[1][-1] + 1]
            word = word[:40, : int(x) - 8]
            page.cover(page.printed, word, 4, int(base) - word.shape[0])
        count, cell = int(rng.integers(1, 8)), height * rng.uniform(0.9, 1.3)
        if chance(rng, 0.5):
            page.line(x, base + 2, SIDE * rng.uniform(0.7, 1), base + 2, 0.8)
            signs = some_letters(rng, count) if chance(rng, 0.2) else some_digits(rng, count)
            page.row(signs, x + 4, base, height, some_gap(rng))
            continue
        draw_grid(page, (x, base - 1.15 * height), (cell, 1.3 * height), (count, 1))
        for index, digit in enumerate(some_digits(rng, count) if chance(rng, 0.8) else []):
            page.row([digit], x + (index + 0.2) * cell, base, height, 0)
