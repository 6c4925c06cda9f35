"""Turn a picture upright, and cut off the frame of a screenshot. NumPy and Pillow only."""

import numpy as np
from PIL import Image, ImageChops

from digits.files import upright
from digits.morphology import bounding_box

MIN_PHOTO = 0.2  # of a screenshot: a smaller box inside is no framed photo
FILLED = 0.75  # of a photo: at least this share differs in colour from the frame around it
SAME_COLOUR = 8  # grey levels: the largest difference within one colour
SAMPLES = 24  # along each side, for a quick look


def without_frame(image: Image.Image) -> tuple[Image.Image, np.ndarray, float]:
    """Turn a picture upright, reduce it if it is large, and cut off its frame.

    Args:
        image: of any size and mode; it is not changed.

    Returns:
        The picture, grey or RGB; its top left corner (x, y), float (2,), and the size of its
        pixels, both in pixels of the upright picture before it was reduced.
    """
    picture = upright(image)
    scale = max(image.size) / max(picture.size)
    inside = inside_frame(picture)
    if inside is None:
        return picture, np.zeros(2), scale
    return picture.crop(inside), np.array(inside[:2]) * scale, scale


def inside_frame(picture: Image.Image) -> tuple[int, int, int, int] | None:
    """Find the photo in a screenshot that has a frame of one colour.

    Args:
        picture: upright grey or RGB image.

    Returns:
        The photo's box (left, top, right, bottom), or None if there is no frame.
    """
    if not _may_have_frame(picture):
        return None
    unlike = _unlike_corner(picture)
    left, top, right, bottom = bounding_box(unlike)
    inside = unlike[top:bottom, left:right]
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if inside.size < MIN_PHOTO * unlike.size or min(rim.mean(), inside.mean()) < FILLED:
        return None
    return left, top, right, bottom


def _may_have_frame(picture):
    """Check quickly that enough samples differ from the corner, and at least one side does not."""
    width, height = picture.size
    top, bottom = (0, 0, width, 1), (0, height - 1, width, height)
    left, right = (0, 0, 1, height), (width - 1, 0, width, height)
    samples = picture.resize((SAMPLES, SAMPLES), Image.Resampling.NEAREST)
    return _unlike_corner(samples).mean() >= FILLED * MIN_PHOTO and not all(
        _unlike_corner(picture.crop(side)).any() for side in (top, bottom, left, right)
    )


def _unlike_corner(picture):
    """Mark what differs from the colour of the top left corner: bool (h, w)."""
    corner = Image.new(picture.mode, picture.size, picture.getpixel((0, 0)))
    return np.asarray(ImageChops.difference(picture, corner).convert("L")) > SAME_COLOUR
