"""Understand what clients of the service send: pictures in a form or in JSON."""

import base64
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

MAX_BODY = 16 * 2**20  # bytes of a request: a phone's photo in base64
MAX_IMAGES = 32  # in one request
MAX_DISCARDED = 4 * MAX_BODY  # bytes of a refused request that are received and thrown away
CHUNK = 2**16  # bytes to receive at a time
STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")  # from the URL-safe alphabet


@dataclass
class Question:
    """The pictures to read: files, or base64 that is not decoded yet.

    Attributes:
        images: one picture, unless `several`.
        several: whether the client sent a list, and gets one.
        preview: whether to answer with the 28x28 pixels that the network saw as well.
    """

    images: list[Any]
    several: bool = False
    preview: bool = False


def parse_request() -> Question:
    """Return what the current request asks for.

    Raises:
        BadRequest, RequestEntityTooLarge, UnsupportedMediaType: it cannot be understood.
    """
    if request.mimetype == "multipart/form-data":
        return parse_form()
    return parse_json()


def parse_form() -> Question:
    """Read a form with a file named image.

    Raises:
        BadRequest: there is none.
    """
    if "image" not in request.files:
        raise BadRequest("Expected a file named image in the form.")
    preview = request.form.get("preview", "") in ("1", "true", "on")
    return Question([request.files["image"].read()], preview=preview)


def parse_json() -> Question:
    """Read JSON with `image` or `images`, in base64, and perhaps `preview`.

    Raises:
        BadRequest: the body is something else.
        RequestEntityTooLarge: it is as long as the limit: where no length was announced, the rest
            is cut off silently.
    """
    if len(request.get_data()) >= MAX_BODY:
        raise RequestEntityTooLarge
    try:
        body = request.get_json()
    except (BadRequest, RecursionError) as error:  # the latter from thousands of brackets
        raise BadRequest("Expected JSON, got something that cannot be parsed.") from error
    if not isinstance(body, dict) or ("image" in body) == ("images" in body):
        raise BadRequest('Expected a JSON object with either "image" or "images".')
    preview = body.get("preview", False)
    if not isinstance(preview, bool):
        raise BadRequest('Expected true or false as "preview".')
    if "image" in body:
        return Question([body["image"]], preview=preview)
    if not isinstance(body["images"], list) or len(body["images"]) > MAX_IMAGES:
        raise BadRequest(f'Expected a list of at most {MAX_IMAGES} pictures as "images".')
    return Question(body["images"], several=True, preview=preview)


def decode_picture(image: object) -> bytes:
    """Return a picture as the bytes of its file.

    Args:
        image: such bytes; or base64 in either alphabet, with or without data-URL prefix, line
            breaks and padding.

    Raises:
        BadRequest: it is neither, or empty.
    """
    if isinstance(image, bytes):
        return image
    if not isinstance(image, str):
        raise BadRequest("Expected a picture as a base64 string.")
    if image[:64].lstrip().startswith("data:"):
        image = image.partition(",")[2]
    try:
        text = image.encode("ascii").translate(STANDARD_BASE64, b" \t\r\n\f").rstrip(b"=")
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # also binascii.Error and UnicodeEncodeError
        raise BadRequest("Expected base64, got an impossible character or length.") from error
    if not data:
        raise BadRequest("Expected a picture as a base64 string, got an empty one.")
    return data


def discard_rest() -> None:
    """Receive the rest of a refused request: many clients read no answer before they sent it all.

    This needs a server that ends the stream where the request ends.
    """
    if not request.environ.get("wsgi.input_terminated"):
        return
    if (request.content_length or 0) > MAX_DISCARDED:  # None where no length is announced
        return
    for _ in range(MAX_DISCARDED // CHUNK):
        if not request.environ["wsgi.input"].read(CHUNK):
            return
