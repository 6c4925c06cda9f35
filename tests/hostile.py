"""Pictures that are made to take much time or memory, for the tests of the service."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, name, **options):
    """Return a picture as a file in the format `name`."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def run_length_bmp():
    """A bitmap of 50 million pixels in one row, most of them skipped: a kilobyte."""
    skips = b"\0\2\xff\0" * 250
    header = struct.pack("<IiiHHIIiiII", 40, 50_000_000, 1, 1, 8, 1, len(skips), 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    file_header = b"BM" + struct.pack("<IHHI", start + len(skips), 0, 0, start)
    return file_header + header + bytes(1024) + skips


def many_scans(count=90):
    """A progressive JPEG of 20 million pixels whose last scan is repeated."""
    data = encoded(Image.new("L", (5000, 4000), 200), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def fill_bytes():
    """A JPEG with 8 MB of fill bytes before its first marker."""
    data = encoded(Image.new("L", (30, 30)), "JPEG")
    return data[:2] + b"\xff" * 2**23 + data[2:]


def canvas_webp():
    """A WebP of one colour and 50 million pixels: 200 bytes."""
    return encoded(Image.new("RGB", (10_000, 5000), "white"), "WEBP", lossless=True)


def chunk(name, content):
    """Return a chunk of a PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png_with(extras):
    """Return a small PNG with further chunks."""
    data = encoded(Image.new("L", (30, 30)), "PNG")
    return data[:33] + extras + data[33:]


def many_chunks():
    """A PNG with 500,000 empty chunks."""
    return png_with(chunk(b"prIv", b"") * 500_000)


def packed_texts():
    """A PNG with texts that unpack to a megabyte each."""
    return png_with(chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(10**6), 9)) * 60)


def large_exif():
    """A PNG whose EXIF is 8 MB of entries that all point to the same bytes."""
    entry = struct.pack("<HHII", 0x9286, 7, 2**20, 8)
    return png_with(chunk(b"eXIf", b"II*\0" + struct.pack("<IH", 8, 60_000) + entry * 700_000))


def many_strips():
    """A TIFF of a million rows, each in a strip of its own."""
    count = 1_000_000
    tags = [(256, 4, 1), (257, 4, count), (258, 3, 8), (259, 3, 1), (262, 3, 1), (278, 4, 1)]
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
    body = 8 + 2 + 12 * 8 + 4
    entries.insert(5, struct.pack("<HHII", 273, 4, count, body))
    entries.append(struct.pack("<HHII", 279, 4, count, body + 4 * count))
    lists = struct.pack("<I", 8) * count + struct.pack("<I", 1) * count
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + lists


def packed_tiff():
    """A TIFF of 50 million 16-bit pixels that are all the same."""
    image = Image.fromarray(np.full((7000, 7000), 300, "uint16"))
    return encoded(image, "TIFF", compression="tiff_deflate")


def frame_beyond_canvas():
    """A GIF of 1x1 whose first frame has 49 million pixels."""
    data = bytearray(encoded(Image.new("L", (7000, 7000)), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    return bytes(data)


def deep_png():
    """A PNG of 49 million pixels of four 16-bit channels, as large as is allowed."""
    rows = zlib.compress(bytes((8 * 7000 + 1) * 7000), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7000, 7000, 16, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HOSTILE = [
    run_length_bmp, many_scans, fill_bytes, canvas_webp, many_chunks, packed_texts, large_exif,
    many_strips, packed_tiff, frame_beyond_canvas, deep_png,
]  # fmt: skip
