"""Read digits over HTTP: a page to draw on, and an API.

    python app.py [--host 127.0.0.1] [--port 5000] [--model mnist_dnn.h5]
    curl -F image=@my_digit.png http://127.0.0.1:5000/predict

With several processes: gunicorn --workers 4 "app:create_app()". Nothing that people send is stored.
"""

import argparse
import base64
import io
import logging
import os
import signal
import sys
import threading
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for NumPy: one picture is no work for two

import numpy as np
from flask import Flask, jsonify, render_template, request
from PIL import Image
from werkzeug.exceptions import BadRequest, HTTPException, ServiceUnavailable, UnprocessableEntity

from digits.dense_numpy import UnknownModelError, load_dense, require_model
from digits.files import open_picture
from digits.find import pil_to_mnist

MAX_BODY = 16 * 2**20  # bytes of a request: a phone's photo in base64
MAX_IMAGES = 32  # in one request
MODEL = "mnist_dnn.h5"
STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")  # from the URL-safe alphabet
WORDS = {
    404: "There is nothing here. Draw at /, or POST a picture to /predict.",
    405: "This address does not take this method. POST a picture to /predict.",
    413: f"The request is too large: send a picture of at most {MAX_BODY // 2**20} MB.",
    415: 'Send JSON, {"image": "<base64>"}, or a form with a file named image.',
    500: "Something went wrong on the server. It is not your picture's fault.",
}  # fmt: skip
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}


def load_predict(path):
    """Load a model for serving: without TensorFlow if it is a stack of Dense layers in a .h5 file.

    Returns:
        A function from uint8 (n, 28, 28) to probabilities, float32 (n, 10).

    Raises:
        FileNotFoundError, ValueError: there is no model at `path`, or something else.
    """
    require_model(path)
    try:
        return load_dense(path)
    except UnknownModelError:
        from mnist_dnn import load_trained_model, predict_images

        model = load_trained_model(path)
        predict_images(np.zeros((1, 28, 28), "uint8"), model)  # warm
        return lambda images: predict_images(images, model)


class Reader:
    """Loads the model once, and reads pictures with it."""

    def __init__(self, model_path):
        self.model_path, self.predict, self.lock = model_path, None, threading.Lock()

    def ready(self):
        """Return the model as a function, loaded and warm.

        Raises:
            ServiceUnavailable: there is none, or it cannot be loaded.
        """
        with self.lock:
            if self.predict is None:
                try:
                    self.predict = load_predict(self.model_path)
                except (OSError, ValueError) as error:
                    raise ServiceUnavailable(str(error)) from error
        return self.predict

    def read(self, data, preview=False):
        """Read the digit in an encoded picture.

        Args:
            data: bytes of a PNG, JPEG, WebP, BMP, GIF or TIFF file.
            preview: whether to return what the network saw as well.

        Returns:
            A dict to answer with.

        Raises:
            UnprocessableEntity: it is no picture, or there is no digit or more than one in it.
            ServiceUnavailable: there is no model.
        """
        predict = self.ready()
        try:
            pixels = pil_to_mnist(open_picture(io.BytesIO(data)))
        except ValueError as error:
            raise UnprocessableEntity(str(error)) from error
        probabilities = predict(pixels[None])[0].tolist()
        confidence = max(probabilities)
        answer = {
            "digit": probabilities.index(confidence),
            "confidence": confidence,
            "probabilities": probabilities,
        }
        if preview:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            answer["preview"] = (
                "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
            )
        return answer


def decode_base64(text):
    """Decode base64, in either alphabet, with or without data-URL prefix, line breaks, padding.

    Raises:
        BadRequest: it is no base64, or empty.
    """
    if isinstance(text, bytes):  # an uploaded file
        return text
    if not isinstance(text, str):
        raise BadRequest("Expected a picture as a base64 string.")
    if text[:64].lstrip().startswith("data:"):
        text = text.partition(",")[2]
    try:
        text = text.encode("ascii").translate(STANDARD_BASE64, b" \t\r\n\f").rstrip(b"=")
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # binascii.Error and UnicodeEncodeError are such
        raise BadRequest("Expected base64, got characters or a length it cannot have.") from error
    if not data:
        raise BadRequest("Expected a picture as a base64 string, got an empty one.")
    return data


def parse_body():
    """Return the request's fields: `image` or `images`, as bytes or base64, and `preview`."""
    if request.mimetype == "multipart/form-data":
        if "image" not in request.files:
            raise BadRequest("Expected a file named image in the form.")
        preview = request.form.get("preview", "") in ("1", "true", "on")
        return {"image": request.files["image"].read(), "preview": preview}
    try:
        body = request.get_json()
    except (BadRequest, RecursionError) as error:  # the latter from thousands of brackets
        raise BadRequest("Expected JSON, got something that cannot be parsed.") from error
    if not isinstance(body, dict) or ("image" in body) == ("images" in body):
        raise BadRequest('Expected a JSON object with either "image" or "images".')
    if not isinstance(body.get("preview", False), bool):
        raise BadRequest('Expected true or false as "preview".')
    images = body.get("images", [])
    if not isinstance(images, list) or len(images) > MAX_IMAGES:
        raise BadRequest(f'Expected a list of at most {MAX_IMAGES} pictures as "images".')
    return body


