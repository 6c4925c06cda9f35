"""Measure the service beside an empty view and the usual Flask demo, in one run.

    python benchmarks/serving.py [--seconds 10] [--requests 0]

Each is served by waitress in one thread of a process of its own, as app.py does, and asked with a
drawn 280x280 PNG: by one client for the latency, by four for the rate. --requests N sends ours N
more to see memory grow.
"""

import argparse
import base64
import http.client
import io
import json
import os
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


def empty_view():
    """Build a service that answers at once."""
    from flask import Flask, jsonify, request

    app = Flask(__name__)
    app.post("/predict")(lambda: jsonify(length=len(request.get_json()["image"])))
    return app


def usual_demo():
    """Build what most tutorials do: decode, resize, `model.predict`."""
    import keras
    from flask import Flask, jsonify, request

    app, model = Flask(__name__), keras.models.load_model(ROOT / "mnist_dnn.h5")

    @app.post("/predict")
    def predict():
        data = base64.b64decode(request.get_json()["image"])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L").resize((28, 28)))
        probabilities = model.predict(pixels[None] / 255.0, verbose=0)[0]
        return jsonify(digit=int(probabilities.argmax()), probabilities=probabilities.tolist())

    return app


def ours():
    from app import create_app

    return create_app(ROOT / "mnist_dnn.h5")


VIEWS = {"empty JSON view": empty_view, "usual demo": usual_demo, "ours": ours}


def picture():
    """Return a request's body with a digit on a 280x280 canvas."""
    from digits.synthetic import draw_digits

    canvas = Image.new("L", (280, 280), 255)
    digit = Image.fromarray(255 - draw_digits(1, seed=3)[0][0])
    canvas.paste(digit.resize((200, 200), Image.Resampling.BICUBIC), (40, 40))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return json.dumps({"image": base64.b64encode(file.getvalue()).decode()})


def ask(port, body, end, times):
    """Ask again and again until the clock says `end`; append the seconds that each answer took."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.perf_counter() < end:
        start = time.perf_counter()
        client.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = client.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        times.append(time.perf_counter() - start)


def load(port, body, clients, seconds):
    """Return the seconds that each answer took, for some clients at once."""
    times, end = [], time.perf_counter() + seconds
    threads = [threading.Thread(target=ask, args=(port, body, end, times)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(times)


def memory(process):
    """Return the megabytes a process holds, where the system tells."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return float("nan")
    return int(status.read_text().partition("VmRSS:")[2].split()[0]) / 1024


def start(name):
    """Start a server; return its process and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", name, "--port", str(port)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as app.py sets it for itself
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise TimeoutError(f"{name} did not start")


def measure(name, body, args):
    """Print a row of the table."""
    process, port = start(name)
    try:
        load(port, body, 1, 1)  # warm
        latency = load(port, body, 1, args.seconds) * 1000
        rate = len(load(port, body, 4, args.seconds)) / args.seconds
        before, sent = memory(process), 0
        while name == "ours" and sent < args.requests:
            sent += len(load(port, body, 4, 10))
        p50, p99 = np.quantile(latency, [0.5, 0.99])
        size = f"{before:.0f} | {memory(process):.0f}"
        print(f"| {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {size} |", flush=True)
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--serve", choices=VIEWS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        from app import create_server

        create_server(VIEWS[args.serve](), {}, "127.0.0.1", args.port).run()
        return
    print("| | requests/s | p50 ms | p99 ms | MB | MB after |\n|---|---|---|---|---|---|")
    for name in VIEWS:
        measure(name, picture(), args)


if __name__ == "__main__":
    main()
