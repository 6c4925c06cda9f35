"""The page in a real browser; set SCREENSHOTS to a folder to keep what it looks like."""

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import turned_by
from PIL import Image
from server import ROOT, serve

from digits.files import open_picture
from digits.synthetic import draw_digits

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
CAMERA = ["--use-fake-device-for-media-stream"]  # a test pattern
SIZES = {"desktop": (1280, 900), "laptop": (1024, 600), "phone": (390, 844), "sideways": (844, 390)}
SEVEN = [[(0.35, 0.25), (0.65, 0.25), (0.48, 0.8)]]
FOUR = [[(0.3, 0.2), (0.18, 0.55), (0.4, 0.55)], [(0.35, 0.3), (0.34, 0.8)]]
LOOPED_SEVEN = [[(0.3, 0.19), (0.36, 0.15), (0.4, 0.24), (0.38, 0.39), (0.35, 0.26), (0.38, 0.16),
    (0.41, 0.15), (0.47, 0.21), (0.45, 0.31), (0.42, 0.47), (0.37, 0.6), (0.32, 0.81)]]  # fmt: skip
TWO = [[(0.57, 0.33), (0.64, 0.22), (0.74, 0.28), (0.72, 0.42), (0.57, 0.78), (0.78, 0.77)]]


@pytest.fixture(scope="module")
def address():
    """The service with the bundled model."""
    with serve("--model", str(ROOT / "mnist_dnn.h5")) as (address, _):
        yield f"http://{address}/"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=BROWSER, args=QUIET + CAMERA)
        yield chromium
        chromium.close()


@pytest.fixture
def page(request, browser, address):
    size, scheme = getattr(request, "param", "desktop light").split()
    width, height = SIZES[size]
    touch = {"has_touch": True, "is_mobile": True} if size in ("phone", "sideways") else {}
    viewport = {"width": width, "height": height}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, **touch)
    opened, problems = context.new_page(), []
    opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(address)
    yield opened
    if "SCREENSHOTS" in os.environ:
        opened.wait_for_timeout(800)  # for the last answer and its bars
        name = f"{request.node.originalname} {size} {scheme}.png".replace(" ", "_")
        opened.screenshot(path=Path(os.environ["SCREENSHOTS"], name), full_page=True)
    context.close()
    assert [text for text in problems if "422" not in text] == []


QUICK = ["desktop light", "laptop dark", "phone light", "sideways dark"]
OTHERS = ["desktop dark", "laptop light", "phone dark", "sideways light"]
ALL_SIZES = pytest.mark.parametrize(
    "page",
    QUICK + [pytest.param(other, marks=pytest.mark.slow) for other in OTHERS],
    indirect=True,
)


def point(page, x, y):
    """Return where a point of the sheet, 0-1, lies on the screen."""
    frame = page.locator("#canvas").bounding_box()
    return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]


def write(page, strokes):
    for first, *others in strokes:
        page.mouse.move(*point(page, *first))
        page.mouse.down()
        for each in others:
            page.mouse.move(*point(page, *each), steps=6)
        page.mouse.up()


def expect(page, selector, pattern):
    there = playwright.expect(page.locator(selector))
    there.to_have_text(re.compile(pattern), timeout=20_000)  # milliseconds, on a busy machine


def choose(page, tmp_path, image, name="picture.png", **options):
    image.save(tmp_path / name, **options)
    page.set_input_files("#file", tmp_path / name)


@ALL_SIZES
def test_a_written_number_is_read(page):
    frame = page.locator("#canvas").bounding_box()
    write(page, FOUR + TWO)
    expect(page, "#words", "^Looks like 42, (at least|more than) .* % sure of each digit")
    assert page.locator("#number button").all_inner_texts() == ["4", "2"]
    page.locator("#number button").nth(1).click()
    assert page.locator("#bars .best").inner_text().startswith("2")
    assert page.locator("#preview").evaluate("image => image.naturalWidth") == 28
    assert page.locator("#canvas").bounding_box() == frame  # it does not move under the pen
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert frame["y"] + frame["height"] <= height  # all of it can be written on


