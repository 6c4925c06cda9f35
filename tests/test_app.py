"""The service from the outside: what is sent, what is answered, and how the server behaves."""

import base64
import csv
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import turned_by
from PIL import Image
from server import ROOT, WINDOWS, serve

import app as service
from app import create_app
from digits.requests import MAX_BODY, MAX_DISCARDED, MAX_IMAGES
from mnist_dnn import save_trained_model


@pytest.fixture(scope="module")
def client(model_path):
    return create_app(model_path).test_client()


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def seven(legible):
    """A seven as PNG bytes."""
    images, labels = legible
    return png(images[np.flatnonzero(labels == 7)[0]])


def encode(data):
    return base64.b64encode(data).decode()


def post(client, **body):
    response = client.post("/predict", json=body)
    return response.status_code, response.get_json()


def test_a_digit_is_read(client, seven):
    status, answer = post(client, image=encode(seven))
    assert status == 200 and answer["text"] == "7" and answer["sure"] is True
    assert answer["digit"] == 7 and answer["confidence"] == max(answer["probabilities"]) > 0.95
    assert len(answer["probabilities"]) == 10
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    (only,) = answer["digits"]
    assert {key: only[key] for key in only if key != "box"} == {
        key: answer[key] for key in ("digit", "confidence", "probabilities", "sure")
    }


@pytest.fixture(scope="module")
def number(legible):
    """A sheet with 7, 0 and 4 from left to right, 1200x400."""
    images, labels = legible
    sheet = Image.new("L", (1200, 400))
    for i, digit in enumerate((7, 0, 4)):
        glyph = Image.fromarray(images[np.flatnonzero(labels == digit)[0]])
        sheet.paste(glyph.resize((280, 280)), (400 * i + 60, 60))
    return sheet


def test_a_number_is_read(client, number):
    _, answer = post(client, image=encode(png(np.array(number))), preview=True)
    assert answer["text"] == "704" and [each["digit"] for each in answer["digits"]] == [7, 0, 4]
    assert answer["digit"] is None and answer["probabilities"] is None and "preview" not in answer
    assert answer["confidence"] == min(each["confidence"] for each in answer["digits"])
    for i, each in enumerate(answer["digits"]):
        left, top, right, bottom = each["box"]
        assert 400 * i + 60 <= left < right <= 400 * i + 340 and 60 <= top < bottom <= 340
        assert each["preview"].startswith("data:image/png;base64,")


def test_boxes_are_in_pixels_of_the_whole_upright_picture(client, number):
    file = io.BytesIO()  # a JPEG this large is decoded at a fraction of its size
    large = number.resize((4800, 1600)).rotate(90, expand=True)
    large.save(file, "JPEG", exif=turned_by(6))
    _, answer = post(client, image=encode(file.getvalue()))
    boxes = [each["box"] for each in answer["digits"]]
    assert [left // 1600 for left, _, _, _ in boxes] == [0, 1, 2]
    assert all(240 <= top < bottom <= 1360 for _, top, _, bottom in boxes)


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: f"data:image/png;base64,{text}",
        lambda text: "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
        lambda text: text.rstrip("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: f"  data:image/png;base64,\n{text}\n",
    ],
)
def test_base64_is_taken_as_clients_send_it(client, seven, dress):
    assert post(client, image=dress(encode(seven)))[1]["digit"] == 7


def test_a_file_can_be_uploaded(client, seven):
    form = {"image": (io.BytesIO(seven), "my_digit.png"), "preview": "true"}
    answer = client.post("/predict", data=form).get_json()
    assert answer["digit"] == 7 and answer["preview"].startswith("data:image/png;base64,")


def as_text(data):
    return {"data": {"image": encode(data), "preview": "on"}}


WAYS_TO_SEND = {
    "the file alone": lambda data: {"data": data, "content_type": "image/png"},
    "some file": lambda data: {"data": data, "content_type": "application/octet-stream"},
    "a field in base64": as_text,
    "JSON without its header": lambda data: {"data": json.dumps({"image": encode(data)})},
    "curl -d with JSON": lambda data: {
        "data": json.dumps({"image": encode(data)}),
        "content_type": "application/x-www-form-urlencoded",
    },
    "curl -d with a field": lambda data: {
        "data": "image=" + encode(data),
        "content_type": "application/x-www-form-urlencoded",
    },
    "an old form": lambda data: (
        as_text(data) | {"content_type": "application/x-www-form-urlencoded"}
    ),
}


@pytest.mark.parametrize("way", WAYS_TO_SEND.values(), ids=WAYS_TO_SEND)
def test_pictures_are_taken_as_clients_send_them(client, seven, way):
    assert client.post("/predict", **way(seven)).get_json()["digit"] == 7


def test_an_old_form_may_hold_a_large_photo(client, seven):
    padded = seven + bytes(range(256)) * 8192  # 2 MB; PNGs may have a tail
    assert client.post("/predict", **WAYS_TO_SEND["an old form"](padded)).get_json()["digit"] == 7


def test_a_file_alone_can_ask_for_its_preview(client, seven):
    response = client.post("/predict?preview=1", data=seven, content_type="image/png")
    assert response.get_json()["preview"].startswith("data:image/png;base64,")


def test_the_preview_is_what_the_network_saw(client, seven):
    _, answer = post(client, image=encode(seven), preview=True)
    preview = base64.b64decode(answer["preview"].partition(",")[2])
    assert np.array_equal(Image.open(io.BytesIO(preview)), Image.open(io.BytesIO(seven)))


def test_one_bad_picture_of_many_does_not_fail_the_others(client, seven):
    blank = encode(png(np.zeros((50, 50), "uint8")))
    status, answers = post(client, images=[encode(seven), "%%%", blank, encode(b"text"), 5])
    assert status == 200 and answers[0]["digit"] == 7
    words = ["base64", "No digit stands out", "Expected a PNG", "base64 string"]
    assert all(word in answer["error"] for word, answer in zip(words, answers[1:]))


BLANK = encode(png(np.zeros((100, 100), "uint8")))
HUGE = encode(png(np.zeros((8000, 8000), "uint8"), optimize=True))  # 64 megapixels in few bytes
BAD_BODIES = [
    ({"json": {"image": "%%%%"}}, 400, "Expected base64"),
    ({"json": {"image": "AAAAA"}}, 400, "Expected base64"),
    ({"json": {"image": "äöü"}}, 400, "Expected base64"),
    ({"json": {"image": ""}}, 400, "an empty one"),
    ({"json": {"image": "data:image/png;base64,"}}, 400, "an empty one"),
    ({"json": {"image": None}}, 400, "base64 string"),
    ({"json": {"image": 7}}, 400, "base64 string"),
    ({"json": {"image": [[0.0] * 28] * 28}}, 400, "Save pixels as a PNG"),
    ({"json": {}}, 400, 'either "image" or "images"'),
    ({"json": {"image": "", "images": []}}, 400, 'either "image" or "images"'),
    ({"json": []}, 400, 'either "image" or "images"'),
    ({"json": {"images": ["AAAA"] * (MAX_IMAGES + 1)}}, 400, "at most 32 pictures"),
    ({"json": {"images": "AAAA"}}, 400, "a list"),
    ({"json": {"image": BLANK, "preview": "yes"}}, 400, "true or false"),
    ({"data": "{", "content_type": "application/json"}, 400, "JSON"),
    ({"data": b"\xff\xfe", "content_type": "application/json"}, 400, "JSON"),
    ({"data": b"[" * 100_000, "content_type": "application/json"}, 400, "at most 1000 parts"),
    ({"data": {"picture": (io.BytesIO(b"x"), "x.png")}}, 400, "named image in the form"),
    ({"data": {"picture": "AAAA"}}, 400, "named image in the form"),
    ({"data": {"image": "%%%%"}}, 400, "Expected base64"),
    ({"data": {"image": "A" * 2_000_000}}, 422, "Expected a PNG"),  # above Werkzeug's own limit
    ({"data": "image", "content_type": "text/plain"}, 415, "multipart/form-data or image/png"),
    ({"data": "image", "content_type": "text/plain"}, 415, "got text/plain"),
    ({"data": b""}, 415, "got none"),
    ({"data": b"", "content_type": "image/png"}, 422, "Expected a PNG"),
    ({"json": {"image": encode(b"this is no picture")}}, 422, "Expected a PNG"),
    ({"json": {"image": encode(b"\x89PNG\r\n\x1a\n broken")}}, 422, "Expected a PNG"),
    ({"json": {"image": BLANK[:80]}}, 422, "got a damaged one"),
    ({"json": {"image": BLANK}}, 422, "No digit stands out"),
    (
        {"json": {"image": HUGE}},
        422,
        "Expected a picture of at most 50 million pixels, got one of 8000x8000",
    ),
    ({"data": b" " * (MAX_BODY + 1), "content_type": "application/json"}, 413, "at most 16 MB"),
]


@pytest.mark.parametrize(("body", "status", "words"), BAD_BODIES)
def test_a_bad_request_gets_a_sentence(client, body, status, words):
    response = client.post("/predict", **body)
    assert response.status_code == status
    assert list(response.get_json()) == ["error"] and words in response.get_json()["error"]


def test_other_sites_may_ask_only_where_it_is_allowed(model_path, seven, monkeypatch):
    headers = {"Origin": "https://school.example"}

    def allowed(origins):
        monkeypatch.setenv("MNIST_ALLOW_ORIGIN", origins)
        client = create_app(model_path).test_client()
        sent = client.post("/predict", data=seven, content_type="image/png", headers=headers)
        asked_first = client.options("/predict", headers=headers)
        assert asked_first.status_code == sent.status_code == 200
        return {r.headers.get("Access-Control-Allow-Origin") for r in (sent, asked_first)}

    assert allowed("") == allowed("https://other.example") == {None}
    assert allowed("https://other.example https://school.example") == {"https://school.example"}
    assert allowed("*") == {"https://school.example"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("GET", "/nothing", 404), ("PUT", "/", 405), ("POST", "/nix", 404)],
)
def test_a_wrong_address_gets_a_sentence(client, method, path, status):
    response = client.open(path, method=method)
    assert response.status_code == status and "/predict" in response.get_json()["error"]
    assert (response.headers.get("Allow") is not None) == (status == 405)


def test_without_a_model_it_says_what_to_run(tmp_path, seven, model_path, capsys):
    path = tmp_path / "mnist_dnn.h5"
    client = create_app(path).test_client()
    assert "Run python mnist_dnn.py first" in capsys.readouterr().err
    assert client.get("/").status_code == 200
    for response in (
        client.get("/healthz"),
        client.post("/predict", json={"image": encode(seven)}),
    ):
        assert response.status_code == 503
        assert "Run python mnist_dnn.py first" in response.get_json()["error"]
    path.write_bytes(model_path.read_bytes())  # as soon as there is one, it is taken
    assert client.get("/healthz").get_json() == {"status": "ready"}


def test_a_model_that_numpy_does_not_know_is_served_by_keras(tmp_path, seven, model):
    save_trained_model(model, tmp_path / "digits.keras")
    client = create_app(tmp_path / "digits.keras").test_client()
    assert post(client, image=encode(seven))[1]["digit"] == 7


@pytest.mark.slow
def test_a_litert_file_is_refused_with_a_sentence(tmp_path, model):
    save_trained_model(model, tmp_path / "digits.tflite")
    response = create_app(tmp_path / "digits.tflite").test_client().get("/healthz")
    assert response.status_code == 503 and "LiteRT's own" in response.get_json()["error"]


def test_a_dense_model_is_served_without_tensorflow(model_path):
    program = f"""
import sys, app
app.create_app({str(model_path)!r})
sys.exit(bool({{"keras", "tensorflow"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_a_server_error_is_reported_without_a_stack_trace(model_path, seven, monkeypatch):
    client = create_app(model_path).test_client()
    monkeypatch.setattr(service, "read_picture", lambda *_: 1 / 0)
    response = client.post("/predict", json={"image": encode(seven)})
    assert response.status_code == 500 and "ZeroDivision" not in response.text
    assert "not to blame" in response.get_json()["error"]


def test_every_answer_carries_its_headers(client):
    for response in (client.get("/"), client.get("/nothing"), client.get("/static/style.css")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        response.close()


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/").text
    assert "http://" not in page and "https://" not in page and "style=" not in page


def mutate(data, rng):
    """Change, cut out, repeat or cut off some bytes, not all."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        start, stop = np.sort(rng.integers(0, len(data) + 1, 2))
        match rng.integers(5):
            case 0:
                data[start : start + 1] = rng.bytes(rng.integers(1, 4))
            case 1:
                del data[start + 1 : min(stop, start + 30)]
            case 2:
                data[start:start] = data[start : min(stop, start + 30)]
            case 3:
                data[start:stop:17] = rng.bytes(len(data[start:stop:17]))
            case 4:
                del data[max(stop, 1) :]
    return bytes(data)


FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MUTANTS = pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])


