"""Measure how well people's own pictures are read, beside the usual recipes.

    python benchmarks/own_pictures.py FOLDER [--model mnist_dnn.h5] [--sheet PNG] [--ablate]

FOLDER holds pictures and a MANIFEST.csv with the columns path, label, source and kind.
"""

import argparse
import contextlib
import csv
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from paper import KINDS, draw_letter, draw_paper, draw_scribble

from digits import find as front
from mnist_dnn import (
    calibration_error,
    load_trained_model,
    open_picture,
    predict_images,
    predict_pil_image,
)


def resize_only(image):
    """Grey, 28x28: what most demos do."""
    return np.asarray(ImageOps.exif_transpose(image).convert("L").resize((28, 28)))


def resize_and_invert(image):
    """Invert as well where the picture is light on average."""
    pixels = resize_only(image)
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
    middle = [(place * small).sum() / small.sum() for place in np.indices(small.shape)]
    top, left = (min(max(round(14 - m), 0), 28 - n) for m, n in zip(middle, small.shape))
    out = np.zeros((28, 28))
    out[top : top + height, left : left + width] = small / small.max() * 255
    return out.astype("uint8")


RECIPES = {
    "resize to 28x28": resize_only,
    "and invert by the mean": resize_and_invert,
    "crop, 20x20 box, centre of mass": crop_and_centre,
    "ours": front.pil_to_mnist,
}

STEPS = {  # name: what in `digits` is replaced by what
    "the ink's direction in colour": (
        "paper._ink_direction",
        lambda away: np.full(len(away), -(3**0.5) / len(away)),
    ),
    "a curved surface of paper": (
        "paper._paper_colours",
        lambda colours: np.median(colours, axis=1, keepdims=True),
    ),
    "light and shadows taken out": ("paper._light", lambda contrast: 0),
    "ruled lines taken out": ("paper._without_rules", lambda contrast: contrast),
    "polarity by thin strokes": ("paper._is_lighter", lambda contrast: False),
    "pen width as in MNIST": ("form._set_pen_width", lambda ink: ink),
    "a closer look at small digits": ("find.SMALL_DIGIT", 0),
    "less weight at the border": ("parts.BORDER_WEIGHT", 1),
    "a stricter look at paper": ("find.INK_SHARES", (0.3, 0.3)),
}


