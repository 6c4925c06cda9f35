import contextlib
import io

import numpy as np
import pytest
from conftest import turned_by
from paper import KINDS, VARIANTS, draw_paper, write_on
from PIL import Image, ImageDraw, ImageOps

from digits.find import NoDigitError, find_digits, pil_to_mnist
from digits.form import is_normalised
from digits.synthetic import draw_digits
from mnist_dnn import predict_images


@pytest.fixture(scope="module")
def seven():
    """A seven on white, 200x240, far from square, so that a wrong turn shows."""
    image = Image.new("L", (200, 240), 255)
    ImageDraw.Draw(image).line([(50, 50), (140, 50), (80, 200)], fill=0, width=16, joint="curve")
    return image


@pytest.fixture(scope="module")
def expected(seven):
    return pil_to_mnist(seven)


def same(pixels, expected, limit=8):
    """Tell whether two 28x28 differ by less than `limit` grey levels on average."""
    return abs(pixels.astype(int) - expected).mean() < limit


def test_the_result_has_mnists_form(expected):
    assert expected.shape == (28, 28) and expected.dtype == np.uint8
    assert is_normalised(expected[None])[0]


@pytest.mark.mnist
def test_mnist_is_normalised_and_stays_identical(mnist):
    for images, _ in mnist:
        assert is_normalised(images).all()
    images = mnist[1][0][:200]
    assert all(np.array_equal(pil_to_mnist(Image.fromarray(image)), image) for image in images)


# Pictures of every kind


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
    assert same(pil_to_mnist(image), expected)
    assert image == before  # the caller's picture is left as it is


