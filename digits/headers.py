"""Judge by its header, without decoding it, whether a picture file is quick to decode."""

import io
import struct

from digits.files import open_header

LIGHT_PIXELS = 2**22
LIGHT_JPEG = 2**24  # pixels: a phone's photo is decoded at a fraction of its size
LIGHT_BYTES = 2**16  # of a GIF or TIFF, and of a JPEG that is not a baseline one
MAX_EXTRAS = 100_000  # bytes of EXIF, colour profile, text and the like
MAX_CHUNKS = 1000  # of a PNG
MAX_SCANS = 12  # of a JPEG: each goes over all pixels; the thumbnail has one as well
SEGMENTS = {0xFFC0, 0xFFC1, 0xFFC4, 0xFFDB, 0xFFDD, *range(0xFFE0, 0xFFF0), 0xFFFE}
START_OF_SCAN = 0xFFDA
JPEG_2000 = b"\0\0\0\x0cjP", b"\xff\x4f"  # slow; likewise AVIF and HEIC, which have ftyp at byte 4


def is_light(data: bytes) -> bool:
    """Return whether a picture is sure to take little time and memory; most that people send do.

    Of every file that this returns True for, decoding takes less than half a second and 150 MB. A
    file that is no picture is light as well, since it is refused at once.

    Args:
        data: a whole file.
    """
    if data[4:8] == b"ftyp" or data.startswith(JPEG_2000):
        return False
    if not all(check(data) for start, check in CHECKS.items() if data.startswith(start)):
        return False
    try:
        with open_header(io.BytesIO(data)) as image:
            pixels, packed = image.width * image.height, image.info.get("compression", "raw")
    except Exception:  # Pillow raises almost anything on a broken file
        return True
    if image.format == "TIFF" and packed != "raw":
        return False
    photo = image.format in ("JPEG", "MPO") and len(data) > LIGHT_BYTES
    return pixels <= (LIGHT_JPEG if photo else LIGHT_PIXELS)


def count_scans(data: bytes) -> int:
    """Return how often a JPEG goes over its pixels, at most; its thumbnails count as well."""
    return data.count(START_OF_SCAN.to_bytes(2, "big"))


def _png(data):
    """Return whether a PNG has few chunks and little but pixels."""
    at, extras = 8, 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return extras <= MAX_EXTRAS
        length, name = struct.unpack_from(">I4s", data, at)
        extras += length if name[0] & 32 else 0  # the case of its first letter marks an extra
        at += 12 + length
    return False


def _jpeg(data):
    """Return whether a JPEG is small, or a baseline one without fill bytes and much else."""
    if count_scans(data) > MAX_SCANS:
        return False
    if len(data) <= LIGHT_BYTES:
        return True
    at = 2
    while at < MAX_EXTRAS and at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == START_OF_SCAN:
            return True
        if marker not in SEGMENTS:
            return False
        at += 2 + max(length, 2)
    return at + 4 > len(data)  # it is cut off, and refused at once


def _webp(data):
    """Return whether a WebP has a small canvas: opening it takes memory for several of them."""
    if len(data) < 30:
        return True  # it is cut off
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif data[12:16] == b"VP8L":
        sides = int.from_bytes(data[21:25], "little")
        width, height = (sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width * height <= LIGHT_PIXELS and len(data) <= LIGHT_PIXELS


def _few_bytes(data):
    return len(data) <= LIGHT_BYTES


CHECKS = {  # how a file of a kind begins, and what must hold before Pillow opens it
    b"\x89PNG": _png,
    b"\xff\xd8\xff": _jpeg,
    b"RIFF": _webp,
    b"GIF8": _few_bytes,
    b"II": _few_bytes,
    b"MM": _few_bytes,
}
