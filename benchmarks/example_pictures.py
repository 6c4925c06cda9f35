"""Draw the README's and the page's pictures: synthetic digits on paper that looks photographed.

python benchmarks/example_pictures.py FOLDER
python benchmarks/example_pictures.py --page
python mnist_dnn.py --predict FOLDER/*.jpg --explain explain.png
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.synthetic import pen_paths

SIZE = 800, 600
PICTURES = {  # name: (digit, paper, pen width, light the ink lets pass; left, top and height)
    "good/marker.jpg": (9, "noisy", 62, (0.75, 0.15, 0.2), (180, 60, 470)),
    "good/pencil.jpg": (4, "soft shadow", 7, (0.62, 0.62, 0.63), (310, 150, 290)),
    "good/shadow.jpg": (2, "hard shadow", 15, (0.2, 0.25, 0.55), (270, 110, 380)),
    "good/squared.jpg": (5, "squared", 13, (0.15, 0.2, 0.5), (300, 130, 330)),
    "hard/faint.jpg": (3, "noisy", 4, (0.96, 0.96, 0.96), (280, 120, 360)),
    "hard/scribbled over.jpg": (6, "noisy", 14, (0.2, 0.2, 0.25), (280, 110, 380)),
    "hard/on its side.jpg": (4, "noisy", 14, (0.2, 0.25, 0.5), (280, 130, 330)),
}
BLUE, CHALK = (0.2, 0.25, 0.55), (3, 3, 2.9)
PAGE = {  # name: (digits, paper, pen width, light the ink lets pass, height)
    "marker": ([8], "noisy", 52, (0.75, 0.15, 0.2), 400),
    "squared paper": ([5], "squared", 15, BLUE, 330),
    "shadow": ([2], "hard shadow", 17, BLUE, 380),
    "slate": ([3], "slate", 22, CHALK, 390),
    "number": ([2, 0, 2, 6], "noisy", 14, (0.15, 0.15, 0.2), 210),
}
SMALL = 400, 300  # of the page's pictures


def draw_paper(kind, rng):
    """Draw an empty sheet: an RGB image of SIZE, of one of the kinds above."""
    width, height = SIZE
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    colour = rng.uniform(170, 250) * rng.uniform(0.92, 1, 3)
    if kind == "slate":
        colour = rng.uniform(55, 75) * np.array([0.9, 1, 0.97])
    light = 1 + rng.uniform(-0.08, 0.08) * x + rng.uniform(-0.08, 0.08) * y
    if "shadow" in kind:
        angle, edge = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
        softness = rng.uniform(0.2, 0.6) if kind == "soft shadow" else rng.uniform(0.003, 0.03)
        across = np.cos(angle) * x + np.sin(angle) * y - edge
        light *= 1 - rng.uniform(0.15, 0.5) / (1 + np.exp((-across * 2 / softness).clip(-50, 50)))
    pixels = light[..., None] * colour
    if kind == "squared":
        step, ink = rng.integers(18, 40), rng.uniform(0.6, 0.9) * np.array([0.85, 0.95, 1])
        pixels[rng.integers(step) :: step] *= ink
        pixels[:, rng.integers(step) :: step] *= ink
    return photograph(pixels, rng)


def photograph(pixels, rng):
    """Blur a little, add the sensor's noise, compress as JPEG."""
    image = Image.fromarray(np.rint(pixels).clip(0, 255).astype("uint8"))
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    noisy = np.asarray(blurred) + rng.normal(0, rng.uniform(0.5, 4), (*pixels.shape[:2], 1))
    file = io.BytesIO()
    image = Image.fromarray(np.rint(noisy).clip(0, 255).astype("uint8"))
    image.save(file, "JPEG", quality=int(rng.integers(60, 95)))
    return Image.open(file).convert("RGB")


def write(paper, path, width, ink, place):
    """Follow a pen path on a sheet of paper."""
    left, top, height = place
    path = (path - path.min(axis=0)) / np.ptp(path[:, 1]) * height + (left, top)
    cover = Image.new("L", paper.size)
    pen = ImageDraw.Draw(cover)
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    for start, end, length in zip(path, path[1:], lengths):
        if length < 3 * np.median(lengths):  # else the pen is lifted
            for x, y in np.linspace(start, end, 30):
                pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    cover = np.asarray(cover.filter(ImageFilter.GaussianBlur(1.5)), "float32")[..., None] / 255
    pixels = np.asarray(paper, "float32") * (1 - cover * (1 - np.array(ink)))
    return Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def draw_page_pictures(folder):
    """Draw the five pictures that the page offers to try."""
    rng = np.random.default_rng(4)
    for name, (digits, kind, width, ink, height) in PAGE.items():
        picture = draw_paper(kind, rng)
        for i, path in enumerate(pen_paths(digits, rng)):
            left = (
                400
                + 170 * (i - (len(digits) - 1) / 2)
                - np.ptp(path[:, 0]) / np.ptp(path[:, 1]) * height / 2
            )
            picture = write(picture, path, width, ink, (left, 300 - height / 2, height))
        picture.resize(SMALL).save(folder / f"{name}.jpg", quality=80)


def main(folder):
    rng = np.random.default_rng(6)
    for name, (digit, kind, width, ink, place) in PICTURES.items():
        path = pen_paths([digit], rng)[0]
        picture = write(draw_paper(kind, rng), path, width, ink, place)
        if "scribbled" in name:
            for line in (100, 150, 700, 500), (90, 480, 650, 90), (380, 60, 330, 560):
                ImageDraw.Draw(picture).line(line, (60, 60, 70), 9)
        if "side" in name:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        target = Path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, quality=88)


if __name__ == "__main__":
    draw_page_pictures(ROOT / "static/examples") if "--page" in sys.argv else main(*sys.argv[1:])
