"""Let people correct an answer of the service: their picture is kept with its right label."""

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    ServiceUnavailable,
    UnprocessableEntity,
    UnsupportedMediaType,
)

from digits.bounded import decode
from digits.budget import Budget, BusyError
from digits.collection import LABELS, Collection, FullError
from digits.find import pil_to_mnist
from digits.requests import receive_body

views = Blueprint("corrections", __name__)


class InsufficientStorage(HTTPException):
    """The folder is full."""

    code = 507


def collection() -> Collection | None:
    """Return where pictures are kept, or None if they are not."""
    return current_app.extensions.get("collection")


@views.app_context_processor
def name_collection() -> dict:
    """Tell the page the name of the folder in which pictures are kept, if they are."""
    kept = collection()
    return {"kept_in": kept.root.resolve().name if kept else ""}


@views.post("/correct")
def correct() -> Response:
    """Keep the one digit in the picture, in MNIST's form, with the label that it is given."""
    kept = collection()
    if not kept:
        raise Forbidden("Pictures are not kept here. Start app.py with --collect FOLDER.")
    label = request.args.get("label", "")
    if label not in LABELS:
        raise BadRequest("Expected ?label= with 0 to 9, or with none where there is no digit.")
    try:
        data, budget = receive_picture(), Budget()
        with budget:
            pixels = pil_to_mnist(decode(data, budget)[0])
        path = kept.keep(pixels, label)
    except BusyError as error:
        raise ServiceUnavailable(str(error)) from error
    except FullError as error:
        raise InsufficientStorage(str(error)) from error
    except ValueError as error:
        raise UnprocessableEntity(str(error)) from error
    return jsonify(kept=path.as_posix())


def receive_picture() -> bytes:
    """Return the picture file that is the body of the request.

    A form is refused, since a page of any other site could send one unasked.

    Raises:
        UnsupportedMediaType: the Content-Type is not that of a picture.
        RequestEntityTooLarge: the body is too large.
    """
    if not request.mimetype.startswith("image/"):
        kind = request.mimetype or "none"
        raise UnsupportedMediaType(
            f"Expected the picture as the body, with a Content-Type of image/png, got {kind}."
        )
    return receive_body()
