"""Find handwritten digits in any picture and bring them to MNIST's form. NumPy and Pillow only.

A photo, scan or drawing becomes 28x28 grey levels, ink bright on black, in these steps:

    upright RGB -> contrast of the ink to its paper, without shadows and ruled lines
    -> connected parts -> digits -> pen width, size and place as in MNIST
"""

import numpy as np
from PIL import Image, ImageChops

LARGE = 1024  # longest side, in pixels, that is kept of a picture
WORK = 128  # longest side on which digits are looked for
SMALL = 40  # a digit of fewer pixels there is looked at again, closer
GRID = 40  # side of the grid on which the paper's surface is fitted
MOST = 100  # parts that are looked at
TILTS = np.linspace(-0.12, 0.12, 13)  # of ruled lines, in rows per column
CANVAS = 0.5  # noise in grey levels: above it is paper, with shadows and dirt
INK_SHARES = 0.3, 0.4  # of the ink's level: what counts as ink at first, and next to the digit
BORDER = 0.003  # weight of what lies along the border: page edges, desk, fingers
THINNEST, THICKEST = 1.9, 3.8  # pen width in MNIST, in pixels of a 20x20 digit
NO_DIGIT = (
    "No digit stands out from the background. Take a darker pen, more light or a closer look."
)


class NoDigitError(ValueError):
    """No digit stands out from the background, or several do; the message says what to do."""


def pil_to_mnist(image):
    """Bring the one digit in a picture to MNIST's form.

    Args:
        image: PIL image of any size and mode, light or dark; it is left as it is.

    Returns:
        uint8 (28, 28), ink bright on black. What has MNIST's form already comes back bit for bit.

    Raises:
        NoDigitError: there is no digit, or there are several.
    """
    digits = find_digits(image)
    if len(digits) > 1:
        raise NoDigitError(
            f"There seem to be {len(digits)} digits in the picture. Crop it to the one to read."
        )
    return digits[0][0]


def find_digits(image):
    """Find well-separated digits.

    Args:
        image: as for `pil_to_mnist`.

    Returns:
        A list of `(uint8 (28, 28), box)` in reading order; a box is (left, top, right, bottom) in
        pixels of the upright picture.

    Raises:
        NoDigitError: no digit stands out from the background.
    """
    if image.mode == "L" and image.size == (28, 28):
        pixels = np.array(image)
        if is_normalised(pixels[None])[0]:
            return [(pixels, image.getbbox())]
    picture = upright_rgb(image)
    scale = max(image.size) / max(picture.size)
    inside = _inside_frame(picture)
    ink_and_boxes = _find_ink(picture.crop(inside))
    corner = np.tile(inside[:2], 2)
    found = [(normalise(ink), (box + corner) * scale) for ink, box in ink_and_boxes]
    return [(pixels, tuple(np.rint(box).astype(int).tolist())) for pixels, box in _read(found)]


def _read(found):
    """Sort digits into reading order: by rows, then from left to right."""
    rows = []
    for digit in sorted(found, key=lambda digit: digit[1][1] + digit[1][3]):
        _, top, _, bottom = digit[1]
        if rows and (top + bottom) / 2 < max(box[3] for _, box in rows[-1]):
            rows[-1].append(digit)
        else:
            rows.append([digit])
    return [digit for row in rows for digit in sorted(row, key=lambda digit: digit[1][0])]


def is_normalised(images):
    """Tell which pictures have MNIST's form: on all of its 70,000 pictures this holds.

    The box of the ink is 19 or 20 pixels long, the ink's centre of mass lies at (14, 14) within
    half a pixel, the brightest pixel is at least 250, and more than half of the pixels are 0.

    Args:
        images: uint8 (n, 28, 28).

    Returns:
        bool (n,).
    """
    (top, bottom), (left, right) = _extent(images.any(axis=2)), _extent(images.any(axis=1))
    longest = np.maximum(bottom - top, right - left)
    total = np.maximum(images.sum(axis=(1, 2), dtype="int64"), 1)
    places = np.arange(28)
    y = images.sum(axis=2, dtype="int64") @ places / total
    x = images.sum(axis=1, dtype="int64") @ places / total
    centred = (abs(y - 14) < 0.53) & (abs(x - 14) < 0.53)
    bright = images.max(axis=(1, 2)) >= 250
    black = (images == 0).mean(axis=(1, 2)) > 0.5
    return centred & bright & black & (longest >= 19) & (longest <= 20)


