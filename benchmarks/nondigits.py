"""Measure how well a network tells digits from everything else, by its confidence.

    python benchmarks/nondigits.py OWN NONDIGITS ... [--model mnist_dnn.h5 ...] [--sheet PNG]

OWN and each of NONDIGITS is a folder of pictures with a MANIFEST.csv: path, label and, for
non-digits, a group if there are several ("lookalikes" are left out). The threshold is the
confidence below which 1 % of the own pictures that are read correctly lie; with several digits in a
picture, that is the lowest one, and a picture in which none is found has confidence 0. With
several models, for example of three seeds, the last column is their mean.
"""

import argparse
import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.files import open_picture
from digits.find import NoDigitError
from digits.reading import DOUBT, as_text, read_digits
from mnist_dnn import load_trained_model, predict_images

SCRIBBLES = 500


def load(folder):
    """Yield `(group, label, picture)` for each row of a folder's manifest."""
    with open(folder / "MANIFEST.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("group") != "lookalikes":
                group = row.get("group", folder.name)
                yield group, row["label"], open_picture(folder / row["path"])


def scribbles():
    """Yield drawn scribbles, like `load`: lines with 5 to 11 corners, or ellipses in a row."""
    rng = np.random.default_rng(2)
    for number in range(SCRIBBLES):
        sheet = Image.new("L", (300, 300), 255)
        pen, width = ImageDraw.Draw(sheet), int(rng.integers(6, 16))
        corners = rng.uniform(60, 240, (rng.integers(5, 12), 2))
        if number % 2:
            pen.line([tuple(corner) for corner in corners], fill=20, width=width, joint="curve")
        for left in np.linspace(40, 180, len(corners)) if not number % 2 else []:
            pen.ellipse((left, 90, left + 70, 90 + 10 * len(corners)), outline=20, width=width // 2)
        yield "drawn scribbles", "", sheet


def read(picture, model):
    """Return the digits as a string, "" for none, the confidence, and what the network saw."""
    try:
        found = read_digits(picture, lambda images: predict_images(images, model))
    except NoDigitError:
        return "", 0.0, np.zeros((28, 28), "uint8")
    least = min(found, key=lambda digit: digit.confidence)
    return as_text(found), least.confidence, least.pixels


def measure(own, folders, model):
    """Return a dict of the table's figures, and the non-digits' `(confidence, digits, pixels)`."""
    answers = [(label, *read(picture, model)) for _, label, picture in load(own)]
    good = np.array([sure for label, digits, sure, _ in answers if digits == label])
    misread = np.array([sure for label, digits, sure, _ in answers if digits != label])
    threshold = np.quantile(good, 0.01)
    groups, seen = {}, []
    for group, _, picture in itertools.chain(*map(load, folders), scribbles()):
        digits, sure, pixels = read(picture, model)
        groups.setdefault(group, []).append(sure)
        seen.append((sure, digits, pixels))
    every = np.concatenate([*groups.values()])
    truth = np.repeat([1, 0], [len(good), len(every)])
    figures = {f"{name}: refused, %": 100 * (np.array(sure) < threshold).mean()
               for name, sure in groups.items()}  # fmt: skip
    figures |= {f"{name}: given a digit at {DOUBT:.0%} or more, %": 100
                * (np.array(sure) >= DOUBT).mean() for name, sure in groups.items()}  # fmt: skip
    figures["misread own pictures: refused, %"] = 100 * (misread < threshold).mean()
    figures["own pictures: read correctly, %"] = 100 * len(good) / len(answers)
    figures[f"of these below {DOUBT:.0%}, %"] = 100 * (good < DOUBT).mean()
    figures["AUROC, good own pictures against non-digits"] = roc_auc_score(truth, [*good, *every])
    return figures | {"threshold": threshold}, seen


def draw_sheet(seen, path, count=60):
    """Draw what the network saw of the non-digits that it is surest of, each with its answer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    surest = sorted(seen, key=lambda each: -each[0])[:count]
    for axes, (sure, digits, pixels) in zip(figure.subplots(5, count // 5).flat, surest):
        axes.imshow(pixels, cmap="gray")
        axes.set_title(f"{digits}, {sure:.0%}", fontsize=7)
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("own", type=Path)
    parser.add_argument("nondigits", type=Path, nargs="+")
    parser.add_argument("--model", nargs="+", default=[ROOT / "mnist_dnn.h5"])
    parser.add_argument("--sheet", metavar="PNG", help="draw what is still taken for a digit")
    args = parser.parse_args()
    columns = []
    for path in args.model:
        figures, seen = measure(args.own, args.nondigits, load_trained_model(path))
        columns.append(figures)
    print(f"| | {' | '.join(Path(path).name for path in args.model)} | mean |")
    print("|---" * (len(columns) + 2) + "|")
    for name in columns[0]:
        values = [column[name] for column in columns]
        digits = 1 if "%" in name else 3
        cells = [f"{value:.{digits}f}" for value in [*values, np.mean(values)]]
        print(f"| {name} | {' | '.join(cells)} |")
    if args.sheet:
        draw_sheet(seen, args.sheet)


if __name__ == "__main__":
    main()
