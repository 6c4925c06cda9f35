"""The Python of docs/scaling.md and of the camera in docs/serving.md runs as it is shown."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_folders

from mnist_dnn import main

ROOT = Path(__file__).parents[1]


def snippet(page, word):
    """Return the Python on a page of docs that has this word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / page).read_text("utf-8"),
                        re.MULTILINE | re.DOTALL)  # fmt: skip
    (found,) = [block for block in blocks if word in block]
    return found


def test_rows_of_pixels_are_read(tmp_path, monkeypatch, legible, model_path):
    rows = "\n".join(",".join(map(str, image.ravel())) for image in legible[0][:20])
    names = ",".join(f"pixel{i}" for i in range(784))
    (tmp_path / "test.csv").write_text(f"{names}\n{rows}\n")  # as Kaggle has it
    shutil.copy(model_path, tmp_path / "mnist_dnn.h5")
    monkeypatch.chdir(tmp_path)
    values = {}
    exec(snippet("scaling.md", "loadtxt"), values)
    assert np.array_equal(values["digits"], legible[1][:20])


def test_the_camera_shows_boxes_around_digits(tmp_path, monkeypatch, seven):
    cv2 = pytest.importorskip("cv2")
    film, shown = str(tmp_path / "film.avi"), []
    writer = cv2.VideoWriter(film, cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 480))
    sheet = np.full((480, 640, 3), 230, "uint8")
    digit = sheet.copy()
    digit[100:300, 200:400] = np.asarray(seven.convert("RGB").resize((200, 200)))
    for frame in (digit, sheet, digit):
        writer.write(frame)
    writer.release()
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda camera: capture(film))
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: -1, raising=False)
    monkeypatch.setattr(cv2, "imshow", lambda name, frame: shown.append(frame), raising=False)
    monkeypatch.chdir(ROOT)
    exec(snippet("serving.md", "VideoCapture"), {})
    boxes = [(frame == (0, 160, 0)).all(axis=2).sum() > 500 for frame in shown]
    assert boxes == [True, False, True]


CLUSTER = """
import os
from ray.cluster_utils import Cluster

def ports(node):  # else a slow machine waits in vain for them to be chosen
    names = "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"
    return {name: 52_000 + 10 * node + i for i, name in enumerate(names)}

one = {"num_cpus": 1, "object_store_memory": 10**8}
cluster = Cluster(True, head_node_args={**one, **ports(0), "include_dashboard": False})
cluster.add_node(**one, **ports(1))
os.environ["RAY_ADDRESS"] = cluster.address
"""


@pytest.mark.slow
def test_a_cluster_reads_pictures_as_one_machine_does(tmp_path, monkeypatch, digits, capsys):
    pytest.importorskip("ray.data")
    for name in ("digits", "mnist_dnn.py", "mnist_dnn.h5"):
        (shutil.copytree if "." not in name else shutil.copy)(ROOT / name, tmp_path / name)
    save_folders(tmp_path / "photos", *digits)
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    lines = snippet("scaling.md", "import ray").replace("/mnt", str(tmp_path))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CLUSTER + lines], check=True, env=environment)
    found = [row for file in (tmp_path / "rows").iterdir() for row in csv.DictReader(file.open())]
    assert main(["--predict", str(tmp_path / "photos")]) == 1  # one is broken
    expected = [*csv.DictReader(capsys.readouterr().out.splitlines())]
    assert len(found) == len(expected) == 401
    pairs = zip(*(sorted(rows, key=lambda row: row["picture"]) for rows in (found, expected)))
    for row, other in pairs:
        confidences = [float(each.pop("confidence") or 0) for each in (row, other)]
        assert row == other and confidences[0] == pytest.approx(confidences[1], abs=2e-4)
