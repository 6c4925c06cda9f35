"""Find, open and decode picture files of every kind. NumPy and Pillow only."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

# the only decoders allowed, and the same for people to read
PICTURE_FORMATS = "PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000"
KINDS = "PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF or JPEG 2000"
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".j2k"),
    *(".heic", ".heif"),
)
HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"  # at byte 8
MAX_PIXELS = 50_000_000  # of a picture: a small file can decode to very many
Picture = Image.Image | np.ndarray
DARK = 4, 64  # grey levels: photos whose brightest pixel lies between are brightened
LARGE = 1024  # pixels: pictures at least twice as long are reduced
STRIP = 8  # rows of the reduced picture that are made at a time
RLE = 1, 2  # kinds of BMP that are refused: a kilobyte of them can take ten seconds


class UnknownKindError(ValueError):
    """No decoder is allowed, or installed, for this kind of file."""


def find_pictures(names: Iterable[str]) -> Iterator[str]:
    """Yield the files named, and the picture files in and below the folders named.

    In each folder, files come before folders, both sorted; hidden ones, and links to what is not
    below the folder named, are left out. A folder without pictures, or one that cannot be read, is
    yielded itself, so that opening it fails.
    """
    for name in names:
        errors: list[OSError] = []
        pictures = _pictures_below(name, errors)
        yield next(pictures, name)
        yield from pictures
        yield from (error.filename for error in errors if error.filename != name)


def _pictures_below(root, errors):
    """Yield the picture files in and below a folder, and collect errors; a file yields nothing."""
    for folder, folders, files in os.walk(root, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = os.path.join(folder, file)
            named = file.lower().endswith(PICTURE_SUFFIXES) and not file.startswith(".")
            if named and not leaves(path, root):
                yield path


def leaves(path: str | os.PathLike, root: str | Path) -> bool:
    """Return whether a path is a link to what is not below the folder `root`."""
    return os.path.islink(path) and not Path(path).resolve().is_relative_to(Path(root).resolve())


def open_picture(file: str | Path | BinaryIO) -> Image.Image:
    """Open and decode a picture; a large JPEG is decoded at a fraction of its size, 1024 or more.

    Args:
        file: path or binary file object.

    Returns:
        The decoded picture; its file is closed.

    Raises:
        ValueError: the file is missing, not a picture of one of the KINDS, damaged, compressed by
            run lengths, or has more than MAX_PIXELS; or it is HEIC and pillow-heif is missing. The
            message says which.
    """
    try:
        with open_header(file) as image:
            problem = _problem(image)
            if not problem:
                image.draft(None, (LARGE, LARGE))
                image.load()
    except UnknownKindError:
        raise
    except FileNotFoundError as error:
        raise ValueError("There is no such file") from error
    except IsADirectoryError as error:
        raise ValueError("There is no picture in this folder") from error
    except MemoryError as error:
        raise ValueError("Expected a picture that takes less memory. Send a smaller one") from error
    except Exception as error:  # decoders raise almost anything on a broken file
        raise ValueError(f"Expected an intact picture, got a damaged one: {error}") from error
    if problem:
        raise ValueError(problem)
    return image


def _problem(image):
    """Return why a picture is not to be decoded, judging by its header; or nothing."""
    if image.format == "BMP" and image.info.get("compression") in RLE:
        return "Expected a BMP that is not compressed. Save it as a PNG"
    if image.width * image.height > MAX_PIXELS:
        return (
            f"Expected a picture of at most {MAX_PIXELS // 10**6} million pixels, "
            f"got one of {image.width}x{image.height}"
        )
    return ""


def open_header(file: str | Path | BinaryIO) -> Image.Image:
    """Open a picture without decoding it; HEIC where pillow-heif is installed.

    Raises:
        UnknownKindError: it is not a picture of one of the KINDS.
    """
    try:
        return Image.open(file, formats=PICTURE_FORMATS)
    except UnidentifiedImageError as error:
        if not _is_heic(file):
            raise UnknownKindError(f"Expected a {KINDS} picture") from error
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnknownKindError(
            "This is HEIC, as iPhones send it: python -m pip install pillow-heif, or send a JPEG"
        ) from error
    return HeifImageFile(file)


def _is_heic(file):
    if isinstance(file, str | Path):
        with open(file, "rb") as opened:
            return _is_heic(opened)
    file.seek(8)
    brand = file.read(4)
    file.seek(0)
    return brand in HEIC


def as_image(picture: Picture) -> Image.Image:
    """Return a picture as a PIL image.

    Args:
        picture: a PIL image, or an array (h, w), (h, w, 3) RGB or (h, w, 4) RGBA: uint8, or levels
            of another type in 0-1 or 0-255. Pixels as a network takes them, (784,) or with axes of
            length 1, are read too. OpenCV's colours are BGR: pass `frame[..., ::-1]`.

    Raises:
        TypeError: it is neither; the message says what to do.
    """
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"Expected a PIL image or an array, got {type(picture).__name__}. "
            "Open a file with Image.open(path), turn pixels into an array with np.asarray(pixels)"
        )
    pixels = picture.squeeze()
    pixels = _levels(pixels.reshape(28, 28) if pixels.shape == (784,) else pixels)
    if pixels is None or not (pixels.ndim == 2 or pixels.shape[2:] in ((3,), (4,))):
        raise TypeError(
            "Expected an array (h, w) or (h, w, 3), grey levels or RGB in 0-255 or in 0-1, got "
            f"{picture.dtype} {picture.shape}"
        )
    return Image.fromarray(pixels)


def _levels(pixels):
    """Return levels in 0-1 or 0-255 as uint8, or None if there are others, or none at all."""
    if not pixels.size or pixels.dtype == "uint8":
        return pixels if pixels.size else None
    if pixels.dtype.kind not in "buif" or not (pixels.min() >= 0 and pixels.max() <= 255):
        return None
    return (pixels * (255 if pixels.max() <= 1 else 1)).round().astype("uint8")


def upright(image: Image.Image) -> Image.Image:
    """Turn any picture into 8-bit grey or RGB, upright, and less than 2 * LARGE pixels long.

    Its EXIF orientation is applied, and a transparent canvas is laid on paper.

    Args:
        image: of any size and mode; it is not changed.

    Returns:
        An image of mode "L" or "RGB".
    """
    orientation, longest = exif_orientation(image), max(image.size)
    image = _reduced(image, longest // LARGE) if longest >= 2 * LARGE else _plain(image)
    image = turn(image, orientation)
    if "A" in image.getbands() and image.getchannel("A").getextrema() != (255, 255):
        image = _on_paper(image)
    return _brighten(image if image.mode == "L" else image.convert("RGB"))


def exif_orientation(image: Image.Image) -> int:
    """Return a picture's EXIF orientation, 1-8; 1 is upright, and replaces a damaged one."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # Pillow raises almost anything on it, but the pixels are intact
        return 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture upright from its EXIF orientation, 1-8; other values leave it as it is."""
    methods = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(methods[orientation]) if orientation in methods else image


def _plain(image):
    """Turn a picture into one of mode "L", "LA", "RGB" or "RGBA"."""
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.mode == "LAB":
        image = image.getchannel("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
    return image


def _reduced(image, factor):
    """Reduce a picture, and make it plain: strip by strip, so that no large copy is made of it."""
    width, height = image.size
    deep, rows = image.mode.startswith("I;16"), STRIP * factor
    strips = []
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if image.mode not in ("I", "F"):  # their scale is that of the whole picture
            strip = strip.convert("I") if deep else _plain(strip)
        strips.append(strip.reduce(factor))
    whole = Image.new(strips[0].mode, (strips[0].width, -(-height // factor)))
    for number, strip in enumerate(strips):
        whole.paste(strip, (0, number * STRIP))
    return _plain(whole.convert("I;16") if deep else whole)


def _eight_bits(image):
    """Scale 16-bit, 32-bit and float grey levels to 0-255; 16 bits may hold 12 or 10."""
    levels = np.nan_to_num(np.asarray(image, "float32"), posinf=0, neginf=0)
    levels = levels - min(levels.min(), 0)
    top = max(levels.max(), 1e-9)
    if image.mode.startswith("I;16"):
        top = 2 ** int(top).bit_length() - 1 if top >= 1 else 1
    return Image.fromarray((levels * (255 / top)).astype("uint8"))


def _brighten(image):
    """Stretch the levels of a very dark picture; others are returned unchanged."""
    extrema = image.getextrema() if image.mode == "RGB" else [image.getextrema()]
    top = max(most for _, most in extrema)
    return image.point(lambda level: level * 255 // top) if DARK[0] <= top < DARK[1] else image


def _on_paper(image):
    """Put a transparent canvas on white paper, or on black if its ink is light."""
    grey, alpha = np.asarray(image.convert("LA"), "float32").reshape(-1, 2).T
    light_ink = (grey * alpha).sum() > 127.5 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if light_ink else "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper
