"""Measure how well pictures of several digits are read.

    python benchmarks/own_numbers.py FOLDER [--model mnist_dnn.h5] [--sheet PNG]

FOLDER holds pictures and a MANIFEST.csv with the columns path, label and kind; a label's rows are
separated by "/". Other characters in a label, such as a decimal point, are not expected to be read.
"""

import argparse
import csv
import re
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from digits.dense_numpy import load_dense
from digits.files import open_picture, upright
from digits.find import NoDigitError
from digits.reading import DOUBT, as_text, read_digits


def load(folder):
    """Return rows of the manifest, each with its decoded picture."""
    with open(folder / "MANIFEST.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image"] = open_picture(folder / row["path"])
    return rows


def read(row, predict):
    """Add what was read, the digits found and the seconds to a row."""
    start = time.perf_counter()
    try:
        row["digits"] = read_digits(row["image"], predict)
    except NoDigitError:
        row["digits"] = []
    row["seconds"] = time.perf_counter() - start
    row["read"] = as_text(row["digits"])
    expected = "\n".join(re.sub(r"\D", "", line) for line in row["label"].split("/"))
    row["same rows"] = row["read"] == expected
    row["expected"], row["read"] = expected.replace("\n", ""), row["read"].replace("\n", "")
    row["wrong"] = min(edit_distance(row["read"], row["expected"]), len(row["expected"]))


def edit_distance(said, expected):
    """Return how many characters must be inserted, removed or replaced (Levenshtein 1965)."""
    costs = list(range(len(expected) + 1))
    for i, left in enumerate(said, 1):
        diagonal, costs[0] = costs[0], i
        for j, right in enumerate(expected, 1):
            change = diagonal + (left != right)
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, change)
    return costs[-1]


def print_table(rows):
    print("| | pictures | exact | and rows | characters | median ms |\n|---|---|---|---|---|---|")
    for kind in ["all", *sorted({row["kind"] for row in rows})]:
        some = [row for row in rows if kind in ("all", row["kind"])]
        exact = sum(not row["wrong"] for row in some) / len(some)
        in_rows = sum(row["same rows"] for row in some) / len(some)
        wrong = sum(row["wrong"] for row in some) / sum(len(row["expected"]) for row in some)
        speed = np.median([row["seconds"] for row in some]) * 1000
        shares = f"{exact:.2f} | {in_rows:.2f} | {1 - wrong:.3f}"
        print(f"| {kind} | {len(some)} | {shares} | {speed:.0f} |")


def draw_sheet(rows, path):
    """Draw the misread pictures with the digits' boxes."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    lines = max(1, -(-len(rows) // 3))
    figure = Figure(figsize=(18, 5 * lines), layout="constrained")
    axes = figure.subplots(lines, 3, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, row in zip(axes, rows):
        picture = upright(row["image"])
        size = max(row["image"].size) / max(picture.size)
        extent = (0, picture.width * size, picture.height * size, 0)
        axis.imshow(picture, cmap="gray", extent=extent)
        for digit in row["digits"]:
            left, top, right, bottom = digit.box
            colour = "lime" if digit.confidence >= DOUBT else "orange"
            size = right - left, bottom - top
            axis.add_patch(Rectangle((left, top), *size, fill=False, color=colour))
            axis.text(left, top, str(digit.probabilities.argmax()), color="red", fontsize=9)
        axis.set_title(f"{row['path']}\n{row['expected'][:60]}\n{row['read'][:60]}", fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=ROOT / "mnist_dnn.h5")
    parser.add_argument("--sheet", metavar="PNG", help="draw the misread pictures")
    args = parser.parse_args()
    rows, predict = load(args.folder), load_dense(args.model)
    for row in rows:
        read(row, predict)
    print_table(rows)
    wrong = [row for row in rows if row["wrong"]]
    for row in wrong:
        print(f"{row['path']}: {row['label']} was read as {row['read']}")
    if args.sheet:
        draw_sheet(wrong, args.sheet)


if __name__ == "__main__":
    main()