# Pictures of every kind -> upright RGB


def upright_rgb(image):
    """Return 8-bit RGB, upright as EXIF says, transparency on paper, at most LARGE pixels long."""
    orientation = image.getexif().get(0x0112, 1)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.mode == "LAB":
        image = image.getchannel("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.reduce(max(1, max(image.size) // LARGE))
    image = _turn(image, orientation)
    if "A" in image.getbands() and image.getextrema()[-1][0] < 255:
        image = _on_paper(image)
    return image.convert("RGB")


def _inside_frame(picture):
    """Return the box of a photo in a frame of one colour, as in screenshots, else of all."""
    width, height = picture.size
    sides = (0, 0, width, 1), (0, height - 1, width, height)
    sides += (0, 0, 1, height), (width - 1, 0, width, height)
    everything = 0, 0, width, height
    if all(_unlike_corner(picture, side).getbbox() for side in sides):
        return everything
    unlike = _unlike_corner(picture, everything)
    box = unlike.getbbox() or everything
    inside = np.asarray(unlike.crop(box))
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    large = 5 * inside.size > width * height
    return box if large and min(rim.mean(), inside.mean()) > 0.75 else everything


def _unlike_corner(picture, box):
    """Mark with 1 what differs from the colour of the top left corner, in a box of a picture."""
    part = picture.crop(box)
    corner = Image.new("RGB", part.size, picture.getpixel((0, 0)))
    return ImageChops.difference(part, corner).convert("L").point(lambda level: level > 8)


def _turn(image, orientation):
    """Turn a picture as its EXIF orientation, 1-8, says."""
    methods = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    return image.transpose(methods[orientation]) if orientation in methods else image


def _eight_bits(image):
    """Scale 16-bit, 32-bit and float grey levels to 0-255."""
    levels = np.nan_to_num(np.asarray(image, "float32"), posinf=0, neginf=0)
    levels = levels - min(levels.min(), 0)
    top = 65535 if image.mode.startswith("I;16") else max(levels.max(), 1e-9)
    return Image.fromarray((levels * (255 / top)).astype("uint8"))


def _on_paper(image):
    """Put dark ink on a transparent canvas onto white, light ink onto black."""
    grey, alpha = np.asarray(image.convert("LA"), "float32").reshape(-1, 2).T
    light_ink = (grey * alpha).sum() > 127.5 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if light_ink else "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper


# Ink and paper


def _slide(values, size, extreme):
    """Take the extreme (np.minimum, np.maximum) of size x size neighbours; size is odd."""
    for _ in range(2):
        rows = np.arange(-(size // 2), len(values) + size // 2)
        values = values[rows.clip(0, len(values) - 1)]  # the rim is repeated outwards
        reach = 1
        while reach < size:
            step = min(reach, size - reach)
            values = extreme(values[step:], values[:-step])
            reach += step
        values = values.T
    return values


def _paper_colours(colours):
    """Fit a quadratic surface of colour through the pixels that agree on it: light falls unevenly.

    Args:
        colours: float32 (GRID * GRID, 3).

    Returns:
        float32 of the same shape.
    """
    y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j].reshape(2, -1)
    terms = np.stack([x**0, x, y, x * x, x * y, y * y], axis=1)
    border = np.flatnonzero(np.maximum(abs(x), abs(y)) > 0.93)
    votes = np.r_[np.arange(len(x)), np.tile(border, 10)]  # the border is rarely ink
    surface = np.median(colours[votes], axis=0) * np.ones_like(colours)
    for _ in range(4):
        distance = np.linalg.norm(colours - surface, axis=1)[votes]
        weight = 1 / (1 + (distance / max(1.5 * np.median(distance), 4)) ** 2) ** 2
        weighted = terms[votes] * weight[:, None]
        normal = terms[votes].T @ weighted + 1e-3 * np.eye(6)
        surface = terms @ np.linalg.solve(normal, weighted.T @ colours[votes])
    return surface


def _contrast(picture):
    """Measure how far each pixel lies from the paper, towards the ink's colour.

    Args:
        picture: RGB image.

    Returns:
        float32 (h, w) in grey levels, ink positive, and the paper's noise (sigma).
    """
    grid = np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX), "float32").reshape(-1, 3)
    surface = _paper_colours(grid)
    away = grid - surface
    towards_ink = _towards_ink(away)
    paper = (surface @ towards_ink).reshape(GRID, GRID)
    paper = Image.fromarray(paper.astype("float32")).resize(picture.size, Image.Resampling.BICUBIC)
    contrast = np.asarray(picture, "float32") @ towards_ink.astype("float32") - np.asarray(paper)
    if np.quantile(abs(away @ towards_ink), 0.25) > 0.1:  # a photo, not a canvas
        if _is_lighter(contrast):
            contrast = -contrast
        contrast = contrast - _light(contrast)
        contrast = _without_rules(_without_rules(contrast).T).T
        contrast -= np.quantile(contrast, 0.35)
    return contrast, np.quantile(abs(contrast), 0.25) / 0.32  # 0.32 sigma: a quarter of a Gaussian


