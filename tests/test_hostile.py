"""What strangers send costs little: bounded CPU time and memory, and a sentence as the answer."""

import gc
import io
import json
import os
import shutil
import threading
import time
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import turned_by
from hostile import HOSTILE, encoded, many_scans, run_length_bmp
from keras import layers
from PIL import Image, TiffImagePlugin

from app import create_app
from digits import bounded
from digits import budget as budget_module
from digits.bounded import decode
from digits.budget import MORE, SECONDS, Budget, BusyError, require_time
from digits.dense_numpy import UnknownModelError, load_dense
from digits.files import open_picture, upright
from digits.headers import is_light
from digits.reading import read_digits
from digits.requests import MAX_BODY
from mnist_dnn import load_trained_model, save_trained_model

resource = pytest.importorskip("resource", reason="Windows does not measure its processes' time")


def cpu_seconds():
    """Return the CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@pytest.mark.parametrize("make", HOSTILE)
def test_no_picture_takes_more_than_two_seconds(make):
    data, start = make(), cpu_seconds()
    try:
        image, _ = decode(data, Budget())
        assert max(image.size) < 2048
    except (ValueError, BusyError) as error:
        assert str(error)[0].isupper() and str(error).count(" ") > 5
    assert cpu_seconds() - start < 2


def photo(size):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype="uint8")
    return Image.fromarray(noise).resize(size)


ORDINARY = {
    "canvas": encoded(Image.new("RGBA", (280, 280)), "PNG"),
    "phone's photo": encoded(photo((4000, 3000)), "JPEG", exif=turned_by(6)),
    "small WebP": encoded(photo((640, 480)), "WEBP", exif=turned_by(6)),
    "lossless WebP": encoded(photo((640, 480)), "WEBP", lossless=True),
    "bitmap": encoded(photo((640, 480)), "BMP"),
    "drawing": encoded(Image.new("P", (640, 480)), "GIF"),
    "small scan": encoded(Image.new("L", (140, 140)), "TIFF"),
    "no picture": b"this is text",
    "broken": encoded(photo((280, 280)), "PNG")[:90],
}


@pytest.mark.parametrize("data", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_pictures_need_no_process_of_their_own(data):
    assert is_light(data)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_large_pictures_are_decoded_apart_as_they_are_here(mode):
    data = encoded(photo((2100, 2050)).convert(mode), "PNG")
    image, longest = decode(data, Budget())
    assert not is_light(data) and longest == 2100
    assert image == upright(open_picture(io.BytesIO(data)))


def test_a_request_has_one_budget_for_all_its_pictures():
    budget = Budget()
    budget.spend(SECONDS)
    with pytest.raises(BusyError, match="Send fewer or smaller ones"):
        decode(ORDINARY["canvas"], budget)


def many_pieces():
    """A strip of 5,000 strokes with gaps between them: each is a picture of its own."""
    strip = np.full((12, 5000, 26), 230, "uint8")
    strip[2:-2, :, :3] = 20
    return Image.fromarray(strip.reshape(12, -1))


def crowded_page():
    """A page of many shapes, at which the finder looks at several scales."""
    noise = np.random.default_rng(0).integers(0, 256, (255, 255), dtype="uint8")
    return Image.fromarray(noise).resize((2040, 2040))


@pytest.mark.parametrize("make", [many_pieces, crowded_page])
def test_reading_ends_when_the_budget_is_used_up(make):
    picture, budget = make(), Budget()
    budget.spend(SECONDS + MORE - 0.05)
    start = time.thread_time()
    with budget, pytest.raises(BusyError, match="too long to read"):
        read_digits(picture, lambda images: np.full((len(images), 10), 0.1, "float32"))
    assert time.thread_time() - start < 1
    require_time()  # outside the block there is no limit


def test_few_pictures_are_read_at_a_time(monkeypatch):
    monkeypatch.setattr(budget_module, "_turns", threading.BoundedSemaphore(1))
    monkeypatch.setattr(budget_module, "DEADLINE", 0.01)
    with Budget(), pytest.raises(BusyError, match="again in a few seconds"), Budget():
        pass
    with Budget():  # the turn was given back
        pass


def test_what_waits_too_long_is_refused_but_not_what_is_light(monkeypatch):
    monkeypatch.setattr(bounded, "_queue", threading.BoundedSemaphore(1))
    with bounded._queue:
        with pytest.raises(BusyError, match="again in a few seconds"):
            decode(encoded(photo((2100, 2050)), "PNG"), Budget())
        decode(ORDINARY["canvas"], Budget())


@pytest.mark.parametrize(("make", "words"), [(run_length_bmp, "PNG"), (many_scans, "less work")])
def test_the_service_answers_with_a_sentence(make, words, model_path):
    client = create_app(model_path).test_client()
    data = many_scans(200) if make is many_scans else make()
    response = client.post("/predict", data=data, content_type="image/png")
    assert response.status_code == 422 and words in response.get_json()["error"]


def save_as(path, source, change):
    """Copy a model file, and let `change` alter the copy."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        kernels = [name for name in weights if weights[name].attrs["weight_names"].size]
        group = weights[kernels[0]]
        change(file, group, group.attrs["weight_names"][0])
    return path


