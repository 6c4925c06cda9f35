"""Answer a client of the service: from the bytes of a picture to the fields of the API."""

import base64
import io

import numpy as np
from PIL import Image

from digits.bounded import decode
from digits.budget import Budget
from digits.reading import DOUBT, Digit, Predict, as_text, read_digits


def read_picture(data: bytes, predict: Predict, budget: Budget, preview: bool = False) -> dict:
    """Read the digits in an encoded picture.

    Args:
        data: a file of a kind that `open_picture` knows.
        predict: the digit network, from uint8 (n, 28, 28), ink bright, to float32 (n, 10).
        budget: the time that is left for the pictures of the request.
        preview: whether to return the 28x28 pixels of each digit as well.

    Returns:
        The answer, as described in `static/openapi.json`.

    Raises:
        ValueError: it is not a picture, takes too much work, or there is no digit in it.
        BusyError: there is no time for it now.
    """
    with budget:
        image, longest = decode(data, budget)
        found = read_digits(image, predict)
    scale = longest / max(image.size)  # large pictures are decoded reduced
    return {"text": as_text(found)} | summarise([describe(each, scale, preview) for each in found])


def describe(found: Digit, scale: float, preview: bool) -> dict:
    """Return the fields of one digit.

    Args:
        found: as `read_digits` returns it.
        scale: pixels of the picture that was sent per pixel of the one that was read.
        preview: whether to return its 28x28 pixels as well.
    """
    digit = {
        "digit": int(found.probabilities.argmax()),
        "confidence": found.confidence,
        "probabilities": found.probabilities.tolist(),
        "sure": found.confidence >= DOUBT,
        "box": [round(edge * scale) for edge in found.box],
    }
    return digit | ({"preview": png_url(found.pixels)} if preview else {})


def summarise(digits: list[dict]) -> dict:
    """Return all digits of a picture, and the fields of the whole or of its only digit."""
    answer = {
        "digits": digits,
        "digit": None,
        "confidence": min(digit["confidence"] for digit in digits),
        "probabilities": None,
        "sure": all(digit["sure"] for digit in digits),
    }
    if len(digits) == 1:
        answer |= {key: value for key, value in digits[0].items() if key != "box"}
    return answer


def png_url(pixels: np.ndarray) -> str:
    """Return grey levels, uint8 (height, width), as a PNG in a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
