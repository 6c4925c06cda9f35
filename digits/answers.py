"""Answer a client of the service: from the bytes of a picture to the fields of the API."""

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from digits.files import open_picture
from digits.reading import DOUBT, read_digits


def read_picture(
    data: bytes, predict: Callable[[np.ndarray], np.ndarray], preview: bool = False
) -> dict:
    """Read the digits in an encoded picture.

    Args:
        data: a PNG, JPEG, WebP, BMP, GIF or TIFF file.
        predict: the digit network, from uint8 (n, 28, 28), ink bright, to float32 (n, 10).
        preview: whether to return the 28x28 pixels of each digit as well.

    Returns:
        The answer as the API gives it; see `static/openapi.json`.

    Raises:
        ValueError: it is not a picture, or there is no digit in it.
    """
    image = open_picture(io.BytesIO(data))
    found = read_digits(image, predict)
    scale = max(Image.open(io.BytesIO(data)).size) / max(image.size)  # large JPEGs open reduced
    digits = [
        {
            "digit": int(probabilities.argmax()),
            "confidence": float(probabilities.max()),
            "probabilities": probabilities.tolist(),
            "sure": bool(probabilities.max() >= DOUBT),
            "box": [round(edge * scale) for edge in box],
        }
        | ({"preview": png_url(pixels)} if preview else {})
        for pixels, probabilities, box in found
    ]
    return summarise(digits)


def summarise(digits: list[dict]) -> dict:
    """Add to all digits of a picture what holds for the whole, or for the only one."""
    answer = {
        "text": "".join(str(digit["digit"]) for digit in digits),
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