def outside(file, group, name):
    """Let the weights be the bytes of another file."""
    shape, secret = group[name].shape, [(__file__, 0, 4 * 784 * 128)]
    del group[name]
    group.create_dataset(name, shape, "float32", external=secret)


def virtual(file, group, name):
    layout = h5py.VirtualLayout(group[name].shape, "float32")
    layout[...] = h5py.VirtualSource(__file__, "secret", group[name].shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def enormous(file, group, name):
    del group[name]
    group.create_dataset(name, (784, 2**30), "float32", chunks=(1, 1024), fillvalue=0.5)


def many_layers(file, group, name):
    """Let the description name 20,000 layers, which take hours to build."""
    config = json.loads(file.attrs["model_config"])
    layer = {"class_name": "Dropout", "config": {"name": "dropout", "rate": 0.5}}
    config["config"]["layers"] += [layer] * 20_000
    file.attrs["model_config"] = json.dumps(config)


HOSTILE_MODELS = {
    "many layers": (many_layers, "at most 1,048,576"),
    "outside": (outside, "not elsewhere"),
    "virtual": (virtual, "not elsewhere"),
    "external link": (
        lambda file, *_: file.__setitem__("more", h5py.ExternalLink("other.h5", "/")),
        "without links",
    ),
    "soft link": (lambda file, *_: file.__setitem__("more", h5py.SoftLink("/")), "without links"),
    "enormous": (enormous, "at most"),
}


@pytest.mark.parametrize(("change", "words"), HOSTILE_MODELS.values(), ids=HOSTILE_MODELS)
@pytest.mark.parametrize("load", [load_dense, load_trained_model])
def test_a_model_file_that_reaches_out_is_refused(tmp_path, model_path, load, change, words):
    path = save_as(tmp_path / "model.h5", model_path, change)
    with pytest.raises(ValueError, match=words):
        load(path)


def test_a_packed_keras_file_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"")
        archive.infolist()[0].file_size = 2**31  # as the directory says, which is written last
    with pytest.raises(ValueError, match="at most"):
        load_trained_model(path)


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "model.h5")
    with pytest.raises(ValueError, match="a pipe"):
        load_dense(tmp_path / "model.h5")


def not_finite(file, group, name):
    group[name][0] = np.nan


def all_zero(file, group, name):
    for each in file["model_weights"].values():
        for name in each.attrs["weight_names"]:
            each[name][...] = 0


@pytest.mark.parametrize(
    ("change", "words"), [(not_finite, "with NaN"), (all_zero, "the same for all")]
)
def test_a_model_that_cannot_read_is_not_served(tmp_path, model_path, change, words):
    client = create_app(save_as(tmp_path / "model.h5", model_path, change)).test_client()
    response = client.get("/healthz")
    assert response.status_code == 503 and words in response.get_json()["error"]


def test_a_model_of_colour_pictures_is_not_served(tmp_path):
    colour = keras.Sequential([keras.Input((28, 28, 3)), layers.Flatten(), layers.Dense(10)])
    save_trained_model(colour, tmp_path / "colour.h5")
    with pytest.raises(UnknownModelError, match=r"\(28, 28, 3\)"):
        load_dense(tmp_path / "colour.h5")