def _towards_ink(away):
    """Return the direction of the ink, float32 (3,): few pixels of the grid, but far away."""
    direction = (away * (away**2).sum(axis=1, keepdims=True)).sum(axis=0)
    return direction / max(np.linalg.norm(direction), 1e-6)


def _wide(contrast):
    """Return a width in pixels, odd, that no pen has: two ninths of the picture."""
    return max(contrast.shape) * 2 // 9 | 1


def _light(contrast):
    """Return shadows and lights: what is wider than the pen, whose edges are the sharp ones."""
    thin = contrast - _opening(contrast, WORK // 8 | 1)
    pen = _slide(thin > 0.5 * np.quantile(thin, 0.98), 3, np.maximum)
    slopes = sum(slope**2 for slope in np.gradient(contrast))
    if slopes[pen].sum() > 0.8 * slopes.sum():
        return contrast - thin
    return _opening(contrast, _wide(contrast))


def _opening(values, size):
    """Take out what is bright and narrower than `size` pixels."""
    return _slide(_slide(values, size, np.minimum), size, np.maximum)


def _power(contrast, size):
    """Weigh what is bright and narrower than `size` pixels."""
    return ((contrast - _opening(contrast, size)) ** 3).sum()


def _is_lighter(contrast):
    """Tell whether the pen is lighter than its paper: strokes are thinner than the gaps in them."""
    sizes = (5, 9, 13, 17, _wide(contrast))
    powers = np.array([[_power(side, size) for size in sizes] for side in (contrast, -contrast)])
    total = powers[:, -1:]
    settled = (powers > 0.5 * total) & (total > 0.02 * total.max())
    dark, light = powers[:, settled.any(axis=0).argmax()]
    return light > 2 * dark


def _without_rules(contrast):
    """Subtract what a row, perhaps tilted, has in common from end to end: a ruled line."""
    height, width = contrast.shape
    ends = np.linspace(0, width, min(16, width) + 1).astype(int)
    pieces = np.add.reduceat(contrast, ends[:-1], axis=1) / np.diff(ends)
    rules = np.zeros_like(pieces)
    piece = np.arange(pieces.shape[1])
    for tilt in TILTS:
        row = np.arange(height)[:, None] + np.rint(tilt * (ends[:-1] - width / 2)).astype(int)
        row %= height
        rule = (pieces - rules)[row, piece].min(axis=1).clip(0)[:, None]
        if rule.any():
            rules[row, piece] += rule - _opening(rule, 5)  # thinner than pens that fill a picture
    return contrast - np.repeat(rules, np.diff(ends), axis=1)


# Connected parts -> digits


def _spread(labels):
    """Give every pixel of a run along a row the largest label of that run."""
    flat = np.pad(labels, ((0, 0), (1, 1))).ravel()
    edges = np.flatnonzero(np.diff(flat > 0, prepend=False))
    flat[edges[0] :] = np.repeat(
        np.maximum.reduceat(flat, edges), np.diff(np.append(edges, flat.size))
    )
    return flat.reshape(len(labels), -1)[:, 1:-1]


def _label_parts(mask):
    """Number the connected parts of a mask, across gaps of a pixel: int (h, w), 0 outside."""
    joined = _slide(mask.astype("uint8"), 3, np.maximum)
    labels = joined * np.arange(1, mask.size + 1).reshape(mask.shape)
    while True:
        spread = _spread(_spread(labels).T).T
        if (spread == labels).all():
            break
        labels = spread
    used = np.bincount(labels[mask], minlength=mask.size + 1) > 0
    return np.where(mask, used.cumsum()[labels], 0)


def _extent(lines):
    """Return the index of the first True along the last axis, and of the last one plus 1."""
    return lines.argmax(axis=-1), lines.shape[-1] - lines[..., ::-1].argmax(axis=-1)


def _parts(contrast, mask):
    """Return the strongest connected parts of a mask.

    Returns:
        masks bool (n, h, w), boxes int (n, 4), and strengths float (n,), strongest first: squared
        contrast, but little for what lies along the border: page edges, desk and fingers.
    """
    labels = _label_parts(mask)
    strengths = np.bincount(labels.ravel(), (contrast**2).ravel())
    strengths[0] = 0
    order = np.argsort(-strengths)[: min(labels.max(), MOST)]
    masks, strengths = labels == order[:, None, None], strengths[order]
    (left, right), (top, bottom) = _extent(masks.any(axis=1)), _extent(masks.any(axis=2))
    width, height = right - left, bottom - top
    along = masks.sum(axis=(1, 2)) - masks[:, 1:-1, 1:-1].sum(axis=(1, 2))
    border = (along > 0.5 * np.maximum(width, height)) | (width == mask.shape[1])
    border |= height == mask.shape[0]
    strengths = strengths * np.where(border, BORDER, 1)
    order = np.argsort(-strengths)
    boxes = np.stack([left, top, right, bottom], axis=1)
    return masks[order], boxes[order], strengths[order], border[order]


def _groups(boxes, strengths, border):
    """Gather parts, strongest first, into digits: lists of indices, the strongest digit first."""
    free, groups = list(range(len(boxes))), []
    while free:
        group, size = free[:1], 0
        joins = (strengths > 0.08 * strengths[free[0]]) & (border <= border[free[0]])
        while len(group) != size:
            size, box = len(group), _around(boxes[group])
            group = [i for i in free if i in group or (joins[i] and _belongs(boxes[i], box))]
        groups.append(group)
        free = [i for i in free if i not in group]
    return groups


def _around(boxes):
    return np.r_[boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]


def _belongs(part, digit):
    """Tell whether a part lies close to a digit, and not beside it like another one."""
    gap = np.maximum(part[:2] - digit[2:], digit[:2] - part[2:])
    heights = part[3] - part[1], digit[3] - digit[1]
    beside = gap[0] >= 0 and min(heights) > 0.6 * max(heights)
    return gap.max() < 0.15 * (digit[2:] - digit[:2]).max() and not beside


def _find_ink(picture, near=None):
    """Find the digits in a picture, or what belongs to the one digit in the box `near`.

    Returns:
        A list of `(ink float32 (h, w) in 0-1, box float (4,) in pixels of the picture)`.
    """
    small = picture.copy()
    small.thumbnail((WORK, WORK), Image.Resampling.BOX, reducing_gap=None)
    if min(small.size) < 3:
        raise NoDigitError(NO_DIGIT)
    scale = picture.width / small.width
    contrast, noise = _contrast(small)
    digits = []
    for part, box in _candidates(contrast, noise, None if near is None else near / scale):
        try:
            if near is None and scale > 2 and max(box[2:] - box[:2]) < SMALL:
                digits += _look_closer(picture, box * scale)
            else:
                digits.append((_grey(contrast, noise, part), box * scale))
        except NoDigitError:
            if not digits:  # what is weaker will not be one either
                raise
    if not digits:
        raise NoDigitError(NO_DIGIT)
    return digits


def _candidates(contrast, noise, near):
    """Return the strongest digit, and those about as tall and as strong: `(mask, box)` each."""
    floor = max(3 * noise, 6)
    ink = contrast[contrast > floor]
    if not ink.size:
        return []
    for share in INK_SHARES if noise > CANVAS else INK_SHARES[:1]:
        parts = _parts(contrast, contrast > max(floor, share * np.quantile(ink, 0.9)))
        if near is not None:
            meets = (parts[1] - near[[2, 3, 0, 1]]) * [1, 1, -1, -1] < 0
            parts = [values[meets.all(axis=1)] for values in parts]
        masks, boxes, strengths, border = parts
        groups = _groups(boxes, strengths, border)
        found = [(masks[group].any(axis=0), _around(boxes[group])) for group in groups]
        if not found:
            return []
        ink = contrast[found[0][0]]
    heights = np.array([box[3] - box[1] for _, box in found])
    totals = np.array([strengths[group].sum() for group in groups])
    alike = (abs(np.log2(heights / heights[0])) < 1) & (totals > 0.15 * totals[0])
    return [digit for digit, same in zip(found, alike) if same]


def _look_closer(picture, box):
    """Look for the digit in a box with twice its size around it."""
    margin = 0.5 * max(box[2:] - box[:2])
    frame = np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, [*picture.size, *picture.size])
    corner = np.tile(frame.astype(int)[:2], 2)
    close = _find_ink(picture.crop(tuple(frame.astype(int))), near=box - corner)
    return [(ink, found + corner) for ink, found in close]


def _grey(contrast, noise, part):
    """Turn the contrast of a part into ink, 0 on the paper and 1 where the pen pressed.

    Raises:
        NoDigitError: it is dirt, near the noise, or a shadow, which runs along the border.
    """
    level = np.median(contrast[part])
    height, width = (np.ptp(_extent(part.any(axis=axis))) for axis in (1, 0))
    along = part.sum() - part[1:-1, 1:-1].sum()
    shadow = noise > CANVAS and along > 0.2 * max(height, width)
    if shadow or level < max(6.5 * noise, 12):
        raise NoDigitError(NO_DIGIT)
    low = max(0.15 * level, 2 * noise)
    near = _slide(part.astype("uint8"), 3, np.maximum)
    return ((contrast - low) / (0.9 * level - low)).clip(0, 1) * near


# MNIST's form


def _crop(ink):
    (top, bottom), (left, right) = (_extent((ink > 0.2).any(axis=axis)) for axis in (1, 0))
    return ink[top:bottom, left:right]


def _fit(ink, size):
    """Scale so that the longest side is `size` pixels."""
    height, width = (max(1, round(n * size / max(ink.shape))) for n in ink.shape)
    method = Image.Resampling.BOX if size < max(ink.shape) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(ink).resize((width, height), method)).clip(0, 1)


