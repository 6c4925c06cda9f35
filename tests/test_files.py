import io
import re

import numpy as np
import pytest
from conftest import turned_by
from paper import difference
from PIL import Image

from digits.files import LARGE, find_pictures, open_picture, upright
from digits.find import find_digits, pil_to_mnist


def test_pictures_are_found_in_order(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "2/c.gif", "1/d.tif", ".git/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    names = [str(tmp_path), str(tmp_path / "empty"), str(tmp_path / "notes.txt"), "missing.png"]
    found = [path.removeprefix(str(tmp_path)) for path in find_pictures(names)]
    assert [path.replace("\\", "/").lstrip("/") for path in found] == [
        *("a.jpg", "b.PNG", "1/d.tif", "2/c.gif"),  # of the first folder
        *("empty", "notes.txt", "missing.png"),  # opening these says why they are no pictures
    ]


def png(size):
    file = io.BytesIO()
    Image.new("1", size).save(file, "PNG")
    return file.getvalue()


BAD_FILES = [
    (b"this is text", "Expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"),
    (b"", "Expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"),
    (b"P5 1 1 255 \0", "Expected a PNG, JPEG, WebP, BMP, GIF or TIFF picture"),  # PGM
    (png((90, 90))[:50], "Expected an intact picture, got a damaged one: "),
    (png((8000, 8000)), "at most 50 million pixels, got one of 8000x8000"),
]


@pytest.mark.parametrize(("content", "words"), BAD_FILES)
def test_a_bad_file_gets_a_sentence(content, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        open_picture(io.BytesIO(content))


def test_a_missing_file_and_a_folder_get_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="There is no such file"):
        open_picture(tmp_path / "missing.png")
    with pytest.raises(ValueError, match="There is no picture in this folder"):
        open_picture(tmp_path)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path):
    Image.new("L", (5000, 4400), 90).save(tmp_path / "large.jpg")
    image = open_picture(tmp_path / "large.jpg")
    assert LARGE <= max(image.size) < 2 * LARGE and image.getextrema() == (90, 90)


@pytest.mark.parametrize("size", [(2048, 100), (3000, 2000), (50, 9000)])
def test_a_large_picture_is_reduced(size):
    assert LARGE <= max(upright(Image.new("RGB", size)).size) < 2 * LARGE


def with_alpha(grey, ink):
    """Ink of one colour on a transparent canvas."""
    image = Image.new("RGBA", grey.size, (*ink, 0))
    image.putalpha(Image.eval(grey, lambda value: 255 - value))
    return image


def palette_with_transparency(grey):
    image = Image.eval(grey, lambda value: 1 if value > 127 else 0).convert("P")
    image.putpalette([0, 0, 0, 0, 0, 0])  # what is transparent is black, too
    image.info["transparency"] = 1
    return image


def sixteen_bits(grey):
    return Image.fromarray(np.asarray(grey, "uint16") * 16 + 20_000)


CONVERSIONS = {
    "RGB": lambda grey: grey.convert("RGB"),
    "1-bit": lambda grey: grey.convert("1"),
    "palette": lambda grey: grey.convert("P"),
    "palette with transparency": palette_with_transparency,
    "CMYK": lambda grey: grey.convert("CMYK"),
    "YCbCr": lambda grey: grey.convert("YCbCr"),
    "HSV": lambda grey: grey.convert("RGB").convert("HSV"),
    "Lab": lambda grey: Image.merge("LAB", [grey, *[Image.new("L", grey.size, 128)] * 2]),
    "grey with alpha": lambda grey: grey.convert("LA"),
    "dark ink on a transparent canvas": lambda grey: with_alpha(grey, (0, 0, 90)),
    "light ink on a transparent canvas": lambda grey: with_alpha(grey, (255, 250, 200)),
    "16-bit, a narrow range": sixteen_bits,
    "32-bit": lambda grey: Image.fromarray(np.asarray(grey, "int32") * 1000),
    "float in 0-1": lambda grey: Image.fromarray(np.asarray(grey, "float32") / 255),
    "float with a hole": lambda grey: Image.fromarray(
        np.where(np.arange(200) == 0, np.nan, np.asarray(grey, "float32"))
    ),
    "white on black": lambda grey: Image.eval(grey, lambda value: 255 - value),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_every_mode_reads_alike(seven, expected, name):
    image = CONVERSIONS[name](seven)
    before = image.copy()
    assert difference(pil_to_mnist(image), expected) < 8
    assert image == before  # the caller's picture is not changed


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(seven, expected, orientation):
    stored = {  # how a camera stores an upright picture under each orientation
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }[orientation]  # fmt: skip
    image, file = seven, io.BytesIO()
    for method in stored:
        image = image.transpose(Image.Transpose[method])
    image.save(file, "JPEG", exif=turned_by(orientation), quality=95)
    assert difference(upright(Image.open(file)), seven) < 2
    ((pixels, box),) = find_digits(Image.open(file))
    assert difference(pixels, expected) < 8
    assert box == pytest.approx((45, 42, 148, 206), abs=8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow reports some kinds of damage
@pytest.mark.parametrize("damaged", [b"garbage" * 4, b"MM\0", b"II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
def test_a_picture_with_damaged_exif_is_upright_as_it_is(seven, name, damaged):
    file = io.BytesIO()
    seven.save(file, name, exif=b"Exif\0\0" + damaged)
    assert difference(upright(Image.open(file)).convert("L"), seven) < 2


def test_the_first_frame_of_an_animation_is_read(seven):
    file = io.BytesIO()
    seven.save(file, "GIF", save_all=True, append_images=[Image.new("L", seven.size)])
    assert difference(upright(open_picture(file)).convert("L"), seven) < 2
