"""POST /correct keeps what people correct, where the service was told to keep it."""

import io

import numpy as np
import pytest
from PIL import Image

from app import create_app
from digits import collection
from digits.files import open_picture
from digits.synthetic import draw_digits


@pytest.fixture(scope="module")
def pixels():
    """A digit in MNIST's form."""
    return draw_digits(1, seed=3)[0][0]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of --collect."""
    monkeypatch.setenv("MNIST_COLLECT", str(tmp_path / "my_digits"))
    return tmp_path / "my_digits"


@pytest.fixture
def client(root, model_path):
    return create_app(model_path).test_client()


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def correct(client, data, label="7", kind="image/png"):
    response = client.post(f"/correct?label={label}", data=data, content_type=kind)
    return response.status_code, response.get_json()


def kept(root):
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_the_network_saw_is_kept_as_it_is(client, root, pixels):
    status, answer = correct(client, png(pixels))
    assert status == 200 and kept(root) == [root / answer["kept"]]
    assert answer["kept"].startswith("train/7/") and answer["kept"].endswith(".png")
    assert np.array_equal(open_picture(root / answer["kept"]), pixels)


def test_only_the_digit_of_a_photo_is_kept(client, root, seven):
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    file = io.BytesIO()
    seven.convert("RGB").save(file, "JPEG", exif=exif)
    assert correct(client, file.getvalue(), kind="image/jpeg")[0] == 200
    (path,) = kept(root)
    assert open_picture(path).size == (28, 28) and b"where I live" not in path.read_bytes()


def test_what_is_no_digit_is_kept_apart(client, root, pixels):
    assert correct(client, png(pixels), "none")[1]["kept"].startswith("nondigits/")


def blank():
    return png(np.zeros((90, 90), "uint8"))


BAD = [
    ({"label": "10"}, 400, "0 to 9"),
    ({"label": ""}, 400, "0 to 9"),
    ({"label": "../../7"}, 400, "0 to 9"),
    ({"label": "7%2F..%2F.."}, 400, "0 to 9"),
    ({"kind": "multipart/form-data; boundary=x"}, 415, "as the body"),  # sites can send these
    ({"kind": "text/plain"}, 415, "as the body"),
    ({"kind": "application/x-www-form-urlencoded"}, 415, "as the body"),
    ({"data": b"no picture"}, 422, "Expected a PNG"),
    ({"data": blank()}, 422, "No digit stands out"),
]


@pytest.mark.parametrize(("change", "status", "words"), BAD)
def test_a_bad_correction_gets_a_sentence_and_keeps_nothing(
    client, root, pixels, change, status, words
):
    answered, answer = correct(client, **({"data": png(pixels)} | change))
    assert answered == status and words in answer["error"]
    assert kept(root) == []


def test_a_full_folder_takes_no_more(client, root, pixels, monkeypatch):
    monkeypatch.setattr(collection, "MAX_PICTURES", 0)
    status, answer = correct(client, png(pixels))
    assert status == 507 and "full" in answer["error"] and kept(root) == []


def test_nothing_is_kept_unless_it_was_asked_for(model_path, pixels, monkeypatch):
    monkeypatch.delenv("MNIST_COLLECT", raising=False)
    client = create_app(model_path).test_client()
    status, answer = correct(client, png(pixels))
    assert status == 403 and "--collect" in answer["error"]
    assert "Nothing that you write or choose is stored" in client.get("/").text


def test_the_page_says_where_pictures_are_kept(client, root):
    page = client.get("/").text
    assert "kept in the folder my_digits" in page and str(root.parent) not in page
