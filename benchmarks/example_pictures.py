"""Draw the README's pictures: synthetic digits on paper that looks photographed.

python benchmarks/example_pictures.py FOLDER
python mnist_dnn.py --predict FOLDER/*.jpg --explain explain.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from paper import draw_paper

from digits.synthetic import pen_paths

SIZE = 800, 600
PICTURES = {  # name: (digit, paper, pen width, light the ink lets pass; left, top and height)
    "good/marker.jpg": (9, "noisy", 62, (0.75, 0.15, 0.2), (180, 60, 470)),
    "good/pencil.jpg": (4, "soft shadow", 7, (0.62, 0.62, 0.63), (310, 150, 290)),
    "good/shadow.jpg": (2, "hard shadow", 15, (0.2, 0.25, 0.55), (270, 110, 380)),
    "good/squared.jpg": (5, "squared", 13, (0.15, 0.2, 0.5), (300, 130, 330)),
    "hard/faint.jpg": (3, "noisy", 4, (0.96, 0.96, 0.96), (280, 120, 360)),
    "hard/scribbled over.jpg": (6, "flat", 14, (0.2, 0.2, 0.25), (280, 110, 380)),
    "hard/on its side.jpg": (4, "noisy", 14, (0.2, 0.25, 0.5), (280, 130, 330)),
}


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
    return Image.fromarray(pixels.astype("uint8"))


def main(folder):
    rng = np.random.default_rng(6)
    for name, (digit, kind, width, ink, place) in PICTURES.items():
        path = pen_paths([digit], rng)[0]
        picture = write(draw_paper(kind, rng, SIZE), path, width, ink, place)
        if "scribbled" in name:
            for line in (100, 150, 700, 500), (90, 480, 650, 90), (380, 60, 330, 560):
                ImageDraw.Draw(picture).line(line, (60, 60, 70), 9)
        if "side" in name:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        target = Path(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