@MUTANTS
@pytest.mark.parametrize("name", FORMATS)
def test_mutated_pictures_never_break_it(client, legible, name, count):
    rng, file = np.random.default_rng(FORMATS.index(name)), io.BytesIO()
    options = {"exif": turned_by(6)} if name in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    Image.fromarray(legible[0][0]).resize((70, 60)).save(file, name, **options)
    for _ in range(count):
        start = time.process_time()
        status, answer = post(client, image=encode(mutate(file.getvalue(), rng)))
        assert status in (200, 422) and ("digit" in answer) == (status == 200)
        assert time.process_time() - start < 2


@MUTANTS
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Werkzeug's files
@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data; boundary=cut", "image/png", ""]
)
def test_mutated_bodies_never_break_it(client, seven, kind, count):
    rng = np.random.default_rng(len(kind))
    form = '--cut\r\nContent-Disposition: form-data; name="image"; filename="7.png"\r\n\r\n'
    bodies = {
        "application/json": json.dumps({"images": [encode(seven), "%"], "preview": True}).encode(),
        "multipart/form-data; boundary=cut": form.encode() + seven + b"\r\n--cut--\r\n",
    }
    for _ in range(count):
        body = mutate(bodies.get(kind, seven), rng)
        start = time.process_time()
        response = client.post("/predict", data=body, content_type=kind)
        assert response.status_code in (200, 400, 413, 415, 422) and response.get_json()
        assert time.process_time() - start < 2


