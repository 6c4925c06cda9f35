"""Pictures of every kind that once failed, drawn here, and what must be read in them."""

from pathlib import Path

import numpy as np
import pytest
from paper import draw_paper
from PIL import Image, ImageDraw, ImageFilter

from digits.choosing import Digit, Evidence, choose, without_strays
from digits.cores import in_processes
from digits.dense_numpy import load_dense
from digits.find import NoDigitError
from digits.finder_network import load_weights
from digits.reading import as_text, read_chunks, read_digits
from digits.rows import sort_into_rows
from digits.synthetic import draw_digits

ROOT = Path(__file__).parents[1]
needs_finder = pytest.mark.skipif(not load_weights(), reason="digits/finder.npz is not here")
PENCIL, PEN = (110, 110, 115), (35, 40, 90)


@pytest.fixture(scope="module")
def predict():
    return load_dense(ROOT / "mnist_dnn.h5")


@pytest.fixture(scope="module")
def hand(predict):
    """A synthetic example of each digit, which the network reads with confidence."""
    images, labels = draw_digits(2000, seed=3)
    probabilities = predict(images)[np.arange(len(labels)), labels]
    return [images[labels == digit][probabilities[labels == digit].argmax()] for digit in range(10)]


def sheet(width, height, shade=235):
    """Draw uneven white paper, as a camera sees it."""
    rng = np.random.default_rng(1)
    waves = Image.fromarray(rng.normal(0, 2, (12, 12)).astype("float32"))
    uneven = np.asarray(waves.resize((width, height), Image.Resampling.BICUBIC))
    grey = shade + uneven + rng.normal(0, 3, (height, width))
    return Image.fromarray(grey.clip(0, 255).astype("uint8")).convert("RGB")


def write(paper, hand, text, left, top, height, ink=PEN, step=0.95, slope=0.0):
    """Write digits from left to right; `step` from one to the next is in heights."""
    for digit in text:
        side = round(height * 1.4)  # 20 of the 28 pixels are the digit's
        mask = Image.fromarray(hand[int(digit)]).resize((side, side), Image.Resampling.BICUBIC)
        paper.paste(ink, (round(left), round(top)), mask)
        left, top = left + step * height, top + step * slope * height
    return paper


def boxed(hand):
    paper = write(sheet(240, 240), hand, "3", 60, 60, 80)
    ImageDraw.Draw(paper).rectangle((30, 35, 205, 200), outline=(60, 60, 60), width=3)
    return paper


def framed(hand):
    paper = Image.new("RGB", (300, 260), (70, 50, 40))
    paper.paste(write(sheet(250, 210), hand, "5", 70, 40, 90), (25, 25))
    return paper


def tilted_sheet_on_a_desk(hand):
    page = write(sheet(300, 360), hand, "7", 80, 100, 100).rotate(3, expand=True)
    outline = Image.new("L", (300, 360), 255).rotate(3, expand=True)
    desk = sheet(460, 480, 90)
    desk.paste(page, (60, 50), outline)
    return desk


def squared_paper(hand):
    paper = draw_paper("squared", np.random.default_rng(5), (300, 240))
    return write(paper, hand, "4", 70, 40, 120, PENCIL)


def broken_stroke(hand):
    paper = write(sheet(240, 240), hand, "8", 40, 40, 110, PENCIL)
    paper.paste(sheet(240, 6), (0, 98))
    return paper


def touching(hand):
    return write(sheet(400, 200), hand, "2835", 30, 40, 80, step=0.62)


def small_zeros(hand):
    paper = write(sheet(520, 180), hand, "51", 20, 40, 80, step=0.7)
    write(paper, hand, "000", 145, 78, 34, step=1.2)
    return write(paper, hand, "6", 265, 40, 80)


def faint_neighbour(hand):
    paper = write(sheet(300, 200), hand, "3", 20, 40, 90, (20, 20, 20))
    return write(paper, hand, "8", 140, 40, 90, (165, 165, 165))


def vignette(hand):
    paper = write(sheet(300, 300, 215), hand, "9", 80, 70, 110, (120, 190, 215))
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    light = 1 - 0.45 * (x**2 + y**2)[..., None] / 2
    return Image.fromarray((np.asarray(paper) * light).astype("uint8"))


def dark_board(hand):
    return write(sheet(360, 200, 45), hand, "604", 30, 50, 80, (225, 225, 215))


def rows_of_unequal_length(hand):
    paper = write(sheet(420, 380), hand, "12345", 20, 20, 60)
    write(paper, hand, "67", 25, 140, 60)
    return write(paper, hand, "890", 20, 250, 60)


def tilted_rows(hand):
    paper = write(sheet(420, 300), hand, "12345", 20, 20, 50, slope=0.2)
    return write(paper, hand, "67890", 20, 120, 50, slope=0.2)


OVERLAPPING = pytest.mark.xfail(
    load_weights() is not None, reason="of digits whose boxes overlap, one is sometimes lost"
)
SCENES = [
    (boxed, "3"),
    (framed, "5"),
    (tilted_sheet_on_a_desk, "7"),
    (squared_paper, "4"),
    (broken_stroke, "8"),
    pytest.param(touching, "2835", marks=OVERLAPPING),
    (small_zeros, "510006"),
    (faint_neighbour, "38"),
    (vignette, "9"),
    (dark_board, "604"),
    (rows_of_unequal_length, "12345\n67\n890"),
    (tilted_rows, "12345\n67890"),
]


def test_nothing_that_is_sure_on_a_canvas_is_lost(predict):
    canvas = Image.new("L", (280, 280), "white")
    pen = ImageDraw.Draw(canvas)
    pen.line([(90, 60), (85, 220)], fill="black", width=16)
    pen.ellipse([160, 70, 230, 210], outline="black", width=16)
    assert as_text(read_digits(canvas, predict)) == "10"


def test_a_sure_digit_that_the_finder_missed_is_kept_where_nothing_was_overlooked():
    first = [answer(LEFT, 1, 0.95), answer(RIGHT, 0, 0.7)]
    second = [answer(RIGHT, 0, 0.9)]
    chosen = choose(first, second, ink_in(RIGHT), agreed=True)
    assert as_text(chosen) == "10"
    assert as_text(choose(first, second, ink_in(RIGHT))) == "0"


@needs_finder
@pytest.mark.parametrize(
    ("scene", "written"), SCENES, ids=lambda value: getattr(value, "__name__", "")
)
def test_scene_is_read(scene, written, hand, predict):
    picture = scene(hand).filter(ImageFilter.GaussianBlur(0.6))
    assert as_text(read_digits(picture, predict)) == written


def test_empty_sheet_is_refused(predict):
    with pytest.raises(NoDigitError, match="No digit stands out"):
        read_digits(sheet(300, 200), predict)


def test_image_in_mnist_form_is_read_unchanged(hand, predict):
    ((pixels, probabilities, box, row),) = read_digits(Image.fromarray(hand[4]), predict)
    assert np.array_equal(pixels, hand[4])
    assert probabilities.shape == (10,) and probabilities.argmax() == 4
    assert box == Image.fromarray(hand[4]).getbbox() and row == 0


def test_picture_is_not_changed(hand, predict):
    picture = rows_of_unequal_length(hand)
    before = picture.copy()
    read_digits(picture, predict)
    assert picture == before


def answer(box, digit, confidence):
    """Make a digit that was read."""
    probabilities = np.full(10, (1 - confidence) / 9, "float32")
    probabilities[digit] = confidence
    return Digit(np.full((28, 28), 255, "uint8"), probabilities, box)


def ink_in(*boxes):
    """Make evidence: ink in some boxes of a picture of 100x100 pixels."""
    ink = np.zeros((100, 100), "float32")
    for left, top, right, bottom in boxes:
        ink[top:bottom, left:right] = 0.2
    return Evidence(ink, np.zeros(2), 1)


LEFT, RIGHT, BOTH, UPPER = (10, 10, 40, 90), (50, 10, 80, 90), (10, 10, 80, 90), (10, 10, 40, 45)
SMALL = (60, 40, 70, 60)


@pytest.mark.parametrize(
    ("first", "second", "ink", "expected"),
    [
        ([(BOTH, 8, 0.7)], [(LEFT, 1, 0.98), (RIGHT, 7, 0.97)], [LEFT, RIGHT], "17"),
        ([(LEFT, 8, 0.99)], [(UPPER, 0, 0.999)], [LEFT], "8"),  # the part explains less
        ([(BOTH, 0, 0.6)], [(LEFT, 3, 0.9)], [LEFT], "3"),  # a frame around the digit
        ([(LEFT, 5, 0.99), (RIGHT, 6, 0.99)], [(LEFT, 5, 0.98)], [LEFT, RIGHT], "56"),
        ([(LEFT, 5, 0.99), (RIGHT, 1, 0.99)], [(LEFT, 5, 0.98)], [LEFT], "5"),  # a line is no ink
        ([(LEFT, 5, 0.99)], [(LEFT, 5, 0.99), (RIGHT, 2, 0.95)], [LEFT, RIGHT], "52"),
        ([(BOTH, 4, 0.6)], [(LEFT, 1, 0.5), (RIGHT, 6, 0.6)], [LEFT, RIGHT], "4"),  # writing
        ([(LEFT, 5, 0.99)], [(LEFT, 5, 0.99), (RIGHT, 2, 0.4)], [LEFT, RIGHT], "52"),  # faint
        ([(LEFT, 5, 0.99)], [(LEFT, 5, 0.99), (SMALL, 2, 0.4)], [LEFT, SMALL], "5"),  # a smudge
        ([], [(LEFT, 2, 0.6)], [LEFT], "2"),
        ([(LEFT, 2, 0.6)], [], [LEFT], "2"),
        ([(LEFT, 2, 0.4)], [], [], ""),  # a page edge
        ([(LEFT, 2, 0.6)], [], [], "2"),
        ([(LEFT, 2, 0.6)], [(RIGHT, 3, 0.9)], [RIGHT], "3"),
    ],
)
def test_the_reading_that_explains_more_ink_with_more_confidence_wins(first, second, ink, expected):
    readings = [[answer(*digit) for digit in reading] for reading in (first, second)]
    chosen = choose(*readings, ink_in(*ink))
    chosen.sort(key=lambda digit: digit.box)
    assert as_text(chosen) == expected


