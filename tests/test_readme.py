"""The README from the outside: its snippets run, and its flags and links exist."""

import base64
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from server import ROOT, serve

import app
import mnist_dnn
from digits.options import parse_arguments
from digits.tables import HEADER

README = (ROOT / "README.md").read_text("utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def lines(*languages):
    """Return the commands in the blocks of these languages, without comments."""
    blocks = "".join(text for language, text in BLOCKS if language in languages)
    return [re.sub(r"\s+# .*", "", line) for line in blocks.splitlines()]


INLINE = re.findall(r"`(python [^`]+)`", README)
COMMANDS = [
    command
    for line in lines("sh", "powershell") + INLINE
    for command in re.split(r" && |; ", line)
    if not command.startswith("curl ")
]
READING = [line for line in lines("sh") if "--predict" in line]
REQUESTS = [line for line in lines("sh") if line.startswith("curl ")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the bundled model and pictures of a seven, as the README supposes."""
    image = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(image).line([(90, 70), (200, 70), (140, 230)], "black", 18, joint="curve")
    (tmp_path / "photos").mkdir()
    for name in ("my_digit.png", "photos/seven.jpg"):
        image.save(tmp_path / name)
    shutil.copy(ROOT / "mnist_dnn.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_valid(command):
    """Tell whether a command is one of those that the project has, with flags that it knows."""
    program, flags = re.fullmatch(r"(python \w+\.py|python -m \w+|\S+)(.*)", command).groups()
    words = shlex.split(flags)
    match program:
        case "python mnist_dnn.py":
            return parse_arguments(words)
        case "python app.py":
            return app.parse_arguments(words)
        case "python save_mnist_as_images.py":
            return words == []
        case "python -m pip":
            return words[:2] == ["install", "-r"] and (ROOT / words[2]).is_file()
        case "python -m venv" | "python -m pytest":
            return importlib.util.find_spec(program.split()[-1])
    return command in (". .venv/bin/activate", r".venv\Scripts\Activate.ps1")


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_of_the_readme_are_understood(command):
    assert is_valid(re.sub(r" > \S+$", "", command))


def test_python_of_the_readme_reads_a_digit(folder, capsys):
    snippets = [text for language, text in BLOCKS if language == "python"]
    values = {}
    for snippet in snippets:
        exec(snippet, values)
    assert snippets and values["predicted_class"] == 7
    assert capsys.readouterr().out.startswith("7 ")


@pytest.mark.parametrize("command", READING)
def test_pictures_are_read_as_the_readme_says(folder, capsys, command):
    words = shlex.split(command.partition(" > ")[0])[2:]
    assert mnist_dnn.main(words) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert f"`{header}`" in README and header == ",".join(HEADER)
    assert rows and all(row.split(",")[1] == "7" for row in rows)
    assert Path("explain.png").exists() == ("--explain" in words)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_requests_of_the_readme_get_the_answer_it_shows(folder):
    picture = base64.b64encode(Path("my_digit.png").read_bytes()).decode()
    shown = json.loads(dict(BLOCKS)["json"].replace("[...]", "[]"))
    with serve("--model", str(ROOT / "mnist_dnn.h5")) as (address, _):
        for request in REQUESTS:
            request = request.replace("127.0.0.1:5000", address).replace("<base64>", picture)
            answer = json.loads(subprocess.check_output([*shlex.split(request), "-sS"]))
            assert list(answer) == list(shown) and answer["digit"] == shown["digit"] == 7


def test_defaults_in_the_readme_are_true():
    rows = re.findall(r"^\| `(--[\w-]+)[^`]*` \| ([^|]+?) \|", README, re.MULTILINE)
    defaults = vars(parse_arguments([]))
    words = {None: ("MNIST", "a new network"), False: ("off",)}
    for flag, said in rows:
        default = defaults[flag[2:].replace("-", "_")]
        assert said in words.get(default, (str(default),)), flag
    assert len(rows) == 6


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


def anchors(page):
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', page.read_text("utf-8"))
    for link in filter(lambda link: "//" not in link, map("".join, links)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
