import csv
import io
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import turned_by
from PIL import Image

from digits.tables import HEADER, predict_files, safe_cell
from mnist_dnn import main, predict_digits, predict_pil_image

ROOT = Path(__file__).parents[1]


def read_table(capsys):
    header, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert header == list(HEADER)
    return rows


@pytest.fixture
def sheet(legible):
    """Two digits side by side."""
    picture = Image.new("L", (400, 200), "white")
    for i in (0, 1):
        digit = Image.fromarray(255 - legible[0][i]).resize((140, 140))
        picture.paste(digit, (30 + 190 * i, 30))
    return picture


def test_predict_prints_a_row_for_each_file(model_path, legible, tmp_path, capsys):
    Image.fromarray(legible[0][0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    explained = tmp_path / "explain.png"
    flags = ["--weights", str(model_path), "--explain", str(explained)]
    assert main(["--predict", *paths, *flags]) == 1
    rows = read_table(capsys)
    assert [row[0] for row in rows] == paths and explained.exists()
    assert (
        rows[0][1] == str(legible[1][0])
        and 0.95 < float(rows[0][2]) <= 1
        and rows[0][3:] == ["", ""]
    )
    assert rows[1][1:4] == ["", "", ""] and rows[1][4].startswith("Expected a PNG")
    assert rows[2][4] == "There is no such file"


def test_predict_reads_folders_as_it_reads_each_picture(model, model_path, folders, capsys):
    (folders / "notes.txt").write_text("no picture")
    (folders / ".hidden.png").write_text("no picture")
    (folders / "empty").mkdir()
    assert main(["--predict", str(folders), "--weights", str(model_path)]) == 0
    rows = read_table(capsys)
    assert [row[0] for row in rows] == sorted(str(path) for path in folders.rglob("*/*.png"))
    for path, digits, confidence, doubt, _ in rows[::40]:
        digit, probabilities = predict_pil_image(Image.open(path), model)
        assert (digits, confidence) == (str(digit), f"{probabilities.max():.4f}")
        assert doubt == ("perhaps no digit" if probabilities.max() < 0.8 else "")
    assert main(["--predict", str(folders / "empty"), "--weights", str(model_path)]) == 1
    assert "There is no picture in this folder" in capsys.readouterr().out


def test_several_digits_make_one_row(model, sheet, tmp_path):
    path = str(tmp_path / "sheet.png")
    sheet.save(path)
    (a, p, _), (b, q, _) = predict_digits(sheet, model)
    ((row,),) = predict_files([path], model)
    assert row == (path, f"{a}{b}", f"{min(p.max(), q.max()):.4f}", "", "")


def test_files_without_end_are_read_in_batches(model, legible, tmp_path):
    Image.fromarray(legible[0][0]).save(tmp_path / "a.png")
    batches = predict_files(itertools.cycle([tmp_path / "a.png", "b.png"]), model, batch_size=5)
    for _ in range(3):
        assert [bool(problem) for *_, problem in next(batches)].count(False) in (2, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_many_files_are_read_by_all_cores_as_few_are_by_one(model, folders):
    paths = [str(path) for path in sorted(folders.glob("t*/*/*.png"))]
    (folders / "loop.png").symlink_to("loop.png")
    few, many = (
        [row for rows in predict_files([*paths, folders / "loop.png"], model, size) for row in rows]
        for size in (1000, 50)
    )
    for one, other in zip(few, many, strict=True):
        assert one[:2] + one[3:] == other[:2] + other[3:]
        assert float(one[2] or 0) == pytest.approx(float(other[2] or 0), abs=2e-4)
    assert [path for path, *_ in many[:-1]] == paths and "Too many levels" in many[-1][4]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no names there")
def test_a_picture_from_a_pipe_is_read_whole(model, legible, tmp_path):
    path, (source, sink) = tmp_path / "a.bmp", os.pipe()
    Image.fromarray(255 - legible[0][0]).resize((280, 280)).save(path)
    content = path.read_bytes()
    with ThreadPoolExecutor() as pool, open(sink, "wb") as file:
        pool.submit(lambda: (file.write(content), file.close()))
        ((_, *row),) = next(predict_files([f"/dev/fd/{source}"], model))
    ((_, *expected),) = next(predict_files([path], model))
    assert row == expected and row[0] and len(content) > 2**16


def test_a_small_picture_is_turned_upright_as_a_large_one(model, legible, tmp_path):
    picture = Image.fromarray(np.roll(legible[0][0], 2, axis=0)).rotate(180)
    picture.save(tmp_path / "a.png", exif=turned_by(3))  # upside down
    ((_, digits, *_),) = next(predict_files([tmp_path / "a.png"], model))
    assert digits == str(predict_pil_image(Image.open(tmp_path / "a.png"), model)[0])
    assert digits == str(legible[1][0])


def test_at_most_20_pictures_are_explained(model_path, folders, tmp_path):
    explained = tmp_path / "explain.png"
    flags = ["--weights", str(model_path), "--explain", str(explained)]
    assert main(["--predict", str(folders), *flags]) == 0
    with Image.open(explained) as drawn:
        assert drawn.height == 20 * 1.9 * 120  # inches a row, dots per inch


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a.png", "a.png"),
        ("=HYPERLINK(1).png", "'=HYPERLINK(1).png"),
        ("+1.png", "'+1.png"),
        ("-1.png", "'-1.png"),
        ("@a.png", "'@a.png"),
        ("a\nb\r\t\x85.png", r"a\nb\r\t\x85.png"),
        ("caf\udce9.png", "caf\udce9.png"),
    ],
)
def test_a_name_is_no_formula_and_stays_on_one_line(name, cell):
    assert safe_cell(name) == cell


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have neither such a name nor pty"
)
def test_the_table_is_whole_and_the_progress_bar_beside_it(model_path, folders):
    name = 'caf\udce9, "a"\n.png'  # no UTF-8, and all that CSV has to quote
    (folders / "test/0").joinpath(name).write_text("no picture")
    terminal, stderr = os.openpty()
    command = [sys.executable, ROOT / "mnist_dnn.py", "--predict", folders, "--weights", model_path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=300)
    header, *rows = csv.reader(io.StringIO(os.fsdecode(done.stdout), newline=""))
    assert done.returncode == 1 and header == list(HEADER) and len(rows) == 401
    problems = [Path(path).name for path, *_, problem in rows if problem]
    assert problems == [name.replace("\n", "\\n")]
    assert "401/401" in os.read(terminal, 100_000).decode()


def test_a_closed_pipe_ends_quietly(model_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, ROOT / "mnist_dnn.py", "--predict", "a", "--weights", model_path]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