def test_the_boxes_lie_on_the_digits(page):
    write(page, FOUR + TWO)
    expect(page, "#words", "Looks like 42")
    four, two = [box.bounding_box() for box in page.locator("#boxes > div").all()]
    left, top = point(page, 0.18, 0.2)
    assert four["x"] == pytest.approx(left, abs=20) and four["y"] == pytest.approx(top, abs=20)
    assert four["x"] + four["width"] < two["x"]


@pytest.mark.parametrize("page", ["desktop light", "desktop dark"], indirect=True)
def test_one_digit_is_named_and_nothing_else_is_claimed(page):
    write(page, SEVEN)
    expect(page, "#words", r"^Looks like a 7, (>99\.9|\d\d\.\d) % sure")
    playwright.expect(page.locator("#number button")).to_have_count(1)


def test_undo_takes_back_a_stroke_and_clearing(page):
    write(page, FOUR + TWO)
    expect(page, "#words", "Looks like 42")
    page.keyboard.press("Control+z")
    expect(page, "#number", "^4$")
    page.keyboard.press("Escape")
    expect(page, "#words", "Waiting for a digit")
    playwright.expect(page.locator("#hint")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page, "#number", "^4$")
    page.keyboard.press("Delete")
    expect(page, "#words", "Waiting for a digit")


def test_the_eraser_takes_away_ink(page):
    write(page, SEVEN)
    expect(page, "#words", "Looks like a 7")
    page.get_by_role("radio", name="Eraser").check(force=True)
    write(page, [[(0.3, 0.25), (0.7, 0.25)]])  # the bar of the seven
    expect(page, "#words", "a 1")


def test_pens_can_be_chosen_with_the_keyboard(page):
    page.get_by_role("radio", name="Medium pen").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="Broad pen").is_checked()
    write(page, SEVEN)
    expect(page, "#words", "Looks like a 7")


def test_a_dot_is_drawn_and_doubted(page):
    page.mouse.click(*point(page, 0.5, 0.5))
    expect(page, "#words", "Not sure: perhaps")
    assert "light" not in page.locator("#words").inner_text()


def test_an_empty_stroke_gets_advice_for_writing_not_for_photos(page):
    erase_nothing(page)
    assert "light" not in page.locator("#words").inner_text()


def test_a_sheet_without_a_digit_gets_its_sentence(page, tmp_path):
    choose(page, tmp_path, Image.new("RGB", (80, 60), "ivory"))
    expect(page, "#words", "No digit stands out")
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page, "#words", "Waiting for a digit")
    assert page.locator("#preview").is_hidden()


def test_a_photo_that_lies_on_its_side_gets_its_box_in_place(page, tmp_path):
    images, labels = draw_digits(60, seed=1)
    three = Image.fromarray(255 - images[labels == 3][0]).resize((900, 900)).convert("RGB")
    sheet = Image.new("RGB", (2800, 1400), "white")
    sheet.paste(three, (1800, 250))  # in the right half
    options = {"exif": turned_by(6), "quality": 90}
    choose(page, tmp_path, sheet.rotate(90, expand=True), "photo.jpg", **options)
    expect(page, "#words", "Looks like a 3")
    box, middle = page.locator("#boxes > div").bounding_box(), point(page, 0.5, 0.5)
    assert box["x"] > middle[0] and box["y"] < middle[1] < box["y"] + box["height"]


def test_every_stroke_is_answered_while_it_is_written(page):
    for y in (0.3, 0.6):
        page.mouse.move(*point(page, 0.3, y))
        page.mouse.down()
        with page.expect_response("**/predict"):
            page.mouse.move(*point(page, 0.7, y), steps=3)
        page.mouse.up()
        page.wait_for_timeout(300)  # for the answer after it


