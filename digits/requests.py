"""Understand what clients of the service send: a picture, a form, or JSON."""

import base64
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

MAX_BODY = 16 * 2**20  # bytes of a request: a phone's photo in base64
MAX_TEXT = 2**20  # bytes of the fields of a multipart form, and of a header: slow to understand
MAX_ESCAPES = 2**19  # of a form: base64 of MAX_BODY has fewer, and more are slow to understand
MAX_IMAGES = 32  # in one request
MAX_PARTS = 1000  # of JSON or a form, as Werkzeug has it for multipart: each takes memory
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

    JSON is recognised without its header too: `curl -d` and many scripts do not send it.

    Raises:
        BadRequest: there is no picture in it, or not in a known form.
        RequestEntityTooLarge: it is too long.
        UnsupportedMediaType: its Content-Type is none of those known here.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return parse_form()
    body = receive_body()
    if kind == "application/json" or body.lstrip()[:1] in (b"{", b"["):
        require_few(body, b'[{",')
        return parse_json()
    if kind == "application/x-www-form-urlencoded":
        require_few(body, b"&")
        if body.count(b"%") > MAX_ESCAPES:
            raise RequestEntityTooLarge
        return parse_form()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return Question([body], preview=is_true(request.args.get("preview")))
    raise UnsupportedMediaType(
        "Expected a Content-Type of application/json, multipart/form-data or image/png (or "
        f"another picture's), got {kind or 'none'}."
    )


def receive_body() -> bytes:
    """Return the whole body of the current request.

    Raises:
        RequestEntityTooLarge: it is as long as the limit: where no length was announced, the rest
            was cut off silently.
    """
    body = request.get_data()
    if len(body) >= MAX_BODY:
        raise RequestEntityTooLarge
    return body


def require_few(body: bytes, marks: bytes) -> None:
    """Raise BadRequest if a body has very many of the characters that begin its parts."""
    if sum(body.count(mark) for mark in marks) > MAX_PARTS:
        raise BadRequest(f"Expected a request of at most {MAX_PARTS} parts.")


def is_true(text: str | None) -> bool:
    """Return whether a flag in a form or query string is set."""
    return text in ("1", "true", "on")


def parse_form() -> Question:
    """Read a form with a picture named image: a file, or base64.

    Raises:
        BadRequest: there is none.
    """
    preview = is_true(request.form.get("preview"))
    if "image" in request.files:
        return Question([request.files["image"].read()], preview=preview)
    if "image" not in request.form:
        raise BadRequest("Expected a file, or base64, named image in the form.")
    text = request.form["image"]
    if request.mimetype == "application/x-www-form-urlencoded":
        text = text.replace(" ", "+")  # a plus that was not escaped
    return Question([text], preview=preview)


def parse_json() -> Question:
    """Read JSON with `image` or `images`, in base64, and perhaps `preview`.

    Raises:
        BadRequest: the body is something else.
    """
    try:
        body = request.get_json(force=True)
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
        raise BadRequest(
            "Expected a picture as a base64 string. Save pixels as a PNG, and send that in base64."
        )
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
    """Receive the rest of a refused request: many clients read no answer before they have sent it.

    This needs a server that ends the stream where the request ends.
    """
    if not request.environ.get("wsgi.input_terminated"):
        return
    if (request.content_length or 0) > MAX_DISCARDED:  # None where no length is announced
        return
    for _ in range(MAX_DISCARDED // CHUNK):
        if not request.environ["wsgi.input"].read(CHUNK):
            return
