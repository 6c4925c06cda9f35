"""The real server while hostile requests are at work: CPU time, memory and innocent clients."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE, encoded
from PIL import Image
from server import ROOT, serve

from digits.requests import MAX_BODY, MAX_IMAGES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what processes use"),
]
FOLDER = os.environ.get("DIGITS_HOSTILE")
FILES = sorted(Path(FOLDER).glob("*.*")) if FOLDER else []
PICTURES = {make.__name__: make for make in HOSTILE} | {
    path.name: path.read_bytes for path in FILES if path.suffix not in (".csv", ".h5")
}
TICKS = os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 1


def read(pid, name):
    """Return what /proc tells of a process, nothing if it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def family(pid):
    """Return a process and all that descend from it."""
    threads = [path.name for path in Path(f"/proc/{pid}/task").glob("*")]
    children = [kid for each in threads for kid in read(pid, f"task/{each}/children").split()]
    return [pid, *(each for kid in children for each in family(kid))]


def cpu_seconds(pid):
    """Return the CPU time of a process, its descendants, and those of them that have ended."""
    stats = [read(each, "stat").rpartition(")")[2].split() for each in family(pid)]
    return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / TICKS


def megabytes(pid):
    """Return the memory of a process and its descendants."""
    found = [re.search(r"Pss:\s+(\d+)", read(each, "smaps_rollup")) for each in family(pid)]
    return sum(int(each[1]) for each in found if each) / 1024


def ask(address, method, path, body=None, kind="image/png"):
    """Return the status of an answer, the answer, and the seconds that it took."""
    client, start = http.client.HTTPConnection(address, timeout=120), time.monotonic()
    client.request(method, path, body, {"Content-Type": kind})
    response = client.getresponse()
    answer = response.read()
    client.close()
    return response.status, answer, time.monotonic() - start


@pytest.fixture(scope="module")
def server(model_path):
    with serve("--model", str(model_path)) as (address, process):
        ask(address, "POST", "/predict", CANVAS)
        yield address, process.pid


CANVAS = encoded(Image.new("L", (280, 280)), "PNG")


@pytest.mark.parametrize("several", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("name", PICTURES)
def test_a_hostile_request_hurts_nobody(server, name, several):
    (address, pid), data = server, PICTURES[name]()
    text = base64.b64encode(data).decode()
    images = [text] * min(MAX_IMAGES, MAX_BODY // (len(text) + 9))
    body = json.dumps({"images": images}) if several else data
    kind = "application/json" if several else "image/png"
    before, used, most = megabytes(pid), cpu_seconds(pid), 0
    innocent = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        hostile = pool.submit(ask, address, "POST", "/predict", body, kind)
        while not hostile.done():
            most = max(most, megabytes(pid))
            if not innocent or innocent[-1].done():
                innocent.append(pool.submit(ask, address, "GET", "/healthz"))
            time.sleep(0.05)
    status, answer, _ = hostile.result()
    assert status in (200, 413, 422, 503) and (status == 200 or b"error" in answer)
    assert cpu_seconds(pid) - used < 2.2 and most - before < 300
    assert max(each.result()[2] for each in innocent) < 1
    assert ask(address, "POST", "/predict", CANVAS)[2] < 2


def test_the_memory_is_given_back(server):
    address, pid = server
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype="uint8")
    large = encoded(Image.fromarray(noise).resize((7000, 7000), 0), "PNG", compress_level=1)
    before = megabytes(pid)
    for _ in range(4):
        assert ask(address, "POST", "/predict", large)[0] in (200, 422, 503)
    assert megabytes(pid) < 1.2 * before


def drip(address, count, source):
    """Open connections that send the beginning of a request."""
    host, port = address.split(":")
    slow = [
        socket.create_connection((host, int(port)), source_address=source) for _ in range(count)
    ]
    for number, connection in enumerate(slow):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: digits\r\n")
        if number % 2:
            connection.sendall(b"Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n")
    return slow


def send_a_byte(slow):
    for connection in slow:
        with contextlib.suppress(OSError):  # the server has closed it
            connection.sendall(b"x")


def test_150_slow_clients_do_not_hold_up_others(server):
    address, _ = server
    slow = drip(address, 150, ("127.0.0.1", 0))
    for _ in range(3):
        send_a_byte(slow)
        for path in ("/healthz", "/"):
            status, _, seconds = ask(address, "GET", path)
            assert status == 200 and seconds < 2
    for connection in slow:
        connection.close()


@pytest.fixture
def nginx(server, tmp_path):
    """The address of nginx, configured as the documentation says, in front of the service."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    block = text.partition("```nginx\n")[2].partition("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    block = block.replace("listen 80", f"listen 127.0.0.1:{port}")
    block = block.replace("127.0.0.1:5000", server[0])
    folders = [f"{each}_temp_path {tmp_path}/{each};" for each in TEMPORARY]
    user = "user root;" if os.geteuid() == 0 else ""
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"{user} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; {' '.join(folders)}\n{block} }}\n"
    )
    process = subprocess.Popen(["nginx", "-e", tmp_path / "error.log", "-c", config])
    while not (tmp_path / "pid").exists():
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()


TEMPORARY = "client_body", "proxy", "fastcgi", "uwsgi", "scgi"


def test_nginx_holds_off_500_slow_clients(nginx):
    slow = drip(nginx, 500, ("127.0.0.2", 0))  # all of one address, and the others of another
    for _ in range(3):
        send_a_byte(slow)
        status, _, seconds = ask(nginx, "POST", "/predict", CANVAS)
        assert status == 422 and seconds < 2
    assert ask(nginx, "POST", "/predict", bytes(MAX_BODY + 2**20))[0] == 413
    for connection in slow:
        connection.close()