def test_a_large_transparent_picture_keeps_its_paper(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1800, 1800, 4), "uint8")  # a large file
    pixels[..., 3] = 0
    pixels[300:1500, 800:950] = 0, 0, 0, 255  # a one in black ink
    choose(page, tmp_path, Image.fromarray(pixels))
    assert (tmp_path / "picture.png").stat().st_size > 2_000_000
    expect(page, "#words", "Looks like a 1")


def test_a_dropped_file_is_read(page):
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), {width: 90, height: 90});
            const context = canvas.getContext("2d");
            context.lineWidth = 9;
            context.moveTo(45, 10);
            context.lineTo(45, 80);
            context.stroke();
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([blob], "one.png", {type: "image/png"}));
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }"""
    )
    expect(page, "#words", "a 1")


def test_a_file_that_is_no_picture_gets_its_sentence(page, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page, "#words", "cannot show this file")


def test_an_eight_takes_an(page):
    describe = """async (digit) => {
        const { describe } = await import("/static/answer.js");
        const probabilities = Array.from({length: 10}, (_, i) => (i === digit ? 1 : 0));
        const digits = [{ digit, confidence: 1, probabilities, sure: true }];
        return describe({ text: String(digit), digits, confidence: 1, sure: true });
    }"""
    assert page.evaluate(describe, 8) == "Looks like an 8, >99.9 % sure."
    assert page.evaluate(describe, 1) == "Looks like a 1, >99.9 % sure."


def test_example_pictures_are_read(page):
    for name, text in {"marker": "8", "number": "2026", "slate": "3"}.items():
        page.get_by_role("button", name=f"Example: {name}").click()
        expect(page, "#number", f"^{text}$")
        page.keyboard.press("Escape")
    expect(page, "#history", "3.*2026.*8")


def test_a_frame_crops_a_picture_and_undo_brings_it_back(page):
    page.get_by_role("button", name="Example: number").click()
    expect(page, "#number", "^2026$")
    write(page, [[(0.05, 0.2), (0.3, 0.8)]])
    expect(page, "#number", "^2$")
    page.get_by_role("button", name="Undo").click()
    expect(page, "#number", "^2026$")
    write(page, [[(0.5, 0.5), (0.5, 0.5)]])  # a tap crops nothing
    assert page.locator("#frame").is_hidden()


def test_a_picture_is_cropped_with_the_keyboard(page):
    page.get_by_role("button", name="Example: number").press("Enter")
    expect(page, "#number", "^2026$")
    crop = page.get_by_role("button", name="Drag a frame to crop")
    crop.press("Enter")
    frame = page.get_by_role("application", name="The arrow keys move it")
    playwright.expect(frame).to_be_focused()
    for key in ["ArrowLeft", "Shift+ArrowLeft"] * 11 + ["Shift+ArrowDown"]:  # around the first 2
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page, "#number", "^2$")
    crop.press("Enter")
    page.keyboard.press("Escape")
    playwright.expect(frame).to_be_hidden()
    playwright.expect(crop).to_be_focused()
    expect(page, "#number", "^2$")  # the picture is not cleared


def test_the_last_answers_can_be_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for strokes in (SEVEN, FOUR + TWO):
        write(page, strokes)
        expect(page, "#words", "Looks like a 7" if strokes == SEVEN else "Looks like 42")
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Copy").click()
    expect(page, "#copy", "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "42\n7"


def test_corrections_can_be_downloaded(page, tmp_path):
    write(page, FOUR + TWO)
    expect(page, "#words", "Looks like 42")
    labels = page.locator("#labels")
    labels.get_by_role("button", name="9", exact=True).click()
    expect(page, "#outcome", "Noted as a 9")
    page.locator("#number button").nth(1).click()
    labels.get_by_role("button", name="no digit").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download my pictures (2)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    (nine,) = tmp_path.glob("my_digits/train/9/*.png")
    (other,) = tmp_path.glob("my_digits/nondigits/*.png")
    assert open_picture(nine).size == open_picture(other).size == (28, 28)


def test_corrections_are_kept_where_the_service_collects(browser, tmp_path):
    folder = tmp_path / "my_digits"
    flags = "--model", str(ROOT / "mnist_dnn.h5"), "--collect", str(folder)
    with serve(*flags) as (address, _), browser.new_page() as page:
        page.goto(f"http://{address}/")
        assert "kept in the folder my_digits" in page.locator("footer").inner_text()
        write(page, SEVEN)
        expect(page, "#words", "Looks like a 7")
        page.wait_for_timeout(800)  # for the answer to the last stroke
        for label in ("1", "7"):  # a slip of the finger is corrected
            page.locator("#labels").get_by_role("button", name=label, exact=True).click()
            expect(page, "#outcome", f"Kept in my_digits as a {label}")
    (kept,) = [path for path in folder.rglob("*") if path.is_file()]
    assert kept.parent == folder / "train/7" and open_picture(kept).size == (28, 28)


def test_the_camera_is_read_until_a_picture_is_taken(page):
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Camera").click()
    for _ in range(2):
        with page.expect_response("**/predict"):
            pass
    playwright.expect(page.locator("#video")).to_be_visible()
    page.locator("#video").click()
    playwright.expect(page.locator("#video")).to_be_hidden()
    assert page.locator("body.picture").count() == 1  # it is on the sheet, and can be cropped


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_the_page_learns_a_seven_that_it_took_for_a_nine(browser, looped_sevens, tmp_path):
    model = shutil.copy(ROOT / "mnist_dnn.h5", tmp_path)
    flags = "--model", str(model), "--collect", str(looped_sevens)
    with serve(*flags) as (address, _), browser.new_page() as page:
        page.goto(f"http://{address}/")
        write(page, LOOPED_SEVEN)
        expect(page, "#words", "Looks like a 9")
        page.wait_for_timeout(800)  # for the answer to the last stroke
        page.locator("#labels").get_by_role("button", name="7", exact=True).click()
        expect(page, "#outcome", "Kept in my_digits as a 7")
        assert len(list(looped_sevens.glob("train/7/*.png"))) == 31
        train = [sys.executable, ROOT / "mnist_dnn.py", "--start-from", model, "--output", model]
        subprocess.run([*train, "--data-dir", looped_sevens], cwd=tmp_path, check=True)
        end = time.monotonic() + 60  # on a busy machine: the new model is in use after two seconds
        while "like a 7" not in page.locator("#words").inner_text() and time.monotonic() < end:
            page.keyboard.press("Escape")
            page.keyboard.press("Control+z")
            page.wait_for_timeout(1000)
        expect(page, "#words", "Looks like a 7")


def show_example(page):
    page.get_by_role("button", name="Example: number").click()
    expect(page, "#number", "^2026$")


def frame_example(page):
    show_example(page)
    page.get_by_role("button", name="Drag a frame to crop").click()


def correct_seven(page):
    write(page, SEVEN)
    expect(page, "#words", "a 7")
    page.locator("#labels").get_by_role("button", name="9").click()
    expect(page, "#outcome", "Noted as a 9")


def fill_history(page):
    for _ in range(10):
        show_example(page)
        page.keyboard.press("Escape")


def look_through_camera(page):
    page.context.grant_permissions(["camera"])
    page.get_by_role("button", name="Camera").click()
    playwright.expect(page.locator("#video")).to_be_visible()


def erase_nothing(page):
    page.get_by_role("radio", name="Eraser").check(force=True)
    page.mouse.click(*point(page, 0.5, 0.5))
    expect(page, "#words", "Write a little larger")


STATES = {
    "empty": lambda page: None,
    "several digits": show_example,
    "crop": frame_example,
    "correction": correct_seven,
    "history": fill_history,
    "camera": look_through_camera,
    "error": erase_nothing,
}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_obstacle(page, state):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    STATES[state](page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(200)  # for the transitions
        found = axe.Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"]) for each in found] == []