def load(folder):
    """Return rows of the manifest, each with its decoded picture."""
    with open(folder / "MANIFEST.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in tuple("0123456789")]
    for row in rows:
        row["image"] = open_picture(folder / row["path"])
    return rows


def read_all(rows, recipe, model):
    """Return what the net sees, its answers (-1 where refused), and milliseconds per picture."""
    pixels, refused, times = np.zeros((len(rows), 28, 28), "uint8"), [], []
    for i, row in enumerate(rows):
        start = time.perf_counter()
        try:
            pixels[i] = recipe(row["image"])
        except front.NoDigitError:
            refused.append(i)
        times.append((time.perf_counter() - start) * 1000)
    answers = predict_images(pixels, model).argmax(axis=1)
    answers[refused] = -1
    return pixels, answers, np.array(times)


def score(rows, answers):
    """Return a dict of accuracies in percent."""
    right = answers == [int(row["label"]) for row in rows]
    of = {key: np.array([row[key] for row in rows]) for key in ("source", "kind")}
    sources = {name: right[of["source"] == name].mean() * 100 for name in set(of["source"])}
    return {
        "all": right.mean() * 100,
        "sources": np.mean(list(sources.values())),
        "photos": right[of["kind"] == "photo"].mean() * 100,
        "drawings": right[of["kind"] == "drawing"].mean() * 100,
        "refused": (answers < 0).sum(),
        "worst": sorted(sources.items(), key=lambda item: item[1])[:10],
    }


def print_row(name, scores, times):
    figures = " | ".join(f"{scores[key]:.1f}" for key in ("all", "sources", "photos", "drawings"))
    print(f"| {name} | {figures} | {scores['refused']} | {np.median(times):.1f} |", flush=True)


def draw_sheet(rows, pixels, answers, path):
    """Draw each mistake: the picture, what the net saw, label and answer."""
    from matplotlib.figure import Figure

    wrong = [i for i, row in enumerate(rows) if answers[i] != int(row["label"])]
    lines = max(1, -(-len(wrong) // 7))
    figure = Figure(figsize=(16, 1.45 * lines), layout="constrained")
    axes = figure.subplots(lines, 14, squeeze=False).reshape(-1, 2)
    for pair in axes.flat:
        pair.set_axis_off()
    for (left, right), i in zip(axes, wrong):
        picture = front.upright(rows[i]["image"]).convert("RGB")
        picture.thumbnail((160, 160))
        left.imshow(picture)
        right.imshow(pixels[i], cmap="gray")
        left.set_title(rows[i]["path"][-20:], fontsize=6)
        right.set_title(f"{rows[i]['label']} → {answers[i]}", fontsize=8)
    figure.savefig(path, dpi=110)


def count_refused_sheets():
    """Return how many of 600 drawn empty sheets, flat, shadowed, ruled and squared, are refused."""
    refused = 0
    for kind in KINDS:
        rng = np.random.default_rng(1)
        for _ in range(100):
            try:
                front.pil_to_mnist(draw_paper(kind, rng))
            except front.NoDigitError:
                refused += 1
    return refused


def share_in_doubt(images, model, doubt=0.9):
    """Return the percentage of pictures refused, or read with less confidence than `doubt`."""
    sure = 0
    for image in images:
        with contextlib.suppress(front.NoDigitError):
            sure += predict_pil_image(image, model)[1].max() >= doubt
    return 100 - 100 * sure / len(images)


def time_photos(rows, side, count, model):
    """Return the median milliseconds for some photos, brought to `side` pixels beforehand."""
    resized = []
    for row in [row for row in rows if row["kind"] == "photo"][::8][:count]:
        picture = front.upright(row["image"]).convert("RGB")
        shape = [round(length * side / max(picture.size)) for length in picture.size]
        resized.append({"image": picture.resize(shape)})
    return np.median(read_all(resized, front.pil_to_mnist, model)[2]) if resized else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    parser.add_argument("--sheet", metavar="PNG", help="draw the mistakes")
    parser.add_argument("--ablate", action="store_true", help="say what each step is worth")
    args = parser.parse_args()
    rows, model = load(args.folder), load_trained_model(args.model)
    print(
        f"{len(rows)} pictures\n\n| | all | mean over sources | photos | drawings | refused | ms |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        pixels, answers, times = read_all(rows, recipe, model)
        scores = score(rows, answers)
        print_row(name, scores, times)
    read, labels = answers >= 0, np.array([int(row["label"]) for row in rows])
    error = calibration_error(predict_images(pixels[read], model), labels[read])
    for name, (target, replacement) in STEPS.items() if args.ablate else []:
        with mock.patch(f"digits.{target}", replacement):
            _, without, times = read_all(rows, front.pil_to_mnist, model)
        print_row(f"ours without: {name}", score(rows, without), times)
    print("\nWorst: " + ", ".join(f"{name} {value:.0f} %" for name, value in scores["worst"]))
    print(f"Calibration error: {error:.1%}")
    print(f"Empty sheets refused: {count_refused_sheets()} of {100 * len(KINDS)}")
    rng = np.random.default_rng(2)
    for name, draw in (("letters", draw_letter), ("scribbles", draw_scribble)):
        share = share_in_doubt([draw(rng) for _ in range(500)], model)
        print(f"In doubt, less than 90 % sure: {share:.0f} % of 500 {name}")
    share = share_in_doubt([row["image"] for row in rows], model)
    print(f"In doubt, less than 90 % sure: {share:.1f} % of these pictures")
    for side, count in ((300, 50), (4000, 10)):
        print(f"Photos {side} pixels long: {time_photos(rows, side, count, model):.1f} ms")
    if args.sheet:
        draw_sheet(rows, pixels, answers, args.sheet)


if __name__ == "__main__":
    main()
