"""Cut strips into pieces, and give tiny pictures a margin: the finders expect neither."""

import numpy as np
from PIL import Image, ImageOps

from digits.files import upright

STRIP = 20  # times as long as wide: reduced to working size, nothing would be left of its digits
TINY = 14  # pixels: strokes fill a picture whose longest side is shorter
MARGIN = 4  # pixels around a tiny picture
INK = 40  # grey levels: the least difference from a strip's paper

Piece = tuple[Image.Image, tuple[int, int]]


def cut(image: Image.Image) -> list[Piece]:
    """Return the pieces of a strip or a tiny picture: each with the place of its top left corner.

    Pictures of ordinary size and shape have no pieces.
    """
    if max(image.size) < TINY:
        return [_with_margin(upright(image))]
    if max(image.size) > STRIP * min(image.size) > 0:
        return _cut_strip(image)
    return []


def _with_margin(picture):
    """Add a margin in the colour that most of the border has."""
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).astype(int).tolist()
    fill = colour if isinstance(colour, int) else tuple(colour)
    return ImageOps.expand(picture, MARGIN, fill), (-MARGIN, -MARGIN)


def _cut_strip(image):
    """Cut a strip where it is empty for longer than it is wide, or nowhere."""
    wide = image.width > image.height
    width = min(image.size)
    levels = np.asarray(image.convert("L"), "int16")
    inked = (abs(levels - np.median(levels)) > INK).any(axis=0 if wide else 1)
    places = np.flatnonzero(inked)
    runs = np.split(places, np.flatnonzero(np.diff(places) > width) + 1) if len(places) else []
    pieces = []
    for run in runs:
        start, end = max(int(run[0]) - width // 2, 0), int(run[-1]) + width // 2
        box = (start, 0, end, width) if wide else (0, start, width, end)
        box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
        pieces.append((image.crop(box), box[:2]))
    return pieces
