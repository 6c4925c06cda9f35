"""The page in a real browser; set SCREENSHOTS to a folder to keep what it looks like."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import turned_by
from PIL import Image
from server import ROOT, serve

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SEVEN = [(0.28, 0.25), (0.72, 0.25), (0.45, 0.8)]


@pytest.fixture(scope="module")
def address():
    """The service with the bundled model."""
    with serve("--model", str(ROOT / "mnist_dnn.h5")) as (address, _):
        yield f"http://{address}/"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(params=["desktop light", "desktop dark", "phone light", "phone dark"])
def page(request, browser, address):
    device, scheme = request.param.split()
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    size = phone if device == "phone" else {"viewport": {"width": 1180, "height": 800}}
    context = browser.new_context(color_scheme=scheme, **size)
    opened = context.new_page()
    problems = []
    opened.on("console", lambda message: message.type == "error" and problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(address)
    yield opened
    if "SCREENSHOTS" in os.environ:
        opened.wait_for_timeout(800)  # for the last answer and its bars
        name = f"{request.node.originalname} {request.param}.png".replace(" ", "_")
        opened.screenshot(path=Path(os.environ["SCREENSHOTS"], name), full_page=True)
    context.close()
    assert [text for text in problems if "422" not in text] == []


def place(page, x, y):
    """Return where a point of the canvas, 0-1, lies on the screen."""
    frame = page.locator("#canvas").bounding_box()
    return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]


def draw(page, points):
    for i, point in enumerate(points):
        page.mouse.move(*place(page, *point), steps=8)
        if i == 0:
            page.mouse.down()
    page.mouse.up()


def words(page, pattern):
    playwright.expect(page.locator("#words")).to_have_text(re.compile(pattern))


def test_a_drawn_digit_is_named(page):
    frame = page.locator("#canvas").bounding_box()
    draw(page, SEVEN)
    words(page, "Looks like a 7")
    assert page.locator("#canvas").bounding_box() == frame  # it does not move under the pen
    assert page.locator("#bars .best").inner_text().startswith("7")
    assert page.locator("#preview").evaluate("image => image.naturalWidth") == 28
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_nothing_drawn_gets_its_sentence_and_clear_forgets(page, tmp_path):
    Image.new("RGB", (80, 60), "ivory").save(tmp_path / "blank.png")
    page.set_input_files("#file", tmp_path / "blank.png")
    words(page, "No digit stands out")
    page.get_by_role("button", name="Clear").press("Enter")
    words(page, "Waiting for a digit")
    assert page.locator("#seen").is_hidden() and page.locator("#hint").is_visible()


def test_a_chosen_picture_is_read(page, tmp_path, mnist):
    images, labels = mnist[0]
    three = Image.fromarray(255 - images[np.flatnonzero(labels == 3)[0]]).resize((900, 900))
    three.convert("RGB").rotate(90).save(tmp_path / "photo.jpg", exif=turned_by(6))
    page.set_input_files("#file", tmp_path / "photo.jpg")
    words(page, "Looks like a 3")


@pytest.mark.parametrize("page", ["desktop light"], indirect=True)
def test_every_stroke_is_answered_while_it_is_drawn(page):
    for y in (0.3, 0.6):
        page.mouse.move(*place(page, 0.3, y))
        page.mouse.down()
        with page.expect_response("**/predict"):
            page.mouse.move(*place(page, 0.7, y), steps=3)
        page.mouse.up()
        page.wait_for_timeout(300)  # for the answer after it


@pytest.mark.parametrize("page", ["desktop light"], indirect=True)
def test_a_large_transparent_picture_keeps_its_paper(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1800, 1800, 4), "uint8")  # a large file
    pixels[..., 3] = 0
    pixels[300:1500, 800:950] = 0, 0, 0, 255  # a one in black ink
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 2_000_000
    page.set_input_files("#file", tmp_path / "one.png")
    words(page, "Looks like a 1")


@pytest.mark.parametrize("page", ["desktop light"], indirect=True)
def test_a_dropped_file_is_read(page):
    draw(page, SEVEN)
    words(page, "Looks like a 7")
    page.get_by_role("button", name="Clear").click()
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
    words(page, "Looks like a 1")


@pytest.mark.parametrize("page", ["desktop light"], indirect=True)
def test_a_file_that_is_no_picture_gets_its_sentence(page, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    page.set_input_files("#file", tmp_path / "notes.txt")
    words(page, "cannot show this file")
