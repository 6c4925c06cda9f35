"""Run the finder's network in NumPy: a picture -> its ink, and the boxes of its digits."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from PIL import Image

from digits.budget import require_time

WEIGHTS = Path(__file__).with_name("finder.npz")
STRIDE = 16  # pixels of a picture per cell of the deepest layer
TILE, OVERLAP = (
    384,
    48,
)  # pixels: larger pictures are processed in tiles, in which light is more even
REACH = 8  # pixels per unit of the predicted distances
STRIP = 2**15  # numbers in a strip of patches, so that it stays in a core's cache


class View(NamedTuple):
    """The network's output for a picture at one scale.

    Attributes:
        ink: float32 (h, w) in 0-1, pixels that belong to a digit.
        centre: float32 (h / 2, w / 2) in 0-1, high in the middle of a digit.
        reach: float32 (h / 2, w / 2, 4), how far the sides (left, top, right, bottom) of the digit
            that a cell belongs to lie from that cell, in pixels of `ink`.
        scale: pixels of `ink` per pixel of the picture.
    """

    ink: np.ndarray
    centre: np.ndarray
    reach: np.ndarray
    scale: float


@cache
def load_weights(path: Path = WEIGHTS) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Load the finder's kernels and biases, float32, or None if there is no such file."""
    if not path.exists():
        return None
    with np.load(path) as file:
        count = len(file.files) // 2
        return [(_floats(file[f"k{i}"]), _floats(file[f"b{i}"])) for i in range(count)]


def _floats(values):
    return np.ascontiguousarray(values, "float32")


def look(picture: Image.Image, scale: float, near: np.ndarray | None = None) -> View:
    """Run the network on a picture.

    Args:
        picture: RGB.
        scale: by which the picture is resized beforehand.
        near: float (n, 4), boxes in pixels of the picture: only tiles that meet one are processed.

    Returns:
        The view; it is 0 in tiles that were left out.
    """
    size = [max(STRIDE, round(side * scale)) for side in picture.size]
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(picture.resize(size, method, reducing_gap=1.5 if scale < 1 else None))
    height, width = (-(-side // STRIDE) * STRIDE for side in small.shape[:2])
    view = View(
        np.zeros((height, width), "float32"),
        np.zeros((height // 2, width // 2), "float32"),
        np.zeros((height // 2, width // 2, 4), "float32"),
        scale,
    )
    for top, bottom in tiles(height):
        for left, right in tiles(width):
            if near is None or _meets(near * scale, (left, top, right, bottom)):
                require_time()
                _look_at_tile(small, view, top, bottom, left, right)
    return view


def tiles(length: int) -> Iterator[tuple[int, int]]:
    """Yield the ends of overlapping stretches, multiples of the stride, that cover a length."""
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    step = max(STRIDE, -(-(length - OVERLAP) // count // STRIDE) * STRIDE)
    for start in range(0, max(length - OVERLAP, 1), step):
        yield start, min(start + step + OVERLAP, length)


def _meets(boxes, tile):
    left, top, right, bottom = boxes.T
    return ((left < tile[2]) & (right > tile[0]) & (top < tile[3]) & (bottom > tile[1])).any()


def _look_at_tile(small, view, top, bottom, left, right):
    """Fill in a tile; neighbouring tiles meet in the middle of their overlap."""
    part = small[top:bottom, left:right].astype("float32")
    missing = [(0, bottom - top - part.shape[0]), (0, right - left - part.shape[1]), (0, 0)]
    padded = standardise(np.pad(part, missing, mode="edge"))
    ink, centre, reach = _outputs(run_network(padded, load_weights() or []))
    y, x = (OVERLAP // 2 if start else 0 for start in (top, left))
    view.ink[top + y : bottom, left + x : right] = ink[y:, x:]
    cells = np.s_[(top + y) // 2 : bottom // 2, (left + x) // 2 : right // 2]
    view.centre[cells] = centre[y // 2 :, x // 2 :]
    view.reach[cells] = reach[y // 2 :, x // 2 :]


def standardise(pixels: np.ndarray) -> np.ndarray:
    """Bring pictures, float32 (..., h, w, 3) in 0-255, to mean 0 in each colour and unit spread."""
    pixels = pixels - pixels.mean(axis=(-3, -2), keepdims=True)
    spread = np.sqrt((pixels * pixels).mean(axis=(-3, -2, -1), keepdims=True))
    return pixels / (spread + 4)


def _outputs(logits):
    ink, centre = (1 / (1 + np.exp(-logits[..., part].clip(-30, 30))) for part in (slice(4), 4))
    height, width = centre.shape
    ink = ink.reshape(height, width, 2, 2).swapaxes(1, 2).reshape(2 * height, 2 * width)
    return ink, centre, np.logaddexp(logits[..., 5:9], 0) * REACH


def run_network(pixels: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Run the network.

    Args:
        pixels: float32 (h, w, 3), standardised; h and w are multiples of STRIDE.
        weights: kernel and bias of each layer.

    Returns:
        Logits, float32 (h / 2, w / 2, 9 or more).
    """
    layers = iter(weights)

    def block(x, stride=1, activate=True):
        return convolve(x, *next(layers), stride, activate)

    def joined(low, high):
        return block(block(low).repeat(2, 0).repeat(2, 1) + high)

    half = block(block(pixels, 2))
    quarter = block(block(half, 2))
    eighth = block(block(quarter, 2))
    sixteenth = block(block(block(eighth, 2)))
    seen = joined(joined(joined(sixteenth, eighth), quarter), half)
    return block(block(seen), activate=False)


def convolve(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int = 1, activate: bool = True
) -> np.ndarray:
    """Convolve as Keras's Conv2D does with padding="same", and a ReLU after it.

    Args:
        x: float32 (h, w, channels); h and w are multiples of the stride.
        kernel: float32 (n, n, channels, filters).
        bias: float32 (filters,).

    Returns:
        float32 (h / stride, w / stride, filters).
    """
    n, _, channels, filters = kernel.shape
    height, width = x.shape[0] // stride, x.shape[1] // stride
    before, after = (n - stride) // 2, (n - stride + 1) // 2
    x = np.pad(x, ((before, after), (before, after), (0, 0)))
    row, column, _ = x.strides
    shape, strides = (height, width, n, n * channels), (row * stride, column * stride, row, 4)
    patches = as_strided(x, shape, strides)  # the n pixels in a row of a patch lie side by side
    out = np.empty((height, width, filters), "float32")
    rows = max(1, STRIP // (width * kernel[..., 0].size))
    for top in range(0, height, rows):
        strip = patches[top : top + rows].reshape(-1, kernel[..., 0].size)
        filtered = out[top : top + rows].reshape(-1, filters)
        np.matmul(strip, kernel.reshape(-1, filters), out=filtered)
        filtered += bias
        if activate:
            np.maximum(filtered, 0, out=filtered)
    return out
