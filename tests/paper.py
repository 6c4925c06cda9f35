"""Draw sheets of paper as a camera sees them, empty or written on, and a few other pictures."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

KINDS = ("flat", "noisy", "soft shadow", "hard shadow", "ruled", "squared")


def draw_paper(kind, rng, size=(300, 240)):
    """Draw an empty sheet: RGB image of `size`, one of KINDS; all but "flat" are photos."""
    width, height = size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    colour = rng.uniform(170, 250) * rng.uniform(0.92, 1, 3)
    light = np.ones((height, width))
    if kind != "flat":
        light += rng.uniform(-0.08, 0.08) * x + rng.uniform(-0.08, 0.08) * y
    if "shadow" in kind:
        angle, edge = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
        softness = rng.uniform(0.2, 0.6) if kind == "soft shadow" else rng.uniform(0.003, 0.03)
        across = np.cos(angle) * x + np.sin(angle) * y - edge
        light *= 1 - rng.uniform(0.15, 0.5) / (1 + np.exp((-across * 2 / softness).clip(-50, 50)))
    pixels = light[..., None] * colour
    if kind in ("ruled", "squared"):
        step, ink = rng.integers(18, 40), rng.uniform(0.6, 0.9) * np.array([0.85, 0.95, 1])
        pixels[rng.integers(step) :: step] *= ink
        if kind == "squared":
            pixels[:, rng.integers(step) :: step] *= ink
    return _photograph(pixels, rng) if kind != "flat" else _to_image(pixels)


def _photograph(pixels, rng):
    """Blur a little, add the sensor's noise, compress as JPEG."""
    blurred = _to_image(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    noise = rng.normal(0, rng.uniform(0.5, 4), (*pixels.shape[:2], 1))
    file = io.BytesIO()
    _to_image(np.asarray(blurred) + noise).save(file, "JPEG", quality=int(rng.integers(60, 95)))
    return Image.open(file).convert("RGB")


def _to_image(pixels):
    return Image.fromarray(np.rint(np.asarray(pixels, float)).clip(0, 255).astype("uint8"))


def write_on(paper, digit, rng, side=None, ink=None, place=None):
    """Write a digit onto a sheet.

    Args:
        paper: RGB image.
        digit: uint8 (28, 28), ink bright.
        side: of the 28x28 frame, in pixels of the paper; by default 0.35-0.9 of its shorter side.
        ink: transmission of red, green and blue; by default a dark pen, any colour.
        place: (left, top) of the frame; by default anywhere.
    """
    side = side or int(min(paper.size) * rng.uniform(0.35, 0.9))
    ink = rng.uniform(0.15, 0.55) * rng.uniform(0.5, 1, 3) if ink is None else np.array(ink)
    left, top = place or [rng.integers(max(n - side, 0) + 1) for n in paper.size]
    cover = Image.new("L", paper.size)
    cover.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), (left, top))
    opacity = np.asarray(cover, "float32")[..., None] / 255
    return _to_image(np.asarray(paper, "float32") * (1 - opacity * (1 - ink)))


LETTERS = "ABCDEFGHJKLMNPQRTUVWXYabcdefhijkmnprtuvwxy"  # without those that look like 0, 1, 5, 2, 9


def draw_letter(rng):
    """Draw a letter that is like no digit, in Pillow's font, a little turned: grey image."""
    sheet, font = Image.new("L", (300, 300), 255), ImageFont.load_default(rng.integers(120, 220))
    letter = LETTERS[rng.integers(len(LETTERS))]
    ImageDraw.Draw(sheet).text((150, 150), letter, fill=30, font=font, anchor="mm")
    return sheet.rotate(rng.uniform(-12, 12), fillcolor=255)


def draw_seven():
    """Draw a seven on white, 200x240, far from square, so that a wrong turn shows."""
    image = Image.new("L", (200, 240), 255)
    ImageDraw.Draw(image).line([(50, 50), (140, 50), (80, 200)], fill=0, width=16, joint="curve")
    return image


def difference(image, other):
    """Return the mean difference of two images in grey levels."""
    return abs(np.subtract(image, other, dtype=float)).mean()