@pytest.mark.skipif("DIGITS_ODD_PICTURES" not in os.environ, reason="DIGITS_ODD_PICTURES is unset")
def test_odd_files_get_what_is_expected_of_them(client):
    folder = Path(os.environ["DIGITS_ODD_PICTURES"])
    with open(folder / "MANIFEST.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        status, _ = post(client, image=encode((folder / row["path"]).read_bytes()))
        refused = row["expected"] == "must be refused"
        assert status in ((400, 422) if refused else (200, 400, 422)), row
    assert len(rows) > 20


def ask(address, body, when_sent=lambda: None):
    """Return status and answer; status 0 where there is none."""
    client = http.client.HTTPConnection(address, timeout=60)
    try:
        client.request("POST", "/predict", body, {"Content-Type": "application/json"})
        when_sent()
        response = client.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        client.close()


@pytest.fixture(scope="module")
def address(model_path):
    """Host and port of `python app.py` with the small network."""
    with serve("--model", str(model_path)) as (address, _):
        yield address


RUNNERS = {
    "sh": ["sh", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
    "powershell": ["pwsh", "-NoProfile", "-Command"],
}


@pytest.mark.parametrize("language", RUNNERS)
def test_the_examples_of_the_docs_read_a_digit(address, seven, tmp_path, language):
    if not shutil.which(RUNNERS[language][0]):
        pytest.skip(f"{RUNNERS[language][0]} is not installed")
    (tmp_path / "my_digit.png").write_bytes(seven)
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    example = text.partition(f"```{language}\n")[2].partition("```")[0]
    command = [*RUNNERS[language], example.replace("127.0.0.1:5000", address)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert re.search(r'^7$|"text": ?"7"', done.stdout), done


def test_the_server_reads_a_digit(address, seven):
    status, answer = ask(address, json.dumps({"image": encode(seven)}))
    assert status == 200 and answer["digit"] == 7


def test_many_clients_get_the_answers_of_one(address, seven, number):
    bodies = [json.dumps({"image": encode(each)}) for each in (seven, png(np.array(number)))]
    alone = [ask(address, body) for body in bodies]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda body: ask(address, body), bodies * 40)) == alone * 40


def pieces(length):
    """Yield a body of spaces, of which no length is announced."""
    for _ in range(length // 2**16):
        yield b" " * 2**16


@pytest.mark.parametrize("length", [MAX_BODY + 2**20, MAX_DISCARDED])
@pytest.mark.parametrize("body", [lambda length: b" " * length, pieces])
def test_a_client_that_sends_too_much_gets_its_sentence(address, body, length):
    status, answer = ask(address, body(length))
    assert status == 413 and "at most 16 MB" in answer["error"]


def test_what_is_far_too_large_is_refused_before_it_arrives(address):
    client = http.client.HTTPConnection(address, timeout=10)
    client.putrequest("POST", "/predict")
    client.putheader("Content-Length", str(MAX_DISCARDED + 1))
    client.endheaders(b"the beginning")
    assert client.getresponse().status == 413
    client.close()


@pytest.mark.parametrize("length", ["-5", "five", "1, 2"])
def test_an_impossible_length_is_refused(address, length):
    client = http.client.HTTPConnection(address, timeout=10)
    client.putrequest("POST", "/predict")
    client.putheader("Content-Length", length)
    client.endheaders(b"{}")
    assert client.getresponse().status == 400
    client.close()


def test_slow_clients_do_not_hold_up_others(address, seven):
    host, port = address.split(":")
    begun = b"POST /predict HTTP/1.1\r\nHost: digits\r\nContent-Length: 1000\r\n\r\nthe beginning"
    slow = [socket.create_connection((host, port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(begun)
    start = time.monotonic()
    assert ask(address, json.dumps({"image": encode(seven)}))[0] == 200
    assert time.monotonic() - start < 5
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--port", "99999"], "1 to 65535"),
        (["--port", "eighty"], "invalid int value"),
        (["--workers", "0"], "1 or more"),
        (["--host", "no host"], "Try another --port, or another --host"),
        (["--host", "192.0.2.1"], "Try another --port, or another --host"),  # of no machine
    ],
)
def test_flags_that_cannot_be_get_a_sentence(model_path, flags, words, capsys):
    with pytest.raises(SystemExit) as stop:
        service.main(["--model", str(model_path), *flags])
    assert words in f"{stop.value} {capsys.readouterr().err}"


def test_the_port_comes_from_where_hosts_set_it(monkeypatch):
    monkeypatch.setenv("PORT", "8123")
    assert service.parse_arguments([]).port == 8123
    assert service.parse_arguments(["--port", "8124"]).port == 8124


def test_a_busy_port_gets_a_sentence(address):
    with pytest.raises(SystemExit, match="already in use"):
        service.main(["--port", address.partition(":")[2]])


@pytest.mark.skipif(WINDOWS, reason="Windows has no process groups")
@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
def test_it_ends_at_once_and_quietly(model_path, sign):
    with serve("--model", str(model_path)) as (_, process):
        send = os.killpg if sign == "SIGINT" else os.kill  # Ctrl-C reaches all of a terminal
        send(process.pid, getattr(signal, sign))
        assert process.wait(timeout=5) == 0
        assert process.stdout.read() == ""


@pytest.mark.slow
@pytest.mark.skipif(WINDOWS, reason="Windows has no SIGTERM")
def test_requests_in_flight_are_answered_after_sigterm(model_path, seven):
    large = encode(png(np.array(Image.open(io.BytesIO(seven)).resize((300, 300)))))
    body = json.dumps({"images": [large] * MAX_IMAGES})
    all_sent = threading.Barrier(9)
    with serve("--model", str(model_path)) as (address, process), ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, address, body, all_sent.wait) for _ in range(8)]
        all_sent.wait()
        time.sleep(0.1)  # the first is being read
        process.send_signal(signal.SIGTERM)
        assert [answer.result()[0] for answer in answers] == [200] * 8
        assert process.wait(timeout=60) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the workers")
def test_a_killed_worker_takes_only_its_own_requests_with_it(model_path, seven):
    body = json.dumps({"image": encode(seven)})
    with (
        serve("--model", str(model_path), "--workers", "2") as (address, process),
        ThreadPoolExecutor(4) as pool,
    ):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        killed, *_ = children.read_text().split()
        answers = [pool.submit(ask, address, body) for _ in range(100)]
        os.kill(int(killed), signal.SIGKILL)
        lost = [answer.result()[0] for answer in answers].count(0)
        assert lost <= 8  # each of the four clients had one, and may meet the dying one once more
        time.sleep(2)
        assert killed not in children.read_text().split()
        assert [ask(address, body)[0] for _ in range(50)] == [200] * 50


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_the_description_is_true_to_the_letter(model_path, tmp_path, count):
    with serve("--model", str(model_path), "--collect", str(tmp_path)) as (address, _):
        check_description(address, count)


def check_description(address, count):
    run = [sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/schemathesis.toml"]
    run += ["run", f"http://{address}/openapi.json", "--max-examples", str(count), "--seed", "1"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_description_states_the_limits(client):
    with client.get("/openapi.json") as response:
        text = response.text
    schemas = json.loads(text)["components"]["schemas"]
    assert schemas["SeveralPictures"]["properties"]["images"]["maxItems"] == MAX_IMAGES
    assert f"more than {MAX_BODY // 2**20} MB" in text and "50 million pixels" in text
    example = schemas["Picture"]["examples"][0]
    assert post(client, image=example)[0] == 200