@pytest.mark.parametrize(("paper", "ink"), [("#b03030", "#3060c8"), ("#208040", "#c04040")])
def test_coloured_ink_on_paper_as_bright_is_found(seven, expected, paper, ink):
    image = Image.composite(*[Image.new("RGB", seven.size, c) for c in (paper, ink)], seven)
    assert same(pil_to_mnist(image), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_upright(seven, expected, orientation):
    stored = {  # how a camera stores an upright picture under each orientation
        1: [], 2: ["FLIP_LEFT_RIGHT"], 3: ["ROTATE_180"], 4: ["FLIP_TOP_BOTTOM"],
        5: ["TRANSPOSE"], 6: ["ROTATE_90"], 7: ["TRANSVERSE"], 8: ["ROTATE_270"],
    }[orientation]  # fmt: skip
    image, file = seven, io.BytesIO()
    for method in stored:
        image = image.transpose(Image.Transpose[method])
    image.save(file, "JPEG", exif=turned_by(orientation), quality=95)
    ((pixels, box),) = find_digits(Image.open(file))
    assert same(pixels, expected)
    assert box == pytest.approx((45, 42, 148, 206), abs=8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow tells of some damages
@pytest.mark.parametrize("damaged", [b"garbage" * 4, b"MM\0", b"II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
def test_a_picture_with_damaged_exif_is_read_as_it_is(seven, expected, name, damaged):
    file = io.BytesIO()
    seven.save(file, name, exif=b"Exif\0\0" + damaged)
    assert same(pil_to_mnist(Image.open(file)), expected)


def test_the_first_frame_of_an_animation_counts(seven, expected):
    file = io.BytesIO()
    seven.save(file, "GIF", save_all=True, append_images=[Image.new("L", seven.size)])
    assert same(pil_to_mnist(Image.open(file)), expected)


def test_a_large_photo_reads_like_a_small_one(seven, expected):
    sheet = Image.new("RGB", (4000, 3000), "white")
    sheet.paste(seven.resize((400, 480)), (2500, 1800))
    ((pixels, box),) = find_digits(sheet)
    assert same(pixels, expected)
    assert box == pytest.approx((2590, 1884, 2796, 2212), abs=16)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (28, 28), (10_000, 20), (20, 10_000)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16", "F"])
def test_a_blank_picture_of_any_size_is_refused(size, mode):
    with pytest.raises(NoDigitError, match="No digit stands out"):
        pil_to_mnist(Image.new(mode, size))


@pytest.mark.parametrize("size", [(1, 7), (3, 2), (10_000, 20), (30, 9_000)])
def test_noise_of_any_size_breaks_nothing(size):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], "uint8")
    with contextlib.suppress(NoDigitError):
        assert pil_to_mnist(Image.fromarray(pixels)).shape == (28, 28)


# Paper


def read_alike(model, pictures, digits):
    """Return the share of pictures in which a net reads what it reads in the digits themselves."""
    pixels = np.zeros_like(digits)
    for i, picture in enumerate(pictures):
        with contextlib.suppress(NoDigitError):
            pixels[i] = pil_to_mnist(picture)
    ours, theirs = (predict_images(images, model).argmax(axis=1) for images in (pixels, digits))
    return (ours == theirs).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_digits_on_paper_read_like_the_digits_themselves(kind, shipped):
    rng = np.random.default_rng(3)
    digits, _ = draw_digits(100, seed=4)
    sheets = [write_on(draw_paper(kind, rng), digit, rng) for digit in digits]
    least = {"soft shadow": 0.9, "hard shadow": 0.8, "squared": 0.9}
    assert read_alike(shipped, sheets, digits) >= least.get(kind, 0.95)


@pytest.mark.parametrize("width", [3, 10, 40])
def test_hair_thin_and_brush_thick_pens_look_alike(width):
    image = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(image).line([(100, 60), (300, 60), (180, 340)], 0, width, joint="curve")
    ink = (pil_to_mnist(image) > 127).sum()
    assert 50 < ink < 120  # MNIST's sevens: 5 to 95 % of them


def test_a_finger_at_the_border_is_left_out(seven, expected):
    image = Image.new("RGB", (400, 400), "#e8e4dc")
    image.paste("#202020", (140, 100, 340, 340), Image.eval(seven, lambda value: 255 - value))
    ImageDraw.Draw(image).ellipse((-80, 260, 60, 480), fill="#b07850")
    noisy = np.asarray(image) + np.random.default_rng(0).normal(0, 2, (400, 400, 3))
    assert same(pil_to_mnist(Image.fromarray(noisy.clip(0, 255).astype("uint8"))), expected)


@pytest.mark.parametrize("colour", ["white", "black", "#3b5998"])
def test_a_photo_in_a_frame_reads_like_without(colour):
    rng = np.random.default_rng(2)
    photo = write_on(draw_paper("soft shadow", rng), draw_digits(1, seed=4)[0][0], rng)
    framed = ImageOps.expand(photo, (30, 150), fill=colour)
    ((pixels, box),), ((expected, inside),) = find_digits(framed), find_digits(photo)
    assert np.array_equal(pixels, expected)
    assert tuple(np.subtract(box, (30, 150, 30, 150))) == inside


def test_a_square_zero_is_no_frame():
    image = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(image).rectangle((80, 60, 220, 240), outline=0, width=30)
    ((_, box),) = find_digits(image)
    assert box == pytest.approx((80, 60, 221, 241), abs=5)


def test_specks_are_left_out(seven, expected):
    image = seven.copy()
    for x, y in [(20, 20), (180, 220), (30, 200)]:
        image.paste(0, (x, y, x + 5, y + 5))
    assert same(pil_to_mnist(image), expected)


def test_a_five_with_a_cap_of_its_own_is_one_digit():
    image = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(image)
    draw.line([(120, 70), (110, 140), (170, 140), (190, 190), (150, 240), (100, 230)], 0, 12)
    draw.line([(135, 62), (200, 60)], 0, 12)
    ((pixels, box),) = find_digits(image)
    assert box[1] < 62 and box[2] > 195 and pixels.any()


# No digit, several digits


@pytest.mark.parametrize("kind", KINDS)
def test_empty_paper_is_refused(kind):
    rng, refused = np.random.default_rng(1), 0
    for _ in range(100):
        try:
            pil_to_mnist(draw_paper(kind, rng))
        except NoDigitError:
            refused += 1
    least = {"hard shadow": 85, "ruled": 88, "squared": 95}
    assert refused >= least.get(kind, 99)  # together at least 95 %


def line_up(digits, side=100, gap=40):
    """Write rows of digits: uint8 (rows, columns, 28, 28), black on white."""
    rows, columns = digits.shape[:2]
    sheet = Image.new("L", (columns * (side + gap) + gap, rows * (side + gap) + gap), 255)
    for (row, column), _ in np.ndenumerate(digits[..., 0, 0]):
        digit = Image.fromarray(255 - digits[row, column]).resize((side, side))
        sheet.paste(digit, (gap + column * (side + gap), gap + row * (side + gap)))
    return sheet


def test_several_digits_are_counted():
    with pytest.raises(NoDigitError, match="There seem to be 3 digits"):
        pil_to_mnist(line_up(draw_digits(3, seed=8)[0][None]))


@pytest.mark.parametrize("shape", [(1, 4), (3, 1), (3, 5)])
def test_several_digits_are_found_in_reading_order(shape):
    digits = draw_digits(shape[0] * shape[1], seed=8)[0].reshape(*shape, 28, 28)
    boxes = [box for _, box in find_digits(line_up(digits))]
    middles = [((left + right) // 280, (top + bottom) // 280) for left, top, right, bottom in boxes]
    assert middles == [(column, row) for row in range(shape[0]) for column in range(shape[1])]


# MNIST stays MNIST


@pytest.mark.mnist
@pytest.mark.parametrize("name", VARIANTS)
def test_mnist_in_other_clothes_reads_alike(mnist, shipped, name):
    images = mnist[0][0][-1000:]
    pictures = [VARIANTS[name](Image.fromarray(image)) for image in images]
    assert read_alike(shipped, pictures, images) >= 0.995
