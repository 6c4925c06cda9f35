import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from paper import KINDS, difference, draw_paper, draw_seven, write_on
from PIL import Image, ImageDraw, ImageOps

from digits.dense_numpy import load_dense
from digits.find import NoDigitError, examine, find_digits, pil_to_mnist, reading_order
from digits.form import is_normalised
from digits.frame import inside_frame, without_frame
from digits.synthetic import draw_digits


@pytest.fixture(scope="module")
def predict():
    return load_dense(Path(__file__).parents[1] / "mnist_dnn.h5")


def test_the_result_has_mnists_form(expected):
    assert expected.shape == (28, 28) and expected.dtype == np.uint8
    assert is_normalised(expected[None])[0]


@pytest.mark.mnist
def test_mnist_stays_identical(mnist):
    for image in mnist[1][0][:200]:
        assert np.array_equal(pil_to_mnist(Image.fromarray(image)), image)


@pytest.mark.parametrize(("paper", "ink"), [("#b03030", "#3060c8"), ("#208040", "#c04040")])
def test_coloured_ink_on_paper_as_bright_is_found(seven, expected, paper, ink):
    image = Image.composite(*[Image.new("RGB", seven.size, c) for c in (paper, ink)], seven)
    assert difference(pil_to_mnist(image), expected) < 8


def test_a_large_photo_reads_like_a_small_one(seven, expected):
    sheet = Image.new("RGB", (4000, 3000), "white")
    sheet.paste(seven.resize((400, 480)), (2500, 1800))
    ((pixels, box),) = find_digits(sheet)
    assert difference(pixels, expected) < 8
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


def share_read_alike(predict, pictures, digits):
    """Return the share of pictures that a network reads like the digits in them."""
    pixels = np.zeros_like(digits)
    for i, picture in enumerate(pictures):
        with contextlib.suppress(NoDigitError):
            pixels[i] = pil_to_mnist(picture)
    return (predict(pixels).argmax(axis=1) == predict(digits).argmax(axis=1)).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_digits_on_paper_read_like_the_digits_themselves(kind, predict):
    rng = np.random.default_rng(3)
    digits, _ = draw_digits(60, seed=4)
    sheets = [write_on(draw_paper(kind, rng), digit, rng) for digit in digits]
    least = {"soft shadow": 0.9, "hard shadow": 0.8, "squared": 0.9}
    assert share_read_alike(predict, sheets, digits) >= least.get(kind, 0.95)


def off_centre(image):
    sheet = Image.new("L", (200, 200))
    sheet.paste(image, (131, 17))
    return sheet


def as_jpeg(image):
    file = io.BytesIO()
    image.resize((280, 280), Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
    return Image.open(file)


VARIANTS = {
    "inverted": lambda image: Image.eval(image, lambda value: 255 - value),
    "ten times larger": lambda image: image.resize((280, 280), Image.Resampling.BICUBIC),
    "off centre": off_centre,
    "JPEG": as_jpeg,
}


@pytest.mark.mnist
@pytest.mark.parametrize("name", VARIANTS)
def test_changed_pictures_of_mnist_read_alike(mnist, predict, name):
    images = mnist[0][0][-400:]
    pictures = [VARIANTS[name](Image.fromarray(image)) for image in images]
    assert share_read_alike(predict, pictures, images) >= 0.995


def test_a_finger_at_the_border_is_left_out(seven, expected):
    image = Image.new("RGB", (400, 400), "#e8e4dc")
    image.paste("#202020", (140, 100, 340, 340), Image.eval(seven, lambda value: 255 - value))
    ImageDraw.Draw(image).ellipse((-80, 260, 60, 480), fill="#b07850")
    noisy = np.asarray(image) + np.random.default_rng(0).normal(0, 2, (400, 400, 3))
    image = Image.fromarray(noisy.clip(0, 255).astype("uint8"))
    assert difference(pil_to_mnist(image), expected) < 8


@pytest.mark.parametrize("colour", ["white", "black", "#3b5998"])
def test_a_photo_in_a_frame_reads_like_the_photo(colour):
    rng = np.random.default_rng(2)
    photo = write_on(draw_paper("soft shadow", rng), draw_digits(1, seed=4)[0][0], rng)
    framed = ImageOps.expand(photo, (30, 150), fill=colour)
    ((pixels, box),), ((expected, inside),) = find_digits(framed), find_digits(photo)
    assert np.array_equal(pixels, expected)
    assert tuple(np.subtract(box, (30, 150, 30, 150))) == inside


@pytest.mark.parametrize(
    "framed", [Image.new("L", (1, 1)), Image.new("RGB", (90, 300), "red"), draw_seven()]
)
def test_a_picture_without_a_frame_is_left_whole(framed):
    assert inside_frame(framed) is None
    picture, corner, scale = without_frame(framed)
    assert picture == framed and not corner.any() and scale == 1


def test_corner_and_scale_lead_back_to_the_upright_picture():
    photo = Image.effect_noise((1500, 1200), 80)
    framed = ImageOps.expand(photo, (300, 900), fill=255)  # 2100x3000, halved
    picture, corner, scale = without_frame(framed)
    assert scale == pytest.approx(2, abs=0.01)
    assert corner == pytest.approx((300, 900), abs=4)
    assert np.multiply(picture.size, scale) == pytest.approx(photo.size, abs=8)


def test_a_square_zero_is_no_frame():
    image = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(image).rectangle((80, 60, 220, 240), outline=0, width=30)
    ((_, box),) = find_digits(image)
    assert box == pytest.approx((80, 60, 221, 241), abs=5)


def test_specks_are_left_out(seven, expected):
    image = seven.copy()
    for x, y in [(20, 20), (180, 220), (30, 200)]:
        image.paste(0, (x, y, x + 5, y + 5))
    assert difference(pil_to_mnist(image), expected) < 8


def test_a_five_with_a_cap_of_its_own_is_one_digit():
    image = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(image)
    draw.line([(120, 70), (110, 140), (170, 140), (190, 190), (150, 240), (100, 230)], 0, 12)
    draw.line([(135, 62), (200, 60)], 0, 12)
    ((pixels, box),) = find_digits(image)
    assert box[1] < 62 and box[2] > 195 and pixels.any()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_paper_is_refused(kind):
    rng, refused = np.random.default_rng(1), 0
    for _ in range(40):
        try:
            pil_to_mnist(draw_paper(kind, rng))
        except NoDigitError:
            refused += 1
    least = {"hard shadow": 34, "ruled": 35, "squared": 38}
    assert refused >= least.get(kind, 40)  # 95 % of them all


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


def test_rows_that_fall_a_little_stay_rows():
    lefts, tops = np.meshgrid([10, 60, 110], [10, 80])
    boxes = np.stack([lefts, tops + lefts // 10, lefts + 30, tops + lefts // 10 + 40], axis=-1)
    boxes = boxes.reshape(-1, 4)
    shuffled = np.random.default_rng(0).permutation(6)
    assert shuffled[reading_order(boxes[shuffled])].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_contrast_says_where_the_ink_is(seven):
    sheet = Image.new("L", (900, 700), 255)
    sheet.paste(seven, (500, 300))
    ((_, box),), contrast = examine(sheet)
    levels, noise, corner, scale = contrast
    y, x = np.nonzero(levels > 100)
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / scale + np.tile(corner, 2)
    assert noise == 0 and found == pytest.approx(box, abs=8)


def test_an_image_in_mnists_form_needs_no_contrast(expected):
    ((pixels, _),), contrast = examine(Image.fromarray(expected))
    assert contrast is None and np.array_equal(pixels, expected)
