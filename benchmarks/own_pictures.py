"""Measure how well people's own pictures of one digit are read, compared with the usual recipes.

    python benchmarks/own_pictures.py FOLDER [--nondigits FOLDER] [--sheet PNG]

A FOLDER holds pictures and a MANIFEST.csv with the columns path, label, source and kind.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.dense_numpy import load_dense
from digits.files import open_picture, upright
from digits.find import NoDigitError, pil_to_mnist
from digits.reading import read_digits

REFUSED, SEVERAL = -1, -2  # instead of a digit


def resize_only(image):
    """Grey, 28x28, inverted where it is light on average: what most demos do."""
    pixels = np.asarray(ImageOps.exif_transpose(image).convert("L").resize((28, 28)))
    return 255 - pixels if pixels.mean() > 127 else pixels


def crop_and_centre(image):
    """The best public recipe: Otsu's threshold, box of the ink, 20x20, centre of mass."""
    grey = np.asarray(ImageOps.exif_transpose(image).convert("L"), "float32")
    grey = 255 - grey if grey.mean() > 127 else grey
    counts, edges = np.histogram(grey, 256)
    below, middle = np.cumsum(counts), (edges[1:] + edges[:-1]) / 2
    mass = np.cumsum(counts * middle)
    mean_below = mass / np.maximum(below, 1)
    mean_above = (mass[-1] - mass) / np.maximum(below[-1] - below, 1)
    level = middle[np.argmax(below * (below[-1] - below) * (mean_below - mean_above) ** 2)]
    rows, columns = (np.flatnonzero((grey > level).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((28, 28), "uint8")
    ink = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.where(ink > level, ink, 0)
    height, width = (max(1, round(n * 20 / max(ink.shape))) for n in ink.shape)
    small = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.BOX))
    middle = [(index * small).sum() / small.sum() for index in np.indices(small.shape)]
    top, left = (min(max(round(14 - m), 0), 28 - n) for m, n in zip(middle, small.shape))
    out = np.zeros((28, 28))
    out[top : top + height, left : left + width] = small / small.max() * 255
    return out.astype("uint8")


def by_recipe(recipe):
    """Return a reader of one digit: (image, predict) -> (digit, what the network saw)."""

    def read(image, predict):
        pixels = recipe(image)
        return predict(pixels[None])[0].argmax(), pixels

    return read


def by_readings(image, predict):
    """Choose among readings, as the program does."""
    digits = read_digits(image, predict)
    answer = digits[0].probabilities.argmax() if len(digits) == 1 else SEVERAL
    return answer, digits[0].pixels


READERS = {
    "resize to 28x28": by_recipe(resize_only),
    "crop, 20x20 box, centre of mass": by_recipe(crop_and_centre),
    "ours, the first reading alone": by_recipe(pil_to_mnist),
    "ours": by_readings,
}


def load(folder):
    """Return rows of the manifest, each with its decoded picture."""
    with open(folder / "MANIFEST.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image"] = open_picture(folder / row["path"])
    return rows


def read_all(rows, reader, predict):
    """Add to each row the answer, what the network saw, and the milliseconds it took."""
    for row in rows:
        start = time.perf_counter()
        try:
            row["answer"], row["pixels"] = reader(row["image"], predict)
        except NoDigitError:
            row["answer"], row["pixels"] = REFUSED, np.zeros((28, 28), "uint8")
        row["ms"] = (time.perf_counter() - start) * 1000
        row["right"] = row["answer"] == int(row["label"])


def print_row(name, rows):
    def share(kinds):
        right = [row["right"] for row in rows if row["kind"] in kinds]
        return np.mean(right) if right else float("nan")

    kinds, sources = {row["kind"] for row in rows}, {}
    for row in rows:
        sources.setdefault(row["source"], []).append(row["right"])
    figures = share(kinds), np.mean([np.mean(right) for right in sources.values()])
    figures += share({"photo"}), share(kinds - {"photo"})
    refused = sum(row["answer"] < 0 for row in rows)
    text = " | ".join(f"{figure:.4f}" for figure in figures)
    speed = np.median([row["ms"] for row in rows])
    print(f"| {name} | {text} | {refused} | {speed:.1f} |", flush=True)


def draw_sheet(rows, path):
    """Draw each mistake: the picture, what the network saw, label and answer."""
    from matplotlib.figure import Figure

    lines = max(1, -(-len(rows) // 7))
    figure = Figure(figsize=(16, 1.45 * lines), layout="constrained")
    axes = figure.subplots(lines, 14, squeeze=False).reshape(-1, 2)
    for pair in axes.flat:
        pair.set_axis_off()
    names = {REFUSED: "refused", SEVERAL: "several"}
    for (left, right), row in zip(axes, rows):
        picture = upright(row["image"]).convert("RGB")
        picture.thumbnail((160, 160))
        left.imshow(picture)
        right.imshow(row["pixels"], cmap="gray")
        left.set_title(row["path"][-20:], fontsize=6)
        right.set_title(f"{row['label']} → {names.get(row['answer'], row['answer'])}", fontsize=8)
    figure.savefig(path, dpi=110)


def share_given_a_digit(folder, predict, confidence=0.5):
    """Return the share of pictures without digits that are given one at least this confident."""
    rows, given = load(folder), 0
    for row in rows:
        try:
            digits = read_digits(row["image"], predict)
            given += max(digit.probabilities.max() for digit in digits) >= confidence
        except NoDigitError:
            pass
    return given / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nondigits", type=Path, metavar="FOLDER", help="pictures without digits")
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    parser.add_argument("--sheet", metavar="PNG", help="draw the mistakes")
    args = parser.parse_args()
    rows = [row for row in load(args.folder) if row["label"] in tuple("0123456789")]
    predict = load_dense(args.model)
    print(f"{len(rows)} pictures\n")
    print("| | all | mean over sources | photos | drawings and scans | refused | ms |")
    print("|---|---|---|---|---|---|---|")
    for name, reader in READERS.items():
        read_all(rows, reader, predict)
        print_row(name, rows)
    wrong = [row for row in rows if not row["right"]]
    print("\nMisread: " + ", ".join(f"{r['path']} {r['label']} as {r['answer']}" for r in wrong))
    if args.nondigits:
        share = share_given_a_digit(args.nondigits, predict)
        print(f"Pictures without digits that are given one at 50 % or more: {share:.0%}")
    if args.sheet:
        draw_sheet(wrong, args.sheet)


if __name__ == "__main__":
    main()
