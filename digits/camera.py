"""Take a picture of a scene: at an angle, out of focus, noisy, and saved as JPEG."""

import io

import numpy as np
from PIL import Image, ImageFilter

from digits.papers import (
    COLUMNS,
    ROWS,
    SIDE,
    board_colour,
    chance,
    log_uniform,
    paper_colour,
    smooth_noise,
    step,
)


def desk(rng: np.random.Generator) -> np.ndarray:
    """Draw what lies around a sheet: a desk, cloth or a flat colour, float32 (SIDE, SIDE, 3)."""
    colour = paper_colour(rng) * rng.uniform(0.3, 1) if chance(rng, 0.6) else board_colour(rng)
    if chance(rng, 0.3):
        return np.broadcast_to(colour, (SIDE, SIDE, 3)).astype("float32")
    grain = smooth_noise(rng, int(rng.integers(2, 60)), int(rng.integers(2, 60)))
    return colour * (1 + rng.uniform(0, 0.15) * grain)[..., None]


def perspective(corners: np.ndarray) -> list[float]:
    """Return Pillow's 8 coefficients that show the whole scene within these four corners.

    Args:
        corners: (4, 2), x and y where the left top, right top, right bottom and left bottom corner
            of the scene are placed.
    """
    scene = np.array([(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)], float)
    equations = []
    for (x, y), (u, v) in zip(np.asarray(corners, float), scene):
        equations.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        equations.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return np.linalg.solve(np.array(equations), scene.ravel()).tolist()


def some_corners(rng: np.random.Generator) -> np.ndarray:
    """Draw where the corners of a sheet lie: rotated, nearer or farther, seen at an angle."""
    scale, angle = rng.uniform(0.45, 1.15), rng.normal(0, 0.15)
    if chance(rng, 0.12):
        angle = rng.uniform(-0.8, 0.8)
    half = scale * SIDE / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    half = half * rng.uniform(0.75, 1.25, 2) + rng.normal(0, 0.03 * SIDE, (4, 2))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    loose = max(0, 1 - scale) / 2 * SIDE
    return half @ turn + SIDE / 2 + rng.uniform(-loose, loose, 2)


def seen_from(corners: np.ndarray, image: np.ndarray, sharp: bool = False) -> np.ndarray:
    """Return a uint8 image of SIDE x SIDE as it looks within these corners.

    Args:
        corners: (4, 2), see perspective.
        image: uint8 (SIDE, SIDE) or (SIDE, SIDE, 3).
        sharp: take the nearest pixel, for labels that must not be interpolated.
    """
    kernel = Image.Resampling.NEAREST if sharp else Image.Resampling.BILINEAR
    how = Image.Transform.PERSPECTIVE, perspective(corners), kernel
    return np.asarray(Image.fromarray(image).transform((SIDE, SIDE), *how))


def on_a_desk(picture: np.ndarray, corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture, float32 (SIDE, SIDE, 3), within these corners, a desk around it."""
    sheet = seen_from(corners, np.asarray(to_image(picture)))
    inside = seen_from(corners, np.full((SIDE, SIDE), 255, "uint8"))[..., None] / 255
    return sheet * inside + desk(rng) * (1 - inside)


def edges(picture: np.ndarray, room: tuple, rng: np.random.Generator) -> np.ndarray:
    """Let the desk show beyond the sheet's edge, without hiding ink.

    Args:
        picture: float32 (SIDE, SIDE, 3).
        room: pixels between the ink and the left, top, right and bottom side.
        rng: NumPy's random Generator.
    """
    for _ in range(1 + chance(rng, 0.35)):
        side = rng.integers(4)
        if room[side] < 6:
            continue
        inwards = (COLUMNS, ROWS, SIDE - 1 - COLUMNS, SIDE - 1 - ROWS)[side]
        along = (ROWS, COLUMNS)[side % 2] - SIDE / 2
        depth = rng.uniform(1, min(room[side] - 3, 110))
        distance = inwards - depth + rng.normal(0, 0.04) * along
        if chance(rng, 0.15):
            distance = distance + rng.uniform(0.5, 5) * smooth_noise(rng, 6)
        if chance(rng, 0.5):  # the sheet's shadow
            near = np.exp(-np.abs(distance) / rng.uniform(1, 10))
            picture = picture * (1 - rng.uniform(0.1, 0.6) * near)[..., None]
        outside = step(distance, rng.uniform(0.2, 1.5))[..., None]
        picture = picture * (1 - outside) + desk(rng) * outside
    return picture


def finger(picture: np.ndarray, room: tuple, rng: np.random.Generator) -> np.ndarray:
    """Let a finger reach into the picture, without hiding ink (arguments as for edges)."""
    side = rng.integers(4)
    if room[side] < 16:
        return picture
    length, width = min(room[side] - 4, rng.uniform(16, 90)), rng.uniform(10, 32)
    inwards = (COLUMNS, ROWS, SIDE - 1 - COLUMNS, SIDE - 1 - ROWS)[side]
    across = np.abs((ROWS, COLUMNS)[side % 2] - rng.uniform(20, SIDE - 20))
    tip = np.hypot(np.maximum(inwards - length + width, 0), across)
    cover = step(tip - width, 1.0)[..., None]
    skin = rng.uniform((120, 90, 70), (240, 180, 150)) * rng.uniform(0.4, 1)
    shaded = skin * (1.1 - 0.35 * (across / width).clip(0, 1))[..., None]
    return picture * (1 - cover) + shaded * cover


def photograph(
    picture: np.ndarray, rng: np.random.Generator, blur: float, noise: float
) -> np.ndarray:
    """Blur, add the sensor's noise, and save.

    Args:
        picture: float32 (SIDE, SIDE, 3).
        rng: NumPy's random Generator.
        blur: radius in pixels.
        noise: standard deviation, of 255.

    Returns:
        uint8 (SIDE, SIDE, 3).
    """
    image = to_image(picture)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if noise:
        grain = rng.standard_normal((SIDE, SIDE, 1), "float32") * noise
        if chance(rng, 0.3):
            grain = grain + rng.standard_normal((SIDE, SIDE, 3), "float32") * 0.6 * noise
        image = to_image(np.asarray(image, "float32") + grain)
    if chance(rng, 0.08):  # enlarged from a small file
        small = int(rng.integers(90, 200))
        image = image.resize((small, small), Image.Resampling.BOX)
        image = image.resize((SIDE, SIDE), int(rng.choice([0, 2, 3])))  # nearest, linear, cubic
    if chance(rng, 0.35):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(25, 92)))
        image = Image.open(file).convert("RGB")
    return np.asarray(image.convert("L").convert("RGB") if chance(rng, 0.35) else image)


def to_image(picture: np.ndarray) -> Image.Image:
    """Round float32 (SIDE, SIDE, 3) in 0-255 to an RGB image."""
    return Image.fromarray(np.rint(picture).clip(0, 255).astype("uint8"))


def contrast(rng: np.random.Generator, full: float) -> float:
    """Draw how much of the pen's colour a stroke takes: faint pencils to full ink.

    Args:
        rng: NumPy's random Generator.
        full: mean difference between pen and paper, of 255.
    """
    return float(np.clip(log_uniform(rng, 10, 90) / full, 0.05, 1))
