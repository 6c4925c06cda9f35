"""Read digits over HTTP: a page to draw on, and an API.

    python app.py [--host 127.0.0.1] [--port 5000] [--model mnist_dnn.h5] [--workers 1]
    curl -F image=@my_digit.png http://127.0.0.1:5000/predict

Nothing that people send is stored or logged. `create_app` also runs on any other WSGI server.
"""

import argparse
import base64
import contextlib
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a single picture gains nothing from more

import numpy as np
from flask import Blueprint, Flask, current_app, json, jsonify, render_template
from flask.json.provider import DefaultJSONProvider
from PIL import Image
from werkzeug import Response
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    ServiceUnavailable,
    UnprocessableEntity,
)

from digits.dense_numpy import UnknownModelError, load_dense, require_model
from digits.files import open_picture
from digits.reading import read_digits
from digits.requests import MAX_BODY, decode_picture, discard_rest, parse_request

MODEL = "mnist_dnn.h5"
THREADS = 64  # of each worker: all but one wait for slow clients
GRACE = 10  # seconds that requests in flight may take after SIGTERM
MESSAGES = {
    404: "There is nothing here. Draw at /, or POST a picture to /predict.",
    405: "This address does not support that method. POST a picture to /predict.",
    413: f"The request is too large: send a picture of at most {MAX_BODY // 2**20} MB.",
    415: 'Send JSON, {"image": "<base64>"}, or a form with a file named image.',
    500: "Something went wrong on the server. Your picture is not to blame.",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}

views = Blueprint("views", __name__)


def load_predict(path: Path | str) -> Callable[[np.ndarray], np.ndarray]:
    """Load a model for serving, without TensorFlow if it is a stack of Dense layers in a .h5 file.

    Returns:
        A function from uint8 (n, 28, 28), ink bright, to probabilities, float32 (n, 10).

    Raises:
        FileNotFoundError: there is no model at `path`.
        ValueError: the file there is not a model that reads digits.
    """
    require_model(path)
    try:
        return load_dense(path)
    except UnknownModelError:
        from digits.quiet import load_tensorflow

        load_tensorflow()
        from digits.networks import predict_images
        from digits.saving import load_trained_model

        model = load_trained_model(path)
        predict_images(np.zeros((1, 28, 28), "uint8"), model)  # the first call is slow
        return lambda images: predict_images(images, model)


class Reader:
    """The model: loaded once, at the start or as soon as there is one, and used by all threads."""

    def __init__(self, model_path: Path | str):
        self.model_path = model_path
        self.predict: Callable[[np.ndarray], np.ndarray] | None = None
        self.lock = threading.Lock()
        self.turn = threading.Lock()  # to read a picture: threads that share the GIL are slower

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the model as a function, loaded and warm.

        Raises:
            ServiceUnavailable: there is no model, or it cannot be loaded.
        """
        with self.lock:
            if self.predict is None:
                try:
                    self.predict = load_predict(self.model_path)
                except (OSError, ValueError) as error:
                    raise ServiceUnavailable(str(error)) from error
        return self.predict


def read_picture(data: bytes, preview: bool) -> dict:
    """Read the digit in an encoded picture.

    Args:
        data: a PNG, JPEG, WebP, BMP, GIF or TIFF file.
        preview: whether to return the 28x28 pixels that the network saw as well.

    Raises:
        UnprocessableEntity: it is not a picture, or does not hold exactly one digit.
        ServiceUnavailable: there is no model.
    """
    reader = current_app.extensions["reader"]
    predict = reader.load()
    try:
        with reader.turn:
            digits = read_digits(open_picture(io.BytesIO(data)), predict)
    except ValueError as error:
        raise UnprocessableEntity(str(error)) from error
    if len(digits) > 1:
        raise UnprocessableEntity(
            f"There seem to be {len(digits)} digits in the picture. Crop it to the one to read."
        )
    pixels, probabilities, _ = digits[0]
    answer = {
        "digit": int(probabilities.argmax()),
        "confidence": float(probabilities.max()),
        "probabilities": probabilities.tolist(),
    }
    return answer | ({"preview": png_url(pixels)} if preview else {})


def png_url(pixels: np.ndarray) -> str:
    """Return grey levels, uint8 (height, width), as a PNG in a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def read_or_explain(image: object, preview: bool) -> dict:
    """Read one of several pictures; what is wrong with it is its answer."""
    try:
        return read_picture(decode_picture(image), preview)
    except (BadRequest, UnprocessableEntity) as error:
        return {"error": error.description}


