import io
import re
import sys

import numpy as np
import pytest
from conftest import turned_by
from paper import difference
from PIL import Image

from digits.files import KINDS, LARGE, find_pictures, open_picture, upright
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
    (b"this is text", f"Expected a {KINDS} picture"),
    (b"", f"Expected a {KINDS} picture"),
    (b"P5 1 1 255 \0", f"Expected a {KINDS} picture"),  # PGM
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


def twelve_bits(grey):
    return Image.fromarray(np.asarray(grey, "uint16") * 16)


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
    "12 of 16 bits": twelve_bits,
    "very dark": lambda grey: Image.eval(grey, lambda value: value // 12),
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


ARRAYS = {
    "grey": lambda grey: np.array(grey),
    "grey with a channel": lambda grey: np.array(grey)[..., None],
    "RGB": lambda grey: np.array(grey.convert("RGB")),
    "RGBA": lambda grey: np.array(grey.convert("RGBA")),
    "OpenCV's BGR, reversed": lambda grey: np.array(grey.convert("RGB"))[..., ::-1],
    "0-1": lambda grey: np.array(grey) / 255,
    "Keras's img_to_array": lambda grey: np.array(grey.convert("RGB"), "float32"),
    "a list, turned into an array": lambda grey: np.array(np.array(grey).tolist()),
    "as a network takes it": lambda grey: np.array(grey)[None, ..., None] / np.float32(255),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_read_like_a_picture(seven, expected, name):
    assert difference(pil_to_mnist(ARRAYS[name](seven.convert("L"))), expected) < 1


def test_pixels_as_networks_take_them_are_read(digits):
    image = digits[0][0]
    for pixels in (image.reshape(784), image.reshape(1, 784) / 255, image.reshape(1, 28, 28, 1)):
        assert np.array_equal(pil_to_mnist(pixels), image)


WRONG_PICTURES = [
    ("my_digit.png", r"got str\. Open a file with Image\.open"),
    (None, "got NoneType"),
    ([[0, 255]], r"got list\. .* np\.asarray"),
    (np.full((28, 28), -0.5), r"in 0-255 or in 0-1, got float64 \(28, 28\)"),
    (np.full((28, 28), np.nan), "got float64"),
    (np.full((28, 28), 4095, "uint16"), "got uint16"),
    (np.full((28, 28), "0"), "got <U1"),
    (np.zeros((3, 28, 28), "uint8"), r"got uint8 \(3, 28, 28\)"),
    (np.zeros((0, 28), "uint8"), r"got uint8 \(0, 28\)"),
]


@pytest.mark.parametrize(("picture", "words"), WRONG_PICTURES)
def test_what_is_no_picture_says_what_to_do(picture, words):
    for read in (pil_to_mnist, find_digits):
        with pytest.raises(TypeError, match=words):
            read(picture)


@pytest.mark.parametrize("name", ["AVIF", "JPEG2000"])
def test_newer_kinds_of_pictures_are_read(seven, expected, name):
    file = io.BytesIO()
    seven.save(file, name)
    assert difference(pil_to_mnist(open_picture(file)), expected) < 8


def test_heic_is_read_and_counted_in_folders(seven, expected, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    before = set(Image.registered_extensions())
    pillow_heif.from_pillow(seven.convert("RGB")).save(tmp_path / "7.heic")
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path / "7.heic")]
    assert difference(pil_to_mnist(open_picture(tmp_path / "7.heic")), expected) < 8
    assert set(Image.registered_extensions()) == before  # it is not registered for others


def test_heic_without_its_decoder_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"HEIC, as iPhones send it: .* install pillow-heif"):
        open_picture(io.BytesIO(b"\0\0\0\x18ftypheic" + bytes(16)))


@pytest.mark.parametrize("turn", [None, Image.Transpose.ROTATE_90])
def test_digits_far_apart_on_a_strip_are_read(seven, turn):
    size, places = (6000, 40), (100, 3000, 5900)
    digit = seven.convert("L").resize((32, 36)).rotate(-90 if turn else 0, expand=True)
    strip = Image.new("L", size, 255)
    for x in places:
        strip.paste(digit, (x, 2))
    found = find_digits(strip.transpose(turn) if turn else strip)
    starts = sorted(6000 - box[3] if turn else box[0] for _, box in found)
    assert starts == pytest.approx(places, abs=20)


def test_a_tiny_picture_is_read():
    rows = ["..####..", ".######.", ".##..##.", ".....##.", "...###..", "...####.", ".....##.",
            ".....##.", ".##..##.", ".######.", "..####.."]  # fmt: skip
    pixels = np.array([[255 * (c == "#") for c in row] for row in rows], "uint8")
    for each in (pixels, 255 - pixels):
        ((found, box),) = find_digits(each)
        assert box == (1, 0, 7, 11) and (found > 0).any()
