"""Read digits over HTTP: a page to draw on, and an API.

    python app.py [--host 127.0.0.1] [--port 5000] [--model mnist_dnn.h5] [--workers 1]
    curl -F image=@my_digit.png http://127.0.0.1:5000/predict

Nothing that people send is stored or logged, unless `--collect` names a folder for the digits that
they correct. `create_app` also runs on any other WSGI server.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a single picture gains nothing from more

from flask import Blueprint, Flask, current_app, json, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from werkzeug import Response
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    ServiceUnavailable,
    UnprocessableEntity,
)

from digits import corrections
from digits.answers import read_picture
from digits.budget import Budget, BusyError
from digits.collection import Collection
from digits.live_model import LiveModel
from digits.reading import Predict
from digits.requests import MAX_BODY, MAX_TEXT, decode_picture, discard_rest, parse_request
from digits.service_options import MODEL, as_environment, parse_arguments

THREADS = 256  # of each worker; most of them wait for slow clients
GRACE = 10  # seconds for a client's headers, and for requests in flight after SIGTERM
MESSAGES = {
    404: "There is nothing here. Draw at /, or POST a picture to /predict.",
    405: "This address does not support that method. POST a picture to /predict.",
    413: f"The request is too large: send a picture of at most {MAX_BODY // 2**20} MB, "
    f"as a file where a multipart form would have more than {MAX_TEXT // 2**20} MB of base64.",
    500: "Something went wrong on the server. Your picture is not to blame.",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}
CORS = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",  # seconds that a browser need not ask again
}

views = Blueprint("views", __name__)


def load_model() -> Predict:
    """Return the model as a function, loaded and warmed up.

    Raises:
        ServiceUnavailable: there is no model, or it cannot be loaded.
    """
    try:
        return current_app.extensions["model"].load()
    except (OSError, ValueError) as error:
        raise ServiceUnavailable(str(error)) from error


def answer(image: object, preview: bool, budget: Budget) -> dict:
    """Read a picture that a client sent.

    Raises:
        BadRequest: it is not base64.
        UnprocessableEntity: it is not a picture, or there is no digit in it.
        ServiceUnavailable: there is no model, or no time for the picture.
    """
    predict = load_model()
    data = decode_picture(image)
    try:
        return read_picture(data, predict, budget, preview)
    except BusyError as error:
        raise ServiceUnavailable(str(error)) from error
    except ValueError as error:
        raise UnprocessableEntity(str(error)) from error


def answer_or_error(image: object, preview: bool, budget: Budget) -> dict:
    """Read one of several pictures, or return an error in its place."""
    try:
        return answer(image, preview, budget)
    except (BadRequest, UnprocessableEntity) as error:
        return {"error": error.description}


@views.post("/predict")
def predict() -> Response:
    """Read the picture, or each of several, that the request holds."""
    asked, budget = parse_request(), Budget()
    if asked.several:
        return jsonify([answer_or_error(image, asked.preview, budget) for image in asked.images])
    return jsonify(answer(asked.images[0], asked.preview, budget))


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
    """Report whether the model is loaded."""
    load_model()
    return jsonify(status="ready")


@views.app_errorhandler(HTTPException)
def explain(error: HTTPException) -> Response:
    """Return an error as JSON: a sentence that says what to do."""
    response = error.get_response()
    message = MESSAGES.get(error.code or 500, error.description)
    response.data = json.dumps({"error": message})
    response.content_type = "application/json"
    return response


@views.after_app_request
def finish(response: Response) -> Response:
    """Add the headers, and receive the rest of a refused request."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")  # static files have one of their own
    allow_origin(response)
    if response.status_code >= 400:
        discard_rest()
    return response


def allow_origin(response: Response) -> None:
    """Let a page of another site read the answer, if that site is allowed to."""
    origin, allowed = request.headers.get("Origin"), current_app.config["ORIGINS"]
    if allowed:
        response.vary.add("Origin")
    if origin and (origin in allowed or "*" in allowed):
        response.headers.update(CORS | {"Access-Control-Allow-Origin": origin})


def create_app(model_path: Path | str | None = None) -> Flask:
    """Build the WSGI application; its model is loaded and warmed up before it returns.

    The environment sets the rest, see docs/serving.md.

    Args:
        model_path: by default the environment's MNIST_MODEL, or mnist_dnn.h5.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # one for each odd picture, for ever
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_TEXT
    app.config["TRUSTED_HOSTS"] = os.environ.get("MNIST_TRUSTED_HOSTS", "").split() or None
    app.config["ORIGINS"] = os.environ.get("MNIST_ALLOW_ORIGIN", "").split()
    app.json = provider = DefaultJSONProvider(app)
    provider.sort_keys = False
    app.url_map.merge_slashes = False  # it would redirect to whatever Host the client names
    trusted = bool(os.environ.get("MNIST_TRUST_SAVED_MODEL"))
    model = LiveModel(model_path or os.environ.get("MNIST_MODEL", MODEL), trusted)
    app.extensions["model"] = model
    if folder := os.environ.get("MNIST_COLLECT"):
        app.extensions["collection"] = Collection(folder)
    app.register_blueprint(views)
    app.register_blueprint(corrections.views)
    try:
        model.load()
    except (OSError, ValueError) as error:
        print(f"Warning: {error}", file=sys.stderr)
    return app


def resolve(host: str, port: int) -> str:
    """Return a host's IP address, after checking that the port is free.

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
        if args.collect:
            Path(args.collect).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"Error: no pictures can be kept in {args.collect} ({error}).")
    try:
        address = resolve(args.host, args.port)
    except (OSError, UnicodeError) as error:
        sys.exit(
            f"Error: cannot listen on {args.host}:{args.port} ({error}). "
            "Try another --port, or another --host."
        )
    os.environ.update(as_environment(args))  # for the workers
    reachable = "localhost" if address in ("0.0.0.0", "::") else args.host
    threading.Thread(target=announce, args=(reachable, args.port), daemon=True).start()
    serve(address, args.port, args.workers)


def create_worker() -> Flask:
    """Build the application in a worker of granian; signals reach it through its parent alone."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked process has its parent's handler
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C and SIGTERM after it, from the parent, would make it hang
    return create_app()


def serve(address: str, port: int, workers: int) -> None:
    """Serve with granian until Ctrl-C or SIGTERM; a worker that crashed is started again."""
    from granian import Granian  # here, since other servers do without it
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    Granian(
        f"{Path(__file__).resolve()}:create_worker",
        address,
        port,
        interface=Interfaces.WSGI,
        factory=True,
        workers=workers,
        blocking_threads=THREADS,
        http=HTTPModes.http1,  # the other has no deadline for headers
        http1_settings=HTTP1Settings(header_read_timeout=1000 * GRACE),
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE,
        log_level=LogLevels.error,
    ).serve()


if __name__ == "__main__":
    main()