@views.post("/predict")
def predict() -> Response:
    """Read the picture, or each of several, that the request holds."""
    question = parse_request()
    if question.several:
        return jsonify([read_or_explain(image, question.preview) for image in question.images])
    return jsonify(read_picture(decode_picture(question.images[0]), question.preview))


@views.get("/")
def index() -> str:
    """Show the page."""
    return render_template("index.html")


@views.get("/openapi.json")
def openapi() -> Response:
    """Describe the API."""
    return current_app.send_static_file("openapi.json")


@views.get("/healthz")
def healthz() -> Response:
    """Tell whether the model is loaded."""
    current_app.extensions["reader"].load()
    return jsonify(status="ready")


@views.app_errorhandler(HTTPException)
def explain(error: HTTPException) -> Response:
    """Answer an error in JSON: a sentence that says what to do."""
    response = error.get_response()
    own = isinstance(error, BadRequest | UnprocessableEntity | ServiceUnavailable)
    message = error.description if own else MESSAGES.get(error.code or 500, error.description)
    response.data = json.dumps({"error": message})
    response.content_type = "application/json"
    return response


@views.after_app_request
def finish(response: Response) -> Response:
    """Add the headers, and receive what is left of a refused request."""
    response.headers.update(HEADERS)
    if response.status_code >= 400:
        discard_rest()
    return response


def create_app(model_path: Path | str | None = None) -> Flask:
    """Build the WSGI application; its model is loaded and warm before it is returned.

    Args:
        model_path: by default the environment's MNIST_MODEL, or mnist_dnn.h5.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.json = provider = DefaultJSONProvider(app)
    provider.sort_keys = False
    app.extensions["reader"] = Reader(model_path or os.environ.get("MNIST_MODEL", MODEL))
    app.register_blueprint(views)
    try:
        app.extensions["reader"].load()
    except ServiceUnavailable as error:
        print(f"Warning: {error.description}", file=sys.stderr)
    return app


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the flags; the environment can set their defaults."""
    parser = argparse.ArgumentParser(
        description="Read digits over HTTP.",
        epilog="The environment variables MNIST_HOST, MNIST_PORT and MNIST_MODEL set defaults.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = os.environ.get
    flag = parser.add_argument
    flag("--host", default=default("MNIST_HOST", "127.0.0.1"), help="address to listen on")
    flag("--port", default=default("MNIST_PORT", 5000), type=int, help="port to listen on")
    flag("--model", default=default("MNIST_MODEL", MODEL), help="trained network to read with")
    flag("--workers", default=1, type=int, help="processes, each with a copy of the model")
    args = parser.parse_args(argv)
    if not 0 < args.port < 2**16:
        parser.error("--port is 1 to 65535")
    if args.workers < 1:
        parser.error("--workers is 1 or more")
    return args


def resolve(host: str, port: int) -> str:
    """Return a host's IP address, on which nothing listens yet.

    Raises:
        OSError, UnicodeError: the host is unknown, not ours, or its port is taken.
    """
    family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    socket.create_server((address, port), family=family).close()
    return str(address)


def announce(host: str, port: int) -> None:
    """Print the page's address as soon as a worker is ready."""
    connected = False
    while not connected:
        time.sleep(0.1)
        with contextlib.suppress(OSError), socket.create_connection((host, port)):
            connected = True
    shown = f"[{host}]" if ":" in host else host
    print(f"Draw a digit at http://{shown}:{port}/ (Ctrl-C stops)", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM; requests in flight are answered first."""
    args = parse_arguments(argv)
    try:
        address = resolve(args.host, args.port)
    except (OSError, UnicodeError) as error:
        sys.exit(
            f"Error: cannot listen on {args.host}:{args.port} ({error}). "
            "Try another --port, or another --host."
        )
    os.environ["MNIST_MODEL"] = args.model  # for the workers
    reachable = "localhost" if address in ("0.0.0.0", "::") else args.host
    threading.Thread(target=announce, args=(reachable, args.port), daemon=True).start()
    serve(address, args.port, args.workers)


def serve(address: str, port: int, workers: int) -> None:
    """Serve `create_app` with granian until Ctrl-C or SIGTERM; it starts what a crash ended."""
    from granian import Granian  # here, since other servers do without it
    from granian.constants import Interfaces
    from granian.log import LogLevels

    Granian(
        f"{Path(__file__).resolve()}:create_app",
        address,
        port,
        interface=Interfaces.WSGI,
        factory=True,
        workers=workers,
        blocking_threads=THREADS,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_level=LogLevels.error,
    ).serve()


if __name__ == "__main__":
    main()
