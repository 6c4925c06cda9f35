"""Find and open picture files of every kind, and bring them to upright grey or RGB.

NumPy and Pillow only.
"""

import os

import numpy as np
from PIL import Image, UnidentifiedImageError

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # decoders that a picture may reach
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 50_000_000  # that are decoded
LARGE = 1024  # pixels: a picture whose longest side is twice as long, or more, is reduced


def find_pictures(names):
    """Yield the files named, and the picture files in and below the folders named.

    In a folder sorted files come first, then sorted folders; hidden ones are left out. A folder
    without pictures, or one that cannot be looked into, is yielded itself: opening it fails.
    """
    for name in names:
        empty, unreadable = True, []
        for folder, folders, files in os.walk(name, onerror=unreadable.append):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for file in sorted(files):
                if file.lower().endswith(PICTURE_SUFFIXES) and not file.startswith("."):
                    empty = False
                    yield os.path.join(folder, file)
        if empty:  # a file is no folder to walk through either
            yield name
        yield from (error.filename for error in unreadable if error.filename != name)


def open_picture(file):
    """Open and decode a picture; a large JPEG is decoded at a fraction of its size, not below 1024.

    Args:
        file: path or binary file object.

    Returns:
        A PIL image, decoded, its file closed.

    Raises:
        ValueError: it cannot be read as a PNG, JPEG, WebP, BMP, GIF or TIFF picture.
    """
    try:
        with Image.open(file, formats=PICTURE_FORMATS) as image:
            too_large = image.width * image.height > MAX_PIXELS  # a small file can hold very many
            if not too_large:
                image.draft(None, (LARGE, LARGE))
                image.load()
    except UnidentifiedImageError as error:
        raise ValueError("Expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture") from error
    except FileNotFoundError as error:
        raise ValueError("There is no such file") from error
    except IsADirectoryError as error:
        raise ValueError("There is no picture in this folder") from error
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise ValueError(f"Expected a whole picture, got a broken one: {error}") from error
    if too_large:
        raise ValueError(
            f"Expected a picture of at most {MAX_PIXELS // 10**6} million pixels, "
            f"got one of {image.width}x{image.height}"
        )
    return image


def upright(image):
    """Return 8-bit grey or RGB, upright as EXIF says, on paper, at most twice LARGE pixels long."""
    orientation = exif_orientation(image)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.mode == "LAB":
        image = image.getchannel("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if max(image.size) >= 2 * LARGE:
        image = image.reduce(max(image.size) // LARGE)
    image = turn(image, orientation)
    if "A" in image.getbands() and image.getchannel("A").getextrema()[0] < 255:
        image = _on_paper(image)
    return image if image.mode == "L" else image.convert("RGB")


def exif_orientation(image):
    """Return a picture's EXIF orientation, 1-8, and 1, upright, where its EXIF is damaged."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # Pillow raises nearly anything on it, and the pixels are sound
        return 1


def turn(image, orientation):
    """Turn a picture as its EXIF orientation, 1-8, says."""
    methods = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(methods[orientation]) if orientation in methods else image


def _eight_bits(image):
    """Scale 16-bit, 32-bit and float grey levels to 0-255."""
    levels = np.nan_to_num(np.asarray(image, "float32"), posinf=0, neginf=0)
    levels = levels - min(levels.min(), 0)
    top = 65535 if image.mode.startswith("I;16") else max(levels.max(), 1e-9)
    return Image.fromarray((levels * (255 / top)).astype("uint8"))


def _on_paper(image):
    """Put dark ink on a transparent canvas onto white, light ink onto black."""
    grey, alpha = np.asarray(image.convert("LA"), "float32").reshape(-1, 2).T
    light_ink = (grey * alpha).sum() > 127.5 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if light_ink else "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper
