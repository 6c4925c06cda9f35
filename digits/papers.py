"""Draw what people write on: paper and boards, their patterns, and the light that falls on them.

Pictures are float32 (SIDE, SIDE, 3) in 0-255, coverages and fields float32 (SIDE, SIDE).
"""

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 256  # pixels of a scene
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype("float32")
PAPERS = {  # probability; darkest and lightest colour, between which one is drawn per channel
    "white": (0.48, (130, 130, 130), (253, 253, 253)),
    "cream": (0.16, (140, 128, 105), (250, 245, 225)),
    "cool": (0.13, (95, 105, 120), (205, 225, 235)),
    "grey": (0.10, (60, 60, 60), (170, 170, 170)),
    "coloured": (0.07, (60, 60, 60), (255, 255, 255)),
    "brown": (0.06, (114, 90, 60), (228, 180, 120)),
}
PENS = (  # for light paper: probability; darkest and lightest red, green, blue
    (0.40, (0, 0, 0), (90, 90, 90)),
    (0.22, (0, 0, 90), (90, 110, 220)),
    (0.14, (140, 0, 0), (235, 80, 90)),
    (0.08, (0, 70, 0), (70, 170, 110)),
    (0.06, (0, 150, 190), (120, 220, 245)),  # cyan
    (0.04, (200, 120, 0), (255, 200, 80)),  # orange
    (0.06, (0, 0, 0), (230, 230, 230)),
)
CHALKS = (  # for dark boards
    (0.60, (170, 170, 170), (255, 255, 255)),
    (0.15, (200, 190, 40), (255, 250, 160)),
    (0.25, (60, 60, 60), (255, 255, 255)),
)
FONTS = ("default", "DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Italic", "cmr10")
LETTERS = "abcdefghijkmnopqrstuvwxyz     ABCDEFGHKLMN,."


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with this probability."""
    return bool(rng.random() < probability)


def smooth_noise(rng: np.random.Generator, cells: int, cells_across: int = 0) -> np.ndarray:
    """Draw a field of mean 0 and spread of about 1 that varies over SIDE / cells pixels."""
    grid = rng.normal(0, 1, (cells, cells_across or cells)).astype("float32")
    return np.asarray(Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Return 1 where the distance is negative, 0 where it is positive, a soft edge between."""
    return 1 / (1 + np.exp((distance / softness).clip(-30, 30)))


def distance_from_line(rng: np.random.Generator) -> np.ndarray:
    """Return each pixel's signed distance from a random line through the scene, in pixels."""
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.45, 0.45) * SIDE
    across = np.cos(angle) * (COLUMNS - SIDE / 2) + np.sin(angle) * (ROWS - SIDE / 2)
    return (across - shift).astype("float32")


def _between(rng, low, high):
    """Draw a colour: mostly one brightness for the three channels, each a little off."""
    at = (rng.random() + rng.normal(0, 0.06, 3)) if chance(rng, 0.6) else rng.random(3)
    return (np.array(low) + np.clip(at, 0, 1) * np.subtract(high, low)).astype("float32")


def paper_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of a sheet of paper: float32 (3,)."""
    chosen = rng.choice(list(PAPERS), p=[share for share, _, _ in PAPERS.values()])
    return _between(rng, *PAPERS[chosen][1:])


def board_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw the colour of a blackboard, a dark canvas or a chalkboard: float32 (3,)."""
    return _between(rng, (0, 0, 0), rng.uniform(5, 110, 3))


def ink_colour(rng: np.random.Generator, background: np.ndarray, least: float = 28) -> np.ndarray:
    """Draw the colour of a pen that differs from the background by `least` on average."""
    light = background.mean() > 95
    pens = PENS if light != chance(rng, 0.05) else CHALKS
    for _ in range(12):
        chosen = rng.choice(len(pens), p=[share for share, _, _ in pens])
        colour = _between(rng, *pens[chosen][1:])
        if np.abs(colour - background).mean() > least:
            return colour
    return np.full(3, 0.0 if light else 255.0, "float32")


def _mottles(rng):
    return rng.uniform(0.005, 0.05) * smooth_noise(rng, int(rng.integers(6, 100)))


def _grain(rng):
    return log_uniform(rng, 0.005, 0.08) * smooth_noise(
        rng, int(rng.choice([SIDE, SIDE, SIDE // 2]))
    )


def _streaks(rng):
    noise = smooth_noise(rng, 1, int(rng.integers(6, 128)))
    return rng.uniform(0.01, 0.07) * (noise if chance(rng, 0.6) else noise.T)


def _creases(rng):
    field = np.zeros((SIDE, SIDE), "float32")
    for _ in range(rng.integers(1, 5)):
        distance = distance_from_line(rng) + rng.uniform(0, 4) * smooth_noise(rng, 4)
        side = (distance > 0) * np.exp(-np.abs(distance) / rng.uniform(3, 40))
        ridge = np.exp(-((distance / rng.uniform(0.5, 1.5)) ** 2))
        field += rng.uniform(-0.1, 0.1) * side + rng.uniform(-0.2, 0.2) * ridge
    return field


def _crumples(rng):
    field = np.zeros((SIDE, SIDE), "float32")
    for cells in (int(rng.integers(3, 6)), int(rng.integers(6, 12)), int(rng.integers(12, 24))):
        slope = np.abs(smooth_noise(rng, cells))
        field += rng.uniform(0.01, 0.08) * (np.minimum(slope, 0.8) - 0.5)
    return field


def _print_from_behind(rng):
    """Draw print that shows through from the other side of the sheet."""
    behind = printed_text(rng, size=int(rng.integers(9, 22)), lines=99)
    image = Image.fromarray(np.rint(behind * 255).astype("uint8"))
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2)))
    mirrored = np.asarray(blurred, "float32")[:, :: -1 if chance(rng, 0.7) else 1] / 255
    return -rng.uniform(0.04, 0.18) * mirrored


TEXTURES = (
    (0.45, _mottles),
    (0.25, _grain),
    (0.10, _streaks),
    (0.12, _creases),
    (0.08, _crumples),
    (0.06, _print_from_behind),
)


def paper(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Draw a sheet as it is before anything is written on it and before light falls on it."""
    shade = np.ones((SIDE, SIDE), "float32")
    for probability, texture in TEXTURES:
        if chance(rng, probability):
            shade = shade * (1 + texture(rng))
    return (shade[..., None] * colour).astype("float32")


def some_font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Choose among Pillow's font and those bundled with Matplotlib."""
    name = rng.choice(FONTS)
    if name == "default":
        return ImageFont.load_default(size)
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf", size)


def printed_text(
    rng: np.random.Generator, size: int, lines: int, letters: str = LETTERS
) -> np.ndarray:
    """Print random words somewhere, rotated by a multiple of 90 degrees: a coverage."""
    sheet, font = Image.new("L", (2 * SIDE, 2 * SIDE)), some_font(rng, 2 * size)
    draw, pitch = ImageDraw.Draw(sheet), 2 * size * rng.uniform(1.1, 2)
    left, top = rng.uniform(-20, 0.7 * 2 * SIDE), rng.uniform(-10, 0.8 * 2 * SIDE)
    if lines > 20:
        left, top = rng.uniform(0, 30), rng.uniform(0, 60)
    for line in range(lines):
        text = "".join(rng.choice(list(letters), rng.integers(3, 60 if lines > 20 else 16)))
        draw.text((left, top + line * pitch), text, font=font, fill=255)
        if top + line * pitch > 2 * SIDE:
            break
    turned = sheet.rotate(int(rng.choice([0, 0, 0, 90, 180, 270])))
    return np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX), "float32") / 255


def rules(rng: np.random.Generator) -> np.ndarray:
    """Draw the lines or dots that paper is printed with: a coverage."""
    large = 3 * SIDE  # twice the scale, and room to turn
    sheet = Image.new("L", (large, large))
    style = rng.choice(["ruled", "squared", "dotted", "dashed"], p=[0.36, 0.46, 0.09, 0.09])
    pitch, width = log_uniform(rng, 14, 180), max(1, round(log_uniform(rng, 0.8, 5)))
    _rule_rows(ImageDraw.Draw(sheet), rng, style, pitch, width)
    if style == "squared":
        across = Image.new("L", (large, large))
        pitch *= rng.uniform(0.5, 2) if chance(rng, 0.2) else 1
        _rule_rows(ImageDraw.Draw(across), rng, style, pitch, width)
        sheet.paste(255, mask=across.transpose(Image.Transpose.ROTATE_90))
    turned = sheet.rotate(rng.normal(0, 3) + 90 * chance(rng, 0.25), Image.Resampling.BILINEAR)
    middle = turned.crop((SIDE // 2, SIDE // 2, 5 * SIDE // 2, 5 * SIDE // 2))
    coverage = np.asarray(middle.resize((SIDE, SIDE), Image.Resampling.BOX), "float32") / 255
    if chance(rng, 0.3):  # badly printed
        coverage = coverage * (0.75 + 0.3 * smooth_noise(rng, 8)).clip(0, 1)
    return coverage


def _rule_rows(draw, rng, style, pitch, width):
    large, dash = 3 * SIDE, rng.uniform(4, 12)
    for y in np.arange(rng.uniform(0, pitch), large, pitch):
        if style in ("ruled", "squared"):
            draw.line([0, y, large, y], fill=255, width=width)
        gaps = np.arange(0, large, pitch if style == "dotted" else dash)
        for x in gaps if style in ("dotted", "dashed") else ():
            end = x + (width if style == "dotted" else dash / 2)
            draw.line([x, y, end, y], fill=255, width=width)


def _slope(rng):
    along_x, along_y = rng.uniform(-0.7, 0.7, 2) * rng.random()
    return 1 + along_x * (COLUMNS / SIDE - 0.5) + along_y * (ROWS / SIDE - 0.5)


def _squared_distance(rng, spread):
    x, y = rng.uniform(0.5 - spread, 0.5 + spread, 2)
    return (COLUMNS / SIDE - x) ** 2 + (ROWS / SIDE - y) ** 2


def _vignette(rng):
    dark = (2 * _squared_distance(rng, 0.3)) ** rng.uniform(0.6, 1.6)
    return 1 - rng.uniform(0.1, 0.85) * dark


def _lamp(rng):
    cone = np.exp(-_squared_distance(rng, 0.5) / rng.uniform(0.05, 0.3))
    return rng.uniform(0.3, 0.8) + rng.uniform(0.3, 0.9) * cone


def _shadow(rng):
    """The soft or hard shadow of something with a straight or wavy edge."""
    distance = distance_from_line(rng)
    if chance(rng, 0.4):
        distance = distance + rng.uniform(2, 16) * smooth_noise(rng, 5)
    return 1 - rng.uniform(0.08, 0.6) * step(distance, log_uniform(rng, 0.4, 50))


def _round_shadow(rng):
    """The shadow of a hand or a head."""
    distance = SIDE * np.sqrt(_squared_distance(rng, 0.5)) - rng.uniform(20, 120)
    distance = distance + rng.uniform(0, 16) * smooth_noise(rng, 5)
    return 1 - rng.uniform(0.1, 0.5) * step(distance, log_uniform(rng, 1, 24))


def _unevenness(rng):
    return 1 + rng.uniform(0.01, 0.06) * smooth_noise(rng, int(rng.integers(3, 9)))


LIGHTS = (
    (0.75, _slope),
    (0.25, _vignette),
    (0.12, _lamp),
    (0.30, _shadow),
    (0.10, _shadow),
    (0.15, _round_shadow),
    (0.30, _unevenness),
)


def light(rng: np.random.Generator) -> np.ndarray:
    """Draw how much light falls where: a field of about 1, down to 0.08 in shadows."""
    field = np.ones((SIDE, SIDE), "float32")
    for probability, effect in LIGHTS[: 1 if chance(rng, 0.3) else None]:  # often daylight
        if chance(rng, probability):
            field = field * effect(rng)
    return field.clip(0.08, 2.2).astype("float32")