def create_app(model_path=None):
    """Build the WSGI application; its model is loaded and warm before it is returned.

    Args:
        model_path: by default the environment's MNIST_MODEL, or mnist_dnn.h5.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json.sort_keys = False
    reader = Reader(model_path or os.environ.get("MNIST_MODEL", MODEL))

    @app.get("/")
    def index():
        return render_template("index.html")

    @app.get("/openapi.json")
    def openapi():
        return app.send_static_file("openapi.json")

    @app.get("/healthz")
    def healthz():
        reader.ready()
        return jsonify(status="ready")

    @app.post("/predict")
    def predict():
        body = parse_body()
        preview = body.get("preview", False)
        if "image" in body:
            return jsonify(reader.read(decode_base64(body["image"]), preview))
        answers = []
        for image in body["images"]:
            try:
                answers.append(reader.read(decode_base64(image), preview))
            except (BadRequest, UnprocessableEntity) as error:
                answers.append({"error": error.description})
        return jsonify(answers)

    @app.errorhandler(HTTPException)
    def explain(error):
        told = isinstance(error, BadRequest | UnprocessableEntity | ServiceUnavailable)
        words = error.description if told else WORDS.get(error.code, error.description)
        response = jsonify(error=words)
        response.status_code = error.code
        if error.code == 405 and error.valid_methods:
            response.headers["Allow"] = ", ".join(error.valid_methods)
        return response

    @app.after_request
    def protect(response):
        response.headers.update(HEADERS)
        return response

    try:
        reader.ready()
    except ServiceUnavailable as error:
        print(f"Warning: {error.description}", file=sys.stderr)
    return app


def create_server(app, channels, host, port):
    """Return a waitress server whose loop sleeps while its one thread answers.

    One thread, since several that take turns in NumPy serve a quarter less, and slower.

    Args:
        channels: empty dict, for its listening sockets and connections.
    """
    import waitress
    from waitress.channel import HTTPChannel

    class Channel(HTTPChannel):
        def writable(self):
            """Leave an answer to the thread that sends it: the loop would ask for it and spin."""
            full = self.total_outbufs_len > self.adj.outbuf_high_watermark  # the thread waits
            return super().writable() if full or not self.requests else False

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue is no news
    most = 4 * MAX_BODY  # to receive: Flask tells what is too large, once it is there
    server = waitress.create_server(
        app, map=channels, host=host, port=port, threads=1, max_request_body_size=most
    )
    for listener in channels.values():
        listener.channel_class = Channel
    return server


def drain(channels, drained, patience=10):
    """Take no new connection, wait for the answers to requests in flight, then send SIGTERM again.

    Args:
        channels: waitress's map of listening sockets and connections.
        drained: threading.Event, set when nothing is in flight.
        patience: seconds to wait at most.
    """
    end = time.monotonic() + patience
    for channel in list(channels.values()):
        channel.accepting = False
    while time.monotonic() < end and any(map(_in_flight, list(channels.values()))):
        time.sleep(0.02)
    drained.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _in_flight(channel):
    """Tell whether a request is being received, read or answered."""
    states = ("request", "requests", "total_outbufs_len")
    return any(getattr(channel, state, None) for state in states)


def main(argv=None):
    """Serve with waitress until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Read digits over HTTP. The environment can set the defaults.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    environment = os.environ.get
    parser.add_argument(
        "--host", default=environment("MNIST_HOST", "127.0.0.1"), help="or MNIST_HOST"
    )
    parser.add_argument(
        "--port", default=environment("MNIST_PORT", 5000), type=int, help="or MNIST_PORT"
    )
    parser.add_argument("--model", default=environment("MNIST_MODEL", MODEL), help="or MNIST_MODEL")
    args = parser.parse_args(argv)
    if not 0 < args.port < 2**16:
        parser.error("--port is 1 to 65535")

    app, channels, drained = create_app(args.model), {}, threading.Event()
    drainer = threading.Thread(target=drain, args=[channels, drained], daemon=True)

    def end(*_):
        if drained.is_set():
            sys.exit(0)
        if not drainer.is_alive():
            drainer.start()

    signal.signal(signal.SIGTERM, end)
    try:
        server = create_server(app, channels, args.host, args.port)
    except (OSError, ValueError) as error:  # a ValueError for a host that is not known
        sys.exit(
            f"Error: cannot listen on {args.host}:{args.port} ({error}). "
            "Try another --port, or another --host."
        )
    print(f"Draw a digit at http://{args.host}:{args.port}/ (Ctrl-C stops)", flush=True)
    server.run()


if __name__ == "__main__":
    main()