def _set_pen_width(ink):
    """Thicken or thin strokes to the widths of MNIST's pens."""
    padded = np.pad(ink, 2)
    outline = np.hypot(np.diff(padded, axis=0)[:, 1:], np.diff(padded, axis=1)[1:]).sum()
    width = 2 * ink.sum() / outline * 20 / max(ink.shape)  # twice the area by the perimeter
    steps = round(2 * abs(np.clip(width, THINNEST, THICKEST) - width))
    if not steps:
        return ink
    large = np.pad(_fit(ink, 80), steps + 1)
    return _crop(_slide(large, 2 * steps + 1, np.maximum if width < THINNEST else np.minimum))


def normalise(ink):
    """Bring ink to MNIST's form: pen width, 20x20 box, centre of mass at (14, 14).

    Args:
        ink: float32 (h, w) in 0-1, 1 where the pen was.

    Returns:
        uint8 (28, 28).
    """
    ink = _fit(_set_pen_width(_crop(ink.astype("float32"))), 20)
    ink = ink / ink.max()
    middle = [(place * ink).sum() / ink.sum() for place in np.indices(ink.shape)]
    top, left = (min(max(round(14 - m), 0), 28 - n) for m, n in zip(middle, ink.shape))
    out = np.zeros((28, 28), "uint8")
    out[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink * 255)
    return out
