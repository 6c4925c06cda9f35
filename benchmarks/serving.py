"""Measure the service, an empty view and the usual Flask demo side by side.

    python benchmarks/serving.py [--seconds 4] [--rounds 5] [--before FOLDER] [--requests 0]

All are up at the same time and are measured in turn, so that a noisy machine treats them alike;
the figures are medians over the rounds. The picture is a synthetic digit on a 280x280 canvas.
"""

import argparse
import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
PATIENCE = 60  # seconds for a server to start
CLIENTS = 4  # at once, for the rate


def view(predict):
    """Build a service with one way to answer /predict."""
    from flask import Flask, jsonify

    app = Flask(__name__)
    app.add_url_rule("/predict", "predict", predict, methods=["POST"])
    app.add_url_rule("/healthz", "healthz", lambda: jsonify(status="ready"))
    return app


def empty_view():
    """Build a service that answers at once."""
    from flask import jsonify, request

    return view(lambda: jsonify(length=len(request.get_json()["image"])))


def usual_demo():
    """Build what most tutorials do: decode, resize, `model.predict`."""
    import keras
    from flask import jsonify, request

    model = keras.models.load_model(ROOT / "mnist_dnn.h5")

    def predict():
        data = base64.b64decode(request.get_json()["image"])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((28, 28)))
        probabilities = model.predict(pixels[None] / 255.0, verbose=0)[0]
        return jsonify(digit=int(probabilities.argmax()), probabilities=probabilities.tolist())

    return view(predict)


def encoded(image):
    """Return the body of a request with a picture, as a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return json.dumps({"image": base64.b64encode(file.getvalue()).decode()})


def hostile_bodies():
    """Return requests that would take long: 50 million pixels, a strip of 12,000 digits, blots."""
    strip = np.full((12, 12_000, 26), 230, "uint8")
    strip[2:-2, :, :3] = 20
    blots = np.random.default_rng(0).integers(0, 256, (255, 255), dtype="uint8")
    pictures = [
        Image.new("L", (10_000, 5000)),
        Image.fromarray(strip.reshape(12, -1)),
        Image.fromarray(blots).resize((2040, 2040)),
    ]
    return [encoded(each) for each in pictures]


def picture():
    """Return the body of a request: a digit on a 280x280 canvas, as a PNG."""
    from digits.synthetic import draw_digits

    canvas = Image.new("L", (280, 280), 255)
    digit = Image.fromarray(255 - draw_digits(1, seed=3)[0][0])
    canvas.paste(digit.resize((200, 200), Image.Resampling.BICUBIC), (40, 40))
    return encoded(canvas)


def ask(port, body, end, times, statuses=(200,)):
    """Send requests until `end`; append the seconds that each answer took."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    question = ("POST", "/predict", body) if body else ("GET", "/healthz", None)
    while time.perf_counter() < end:
        start = time.perf_counter()
        client.request(*question, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
        if response.status not in statuses:
            raise RuntimeError(f"status {response.status}")
        times.append(time.perf_counter() - start)
    client.close()


def load(port, body, clients, seconds):
    """Return the seconds that each answer took, for some clients at once."""
    times, end = [], time.perf_counter() + seconds
    threads = [threading.Thread(target=ask, args=(port, body, end, times)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(times)


def load_beside_hostile(port, body, seconds):
    """Return the seconds that answers took for one client while hostile ones are at work."""
    end, bodies = time.perf_counter() + seconds, hostile_bodies()
    threads = [
        threading.Thread(target=ask, args=(port, each, end, [], (200, 422, 503))) for each in bodies
    ]
    for thread in threads:
        thread.start()
    times = load(port, body, 1, seconds)
    for thread in threads:
        thread.join()
    return times


def memory(pid):
    """Return the megabytes that a process and its children hold, where the system reports it."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = int(status.partition("Pss:")[2].split()[0]) / 1024
        return own + sum(memory(child) for child in children)
    return float("nan")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def start(command, folder, port):
    """Start a server in a folder, and return its process once it answers."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as app.py sets it for itself
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    process = subprocess.Popen([sys.executable, *command], cwd=folder, **options)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        time.sleep(0.2)
    process.kill()
    raise TimeoutError(f"{command} did not start")


def commands(before):
    """Return for each row of the table how its server is started, and in which folder."""
    rows = {
        "an empty JSON view": ([__file__, "--serve", "empty_view"], ROOT),
        "the usual demo": ([__file__, "--serve", "usual_demo"], ROOT),
        "this project": (["app.py"], ROOT),
    }
    if before:
        rows["before"] = (["app.py"], before)
    return rows


def measure(port, body, seconds):
    """Return requests/s of /predict and of /healthz, and the median and 99 % latency in ms."""
    latency = load(port, body, 1, seconds) * 1000
    rates = [len(load(port, each, CLIENTS, seconds)) / seconds for each in (body, None)]
    return [*rates, *np.quantile(latency, [0.5, 0.99])]


def serve(name, port):
    """Serve one of the views above as app.py serves its own."""
    from granian import Granian
    from granian.constants import Interfaces

    target = f"{Path(__file__).resolve()}:{name}"
    Granian(target, port=port, interface=Interfaces.WSGI, factory=True, blocking_threads=64).serve()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="folder of another version, to compare with")
    parser.add_argument("--requests", type=int, default=0, help="then, to see memory grow")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.port)
        return
    body, servers = picture(), {}
    with contextlib.ExitStack() as stack:
        for name, (command, folder) in commands(args.before).items():
            port = free_port()
            process = start([*command, "--port", str(port)], folder, port)
            stack.callback(process.send_signal, signal.SIGTERM)
            servers[name] = port, process.pid, []
        for port, _, _ in servers.values():
            load(port, body, CLIENTS, 1)  # warm
        for _ in range(args.rounds):
            for port, _, results in servers.values():
                results.append(measure(port, body, args.seconds))
        print("| | /predict/s | /healthz/s | p50 ms | p99 ms | MB | MB after |")
        print("|---|---|---|---|---|---|---|")
        for name, (port, pid, results) in servers.items():
            before, sent = memory(pid), 0
            while name == "this project" and sent < args.requests:
                sent += len(load(port, body, CLIENTS, 10))
            rates, latencies = np.split(np.median(results, axis=0), 2)
            row = [f"{rate:,.0f}" for rate in rates] + [f"{ms:.1f}" for ms in latencies]
            print("|", name, "|", " | ".join(row), f"| {before:.0f} | {memory(pid):.0f} |")
        port, pid, _ = servers["this project"]
        before = memory(pid)
        times = load_beside_hostile(port, body, 5 * args.seconds) * 1000
        row = " | ".join(f"{ms:.1f}" for ms in np.quantile(times, [0.5, 0.99]))
        print(f"| beside three hostile clients | | | {row} | {before:.0f} | {memory(pid):.0f} |")


if __name__ == "__main__":
    main()
