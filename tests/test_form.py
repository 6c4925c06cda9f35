import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from digits.form import is_normalised, normalise
from digits.synthetic import draw_digits


def draw_seven(width):
    image = Image.new("L", (400, 400))
    ImageDraw.Draw(image).line([(100, 60), (300, 60), (180, 340)], 255, width, joint="curve")
    return np.asarray(image, "float32") / 255


@pytest.mark.mnist
def test_all_of_mnist_is_normalised(mnist):
    for images, _ in mnist:
        assert is_normalised(images).all()


@pytest.mark.parametrize("width", [1, 3, 10, 40, 120])
def test_any_ink_gets_mnists_form(width):
    image = normalise(draw_seven(width))
    assert image.shape == (28, 28) and image.dtype == np.uint8 and image.max() == 255
    assert is_normalised(image[None])[0]
    assert ndimage.center_of_mass(image) == pytest.approx((14, 14), abs=0.51)


def test_empty_margins_do_not_matter():
    ink = draw_seven(20)
    assert np.array_equal(normalise(np.pad(ink, ((3, 90), (200, 0)))), normalise(ink))


@pytest.mark.parametrize("width", [3, 10, 40])
def test_hair_thin_and_brush_thick_pens_look_alike(width):
    pixels = (normalise(draw_seven(width)) > 127).sum()
    assert 50 < pixels < 120  # 5 to 95 % of MNIST's sevens lie between them


CHANGES = {
    "moved by two pixels": lambda image: np.roll(image, 2, axis=1),
    "too short": lambda image: rescale(image, 16),
    "too long": lambda image: rescale(image, 22),
    "faint": lambda image: image // 2,
    "black on white": lambda image: 255 - image,
    "grey paper": lambda image: np.maximum(image, 1),
    "blank": np.zeros_like,
}


def rescale(image, size):
    """Scale an image whose digit is 20 pixels long so that it is `size` long."""
    side = round(28 * size / 20)
    scaled = np.asarray(Image.fromarray(image).resize((side, side)))
    out, start = np.zeros((40, 40), "uint8"), (40 - side) // 2
    out[start : start + side, start : start + side] = scaled
    return out[6:34, 6:34]


@pytest.mark.parametrize("name", CHANGES)
def test_other_forms_are_recognised(name):
    images = draw_digits(50, seed=1)[0]
    images = images[is_normalised(images)]
    assert len(images) > 30
    assert not is_normalised(np.stack([CHANGES[name](image) for image in images])).any()
