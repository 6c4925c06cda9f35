"""The commands of the Dockerfile, each in a fresh virtual environment; no image is built."""

import json
import os
import platform
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from server import stop

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
MAX_BYTES = 250e6  # without Python and Debian

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.system() != "Linux" or platform.machine() != "x86_64",
        reason="the image is for 64-bit Linux",
    ),
    pytest.mark.skipif(
        sys.version_info[:2] not in ((3, 11), (3, 12)), reason="the hashes are for 3.11 and 3.12"
    ),
]


def instructions(name):
    return re.findall(rf"^{name} (.+)$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder as the image has it, with an environment of its own in .venv."""
    folder = tmp_path_factory.mktemp("image")
    for files in instructions("COPY"):
        *sources, target = files.split()
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, folder / target)
            else:
                shutil.copy(source, folder / target)
    venv.create(folder / ".venv", with_pip=True)
    (install,) = [each for each in instructions("RUN") if " pip " in each]
    run(folder, shlex.split(install))
    return folder


def run(folder, command, **variables):
    """Run a command of the image to its end; its python is that of the environment."""
    return subprocess.run(arguments(folder, command), cwd=folder, env=os.environ | variables,
                          check=True, capture_output=True, text=True)  # fmt: skip


def arguments(folder, command):
    assert command[0] == "python"
    return [str(folder / ".venv" / "bin" / "python"), *command[1:]]


def test_the_service_runs_with_its_requirements_alone(image):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    variables = {"MNIST_HOST": "127.0.0.1", "MNIST_PORT": port, "PYTHONDONTWRITEBYTECODE": "1"}
    command, check = (json.loads(re.findall(rf"^{name}(\[.+\])$", TEXT, re.MULTILINE)[0])
                      for name in ("CMD ", "HEALTHCHECK CMD "))  # fmt: skip
    check = [word.replace(":5000/", f":{port}/") for word in check]
    service = subprocess.Popen(arguments(image, command), cwd=image, env=os.environ | variables)
    try:
        for _ in range(100):
            time.sleep(0.3)
            try:
                run(image, check)
                break
            except subprocess.CalledProcessError:
                continue
        else:
            pytest.fail("the health check never passed")
        code = (
            "import io, urllib.request as r; from PIL import Image, ImageDraw; f = io.BytesIO(); "
            "i = Image.new('L', (200, 200), 255); "
            "ImageDraw.Draw(i).line((60, 40, 140, 40, 90, 160), 0, 12); i.save(f, 'PNG'); "
            f"u = 'http://127.0.0.1:{port}/predict'; h = {{'Content-Type': 'image/png'}}; "
            "print(r.urlopen(r.Request(u, f.getvalue(), h)).read())"
        )
        assert '"text":"7"' in run(image, ["python", "-c", code]).stdout.replace(" ", "")
    finally:
        stop(service)


def test_the_image_stays_small(image):
    packages = next((image / ".venv" / "lib").glob("python*"))
    sizes = [path.stat().st_size for path in packages.rglob("*") if not re.search(
        r"/(pip|setuptools)[/-]|__pycache__", str(path)) and path.is_file()]  # fmt: skip
    ours = [path.stat().st_size for path in image.rglob("*") if ".venv" not in path.parts]
    assert 100e6 < sum(sizes) + sum(ours) < MAX_BYTES
    assert not list(packages.rglob("tensorflow*")) and not list(packages.rglob("keras*"))


def test_the_image_runs_as_nobody_special():
    (user,) = instructions("USER")
    assert any(f"useradd --system --no-create-home {user}" in each for each in instructions("RUN"))
    assert TEXT.index("USER") < TEXT.index("\nCMD")
