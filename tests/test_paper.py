import numpy as np
import pytest
from paper import KINDS, draw_paper, write_on
from PIL import Image

from digits.paper import CANVAS_NOISE, WORK_SIZE, measure_contrast, shrink
from digits.synthetic import draw_digits


def photograph(pixels, sigma=4.0):
    """Add noise to grey levels (h, w)."""
    noisy = pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype("uint8"))


def with_stroke(pixels, ink):
    pixels = np.array(pixels, float)
    pixels[40:90, 60:66] = ink
    return pixels


STROKE = slice(42, 88), slice(61, 65)
FLAT = np.full((128, 128), 150.0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 240), (128, 102)), ((20, 90), (20, 90)), ((10_000, 3), (128, 1)), ((1, 1), (1, 1))],
)
def test_a_long_side_becomes_the_working_size(size, expected):
    assert shrink(Image.new("RGB", size)).size == expected and max(expected) <= WORK_SIZE


def test_a_canvas_has_no_noise():
    contrast, noise = measure_contrast(Image.fromarray(with_stroke(FLAT, 30).astype("uint8")))
    assert noise < CANVAS_NOISE
    # one grey channel counts as three equal ones
    assert contrast[STROKE].mean() == pytest.approx(3**0.5 * 120, abs=3)
    assert abs(contrast[:, :50]).max() < 3


@pytest.mark.parametrize("sigma", [4, 8, 16])
def test_noise_is_measured(sigma):
    assert measure_contrast(photograph(FLAT, sigma))[1] == pytest.approx(3**0.5 * sigma, rel=0.15)


@pytest.mark.parametrize("ink", [30, 250])
def test_ink_is_positive_whether_dark_or_light(ink):
    contrast, noise = measure_contrast(photograph(with_stroke(FLAT, ink)))
    assert noise >= CANVAS_NOISE
    assert contrast[STROKE].mean() == pytest.approx(3**0.5 * abs(ink - 150), rel=0.1)
    assert contrast[STROKE].min() > 10 * contrast[:, :50].std()


def test_uneven_light_is_no_contrast():
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    paper = 200 - 40 * x - 20 * y**2
    contrast, noise = measure_contrast(photograph(with_stroke(paper, 30)))
    assert abs(contrast[:, :50].mean(axis=0)).max() < noise
    assert contrast[STROKE].min() > 150


def test_a_soft_shadow_is_no_contrast():
    y = np.arange(128)[:, None] + np.zeros(128)
    shadow = 80 / (1 + np.exp((y - 90) / 4))  # its edge is about 16 pixels wide
    contrast, _ = measure_contrast(photograph(with_stroke(230 - shadow, 30)))
    assert contrast[STROKE].mean() > 8 * abs(contrast[:, :50].mean(axis=1)).max()


@pytest.mark.parametrize("direction", ["across", "down"])
def test_ruled_lines_are_removed(direction):
    lines = np.array(FLAT)
    lines[5::20] -= 60
    lines = lines if direction == "across" else lines.T
    contrast, _ = measure_contrast(photograph(with_stroke(lines, 30), sigma=2))
    ruled = (lines < 100) & (np.arange(128) < 50)
    assert contrast[ruled].mean() < 10
    assert contrast[STROKE].mean() > 180


def test_coloured_ink_as_bright_as_its_paper_has_contrast():
    image = Image.new("RGB", (128, 128), "#b03030")
    image.paste("#3060c8", (60, 40, 66, 90))
    contrast, _ = measure_contrast(image)
    distance = np.linalg.norm(np.subtract((0xB0, 0x30, 0x30), (0x30, 0x60, 0xC8)))
    assert contrast[STROKE].mean() == pytest.approx(distance, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_ink_stands_out_from_every_paper(kind):
    rng = np.random.default_rng(3)
    for digit in draw_digits(10, seed=4)[0]:
        paper = draw_paper(kind, rng)
        sheet = write_on(paper, digit, rng, side=200, ink=(0.3, 0.3, 0.4), place=(50, 20))
        contrast, noise = measure_contrast(shrink(sheet))
        assert np.quantile(contrast[8:94, 21:107], 0.95) > 5 * noise  # inside the digit's frame