def test_a_digit_that_the_finder_saw_at_a_glance_needs_no_more_ink():
    first = [answer(LEFT, 1, 0.6)]
    assert choose(first, [], ink_in(), agreed=True) == first


def test_a_digit_in_a_box_is_more_than_a_part_of_it():
    box = answer((10, 10, 80, 90), 9, 0.2)
    box.pixels[3:25, 3:25] = 0
    box.pixels[10:18, 11:17] = 255
    second = [answer((30, 25, 60, 75), 3, 0.99)]
    assert as_text(choose([box], second, ink_in((30, 25, 60, 75)), agreed=True)) == "3"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [([(UPPER, 5, 0.99)], "4"), ([(UPPER, 5, 0.99), (LEFT, 2, 0.3)], "4"),
     ([(LEFT, 1, 0.99), (RIGHT, 7, 0.9)], "17")],
)  # fmt: skip
def test_a_part_of_what_both_saw_as_one_is_no_digit(parts, expected):
    first, second = [answer(BOTH, 4, 0.2)], [answer(*part) for part in parts]
    assert as_text(choose(first, second, ink_in(LEFT, RIGHT), agreed=True)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["92"], "92"),  # in doubt, but beside one that is sure
        (["9", "2"], "9"),
        (["979"], "979"),
        (["22"], ""),  # letters
        (["999", "222"], "999"),
        (["2"], "2"),  # a single one is given, in doubt
    ],
)
def test_letters_beside_numbers_are_dropped_and_doubtful_digits_in_them_are_kept(rows, expected):
    digits = [
        answer(LEFT, int(digit), 0.95 if digit == "9" else 0.75 if digit == "7" else 0.3)
        for row in rows
        for digit in row
    ]
    numbers = [number for number, row in enumerate(rows) for _ in row]
    digits = [digit._replace(row=number) for digit, number in zip(digits, numbers)]
    assert as_text(without_strays(digits)).replace("\n", "") == expected


def grid_of_boxes(lengths, slope=0.0, heights=(20,)):
    """Lay out boxes in rows of these lengths, 30 pixels apart, and 40 from row to row."""
    boxes = []
    for row, length in enumerate(lengths):
        for i in range(length):
            height = heights[i % len(heights)]
            bottom = 40 * row + 30 + slope * 30 * i
            boxes.append((30 * i, bottom - height, 30 * i + 15, bottom))
    return np.array(boxes, float)


@pytest.mark.parametrize(
    "layout",
    [
        {"lengths": [5]},
        {"lengths": [1, 1, 1, 1]},  # a column
        {"lengths": [2, 6, 1]},
        {"lengths": [6, 6], "slope": 0.25},
        {"lengths": [6, 5], "slope": -0.25},
        {"lengths": [5, 5], "heights": (20, 9)},  # small zeros
    ],
)
def test_boxes_are_sorted_into_rows(layout):
    boxes = grid_of_boxes(**layout)
    order = np.random.default_rng(2).permutation(len(boxes))
    rows = sort_into_rows(boxes[order])
    assert [order[i] for row in rows for i in row] == list(range(len(boxes)))
    assert [len(row) for row in rows] == layout["lengths"]


@needs_finder
def test_rows_and_boxes_are_returned(hand, predict):
    digits = read_digits(rows_of_unequal_length(hand), predict)
    assert [digit.row for digit in digits] == [0] * 5 + [1] * 2 + [2] * 3
    left, top, right, bottom = digits[5].box  # the 6 was written from (25, 140), 60 pixels tall
    assert 25 < left < right < 115 and 140 < top < bottom < 225
    assert 50 < bottom - top < 70


def test_files_are_read_in_order_and_errors_are_reported(tmp_path, hand, predict):
    for digit in (3, 1):
        write(sheet(200, 200), hand, str(digit), 40, 30, 90).save(tmp_path / f"{digit}.png")
    sheet(200, 200).save(tmp_path / "empty.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = ["3.png", "broken.png", "empty.png", "1.png"]
    paths = [tmp_path / name for name in names]
    (three, broken), (empty, one) = read_chunks([paths[:2], paths[2:]], predict, in_processes)
    assert as_text(three) == "3" and as_text(one) == "1"
    assert isinstance(empty, NoDigitError)
    assert isinstance(broken, ValueError) and "PNG, JPEG" in str(broken)