def test_a_saved_model_is_served_only_on_demand(tmp_path, monkeypatch):
    (tmp_path / "saved_model.pb").touch()
    assert "--trust-saved-model" in create_app(tmp_path).test_client().get("/healthz").text
    monkeypatch.setenv("MNIST_TRUST_SAVED_MODEL", "1")
    assert "--trust-saved-model" not in create_app(tmp_path).test_client().get("/healthz").text


def test_only_trusted_names_are_answered(model_path, monkeypatch):
    monkeypatch.setenv("MNIST_TRUSTED_HOSTS", "digits.example")
    client = create_app(model_path).test_client()
    assert client.get("/healthz", headers={"Host": "digits.example"}).status_code == 200
    response = client.get("/healthz", headers={"Host": "evil.example"})
    assert response.status_code == 400 and list(response.get_json()) == ["error"]


def test_answers_are_not_stored_and_nobody_is_sent_elsewhere(model_path):
    client = create_app(model_path).test_client()
    for path in ("/healthz", "/nothing", "/", "//healthz", "/static//style.css", "//evil.example"):
        response = client.get(environ_overrides={"PATH_INFO": path}, base_url="http://evil.example")
        assert response.headers["Cache-Control"] == "no-store"
        assert "Location" not in response.headers and "evil" not in response.text


WERKZEUG = pytest.mark.filterwarnings(  # leaves the file of a refused upload to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@WERKZEUG
@pytest.mark.parametrize("field", [(io.BytesIO(bytes(MAX_BODY)), "large.png"), "A" * MAX_BODY])
def test_a_form_is_limited_as_json_is(model_path, field):
    response = create_app(model_path).test_client().post("/predict", data={"image": field})
    assert response.status_code == 413 and "at most 16 MB" in response.get_json()["error"]
    gc.collect()


@pytest.mark.filterwarnings("default")
def test_odd_pictures_fill_neither_log_nor_registry(model_path, capsys):
    client = create_app(model_path).test_client()
    for number in range(20):
        exif = b"Exif\0\0II*\0\xff\xff\xff" + bytes([number])
        data = encoded(Image.new("L", (50, 50)), "JPEG", exif=exif)
        client.post("/predict", data=data, content_type="image/jpeg")
    assert capsys.readouterr().err == ""
    assert set(getattr(TiffImagePlugin, "__warningregistry__", {})) <= {"version"}


BODIES = {
    "brackets": (b'{"images": [' + b"[]," * 5_000_000 + b"0]}", "application/json"),
    "strings": (b'{"images": [' + b'"",' * 5_000_000 + b"0]}", "application/json"),
    "numbers": (b'{"images": [' + b"0," * 8_000_000 + b"0]}", "application/json"),
    "escapes": (b"image=" + b"%ff" * 5_000_000, "application/x-www-form-urlencoded"),
    "few escapes": (b"image=" + b"%ff" * 340_000, "application/x-www-form-urlencoded"),
    "header": (
        b'--b\r\nContent-Disposition: form-data; name="image"' + b'; a="b"' * 2_000_000,
        "multipart/form-data; boundary=b",
    ),
    "fields": (b"a&" * 8_000_000, "application/x-www-form-urlencoded"),
    "line breaks": (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + b"\r\n" * 8_000_000,
        "multipart/form-data; boundary=b",
    ),
    "many fields": (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 250_000 + b"--b--",
        "multipart/form-data; boundary=b",
    ),
}


@WERKZEUG
@pytest.mark.parametrize(("body", "kind"), BODIES.values(), ids=BODIES)
def test_no_body_takes_long_to_understand(model_path, body, kind):
    client, start = create_app(model_path).test_client(), cpu_seconds()
    response = client.post("/predict", data=body, content_type=kind)
    assert response.status_code in (400, 413, 422) and list(response.get_json()) == ["error"]
    assert cpu_seconds() - start < 1
    gc.collect()


@pytest.mark.skipif("DIGITS_HOSTILE" not in os.environ, reason="DIGITS_HOSTILE is unset")
def test_files_that_reach_out_are_refused():
    for path in Path(os.environ["DIGITS_HOSTILE"]).glob("*.h5"):
        with pytest.raises(ValueError, match="not elsewhere"):
            load_dense(path)
