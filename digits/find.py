"""Find handwritten digits in any picture and bring them to MNIST's form. NumPy and Pillow only.

A photo, scan or drawing becomes 28x28 grey levels, ink bright on black, in these steps:

    upright picture -> contrast of the ink to its paper, without shadows and ruled lines
    -> connected parts -> digits -> pen width, size and place as in MNIST
"""

import functools

import numpy as np
from PIL import Image, ImageChops

from digits.files import upright

WORK = 128  # longest side on which digits are looked for
SMALL = 40  # a digit of fewer pixels there is looked at again, closer
GRID = 24  # side of the grid on which the paper's surface is fitted
MOST = 100  # parts that are looked at
TILTS = np.linspace(-0.12, 0.12, 13)  # of ruled lines, in rows per column
CANVAS = 0.3  # noise in grey levels: from it on it is paper, with shadows and dirt
INK_SHARES = 0.3, 0.4  # of the ink's level: what counts as ink at first, and next to the digit
BORDER = 0.003  # weight of what lies along the border: page edges, desk, fingers
THINNEST, THICKEST = 1.9, 3.8  # pen width in MNIST, in pixels of a 20x20 digit
PHOTO, FILLED = 0.2, 0.75  # share of a frame that its photo takes, and of it that is unlike it
UNLIKE = 8  # grey levels
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
    picture = upright(image)
    scale = max(image.size) / max(picture.size)
    picture, corner = _inside_frame(picture)
    found = [(normalise(ink), (box + corner) * scale) for ink, box in _find_ink(picture)]
    return [(pixels, tuple(map(round, box.tolist()))) for pixels, box in _read(found)]


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


# Frame, ink and paper


def _inside_frame(picture):
    """Cut off the frame of one colour that screenshots put around a photo.

    Returns:
        The picture, or what is in its frame, and the left top corner of that, twice: int (4,).
    """
    width, height = picture.size
    sides = (0, 0, width, 1), (0, height - 1, width, height)
    sides += (0, 0, 1, height), (width - 1, 0, width, height)
    rough = picture.resize((GRID, GRID), Image.Resampling.NEAREST)
    if _unlike_corner(rough).mean() < FILLED * PHOTO or all(
        _unlike_corner(picture.crop(side)).any() for side in sides
    ):
        return picture, np.zeros(4, int)
    unlike = _unlike_corner(picture)
    (top, bottom), (left, right) = (_extent(unlike.any(axis=axis)) for axis in (1, 0))
    inside = unlike[top:bottom, left:right]
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if inside.size < PHOTO * unlike.size or min(rim.mean(), inside.mean()) < FILLED:
        return picture, np.zeros(4, int)
    return picture.crop((left, top, right, bottom)), np.array([left, top, left, top])


def _unlike_corner(picture):
    """Mark what differs from the colour of the top left corner: bool (h, w)."""
    corner = Image.new(picture.mode, picture.size, picture.getpixel((0, 0)))
    return np.asarray(ImageChops.difference(picture, corner).convert("L")) > UNLIKE


def _quantile(values, share):
    """Return the value that this share of all values does not exceed: faster than np.quantile."""
    place = int(share * (values.size - 1))
    return np.partition(values, place, axis=None)[place]


def _slide_down(values, size, extreme):
    """Take the extreme (np.minimum, np.maximum) of `size` neighbours in a column; size is odd."""
    rows = np.arange(-(size // 2), len(values) + size // 2)
    values = values[rows.clip(0, len(values) - 1)]  # the rim is repeated outwards
    reach = 1
    while reach < size:
        step = min(reach, size - reach)
        values = extreme(values[step:], values[:-step])
        reach += step
    return values


def _slide(values, size, extreme):
    """Take the extreme of size x size neighbours."""
    return _slide_down(_slide_down(values, size, extreme).T, size, extreme).T


@functools.cache
def _paper_terms():
    """Return a quadratic surface's terms on the grid, (6, n), the cells with a vote, and votes."""
    y, x = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j].reshape(2, -1)
    border = np.flatnonzero(np.maximum(abs(x), abs(y)) > 0.93)
    votes = np.r_[np.arange(len(x)), np.tile(border, 10)]  # the border is rarely ink
    return np.stack([x**0, x, y, x * x, x * y, y * y]), votes, np.bincount(votes)


def _paper_colours(colours):
    """Fit a quadratic surface of colour through the pixels that agree on it: light falls unevenly.

    Args:
        colours: float32 (channels, GRID * GRID).

    Returns:
        float of the same shape, or (channels, 1) where the paper is of one colour.
    """
    terms, votes, counts = _paper_terms()
    surface = np.array([[_quantile(channel[votes], 0.5)] for channel in colours])
    for _ in range(4):
        squares = ((colours - surface) ** 2).mean(axis=0)
        typical = _quantile(squares[votes], 0.5)
        if typical == 0:
            break
        weighted = terms * counts / (1 + squares / max(2.25 * typical, 5.3)) ** 2
        normal = weighted @ terms.T + 1e-3 * np.eye(6)
        surface = np.linalg.solve(normal, weighted @ colours.T).T @ terms
    return surface


def _contrast(picture):
    """Measure how far each pixel lies from the paper, towards the ink's colour.

    Args:
        picture: grey or RGB image.

    Returns:
        float32 (h, w) in grey levels, ink positive, and the paper's noise (sigma).
    """
    grid = _channels(picture.resize((GRID, GRID), Image.Resampling.BOX))
    surface = _paper_colours(grid)
    away = grid - surface
    towards_ink = _towards_ink(away)
    paper = (towards_ink @ surface).astype("float32")
    if paper.size > 1:
        paper = Image.fromarray(paper.reshape(GRID, GRID))
        paper = np.asarray(paper.resize(picture.size, Image.Resampling.BICUBIC))
    shares = zip(towards_ink.astype("float32"), _channels(picture))
    contrast = sum(share * channel for share, channel in shares)  # less than a call of BLAS costs
    contrast = contrast.reshape(picture.height, picture.width) - paper
    noise = _noise(towards_ink @ away)
    if noise < CANVAS:
        return contrast, noise
    if _is_lighter(contrast):
        contrast = -contrast
    contrast = contrast - _light(contrast)
    contrast = _without_rules(_without_rules(contrast).T).T
    contrast -= _quantile(contrast, 0.35)
    return contrast, max(_noise(contrast), CANVAS)


def _channels(picture):
    """Return the colours of a picture's pixels: float32 (channels, h * w)."""
    return np.asarray(picture, "float32").reshape(picture.width * picture.height, -1).T


def _noise(contrast):
    """Return sigma of the paper's contrast: 0.32 sigma are not exceeded by a quarter of it."""
    return _quantile(abs(contrast), 0.25) / 0.32


def _towards_ink(away):
    """Return the direction of the ink, float64 (channels,): few pixels of the grid, but far away.

    Its length is 1 in red, green and blue, and as grey in all three would give if grey is alone.
    """
    direction = away @ (away**2).sum(axis=0)
    return direction * (3 / len(away)) ** 0.5 / max((direction @ direction) ** 0.5, 1e-6)


def _wide(contrast):
    """Return a width in pixels, odd, that no pen has: two ninths of the picture."""
    return max(contrast.shape) * 2 // 9 | 1


def _light(contrast):
    """Return shadows and lights: what is wider than the pen, whose edges are the sharp ones."""
    thin = contrast - _opening(contrast, WORK // 8 | 1)
    pen = _grown(thin > 0.5 * _quantile(thin, 0.98))[2:-2, 2:-2]
    slopes = sum(slope**2 for slope in np.gradient(contrast))
    if slopes[pen].sum() > 0.8 * slopes.sum():
        return contrast - thin
    return _opening(contrast, _wide(contrast))


def _opening(values, size):
    """Take out what is bright and narrower than `size` pixels."""
    return _slide(_slide(values, size, np.minimum), size, np.maximum)


def _power(contrast, size):
    """Weigh what is bright and narrower than `size` pixels."""
    thin = contrast - _opening(contrast, size)
    return np.vdot(thin * thin, thin)


def _is_lighter(contrast):
    """Tell whether the pen is lighter than its paper: strokes are thinner than the gaps in them."""
    wide = _wide(contrast)
    total = np.array([_power(contrast, wide), _power(-contrast, wide)])
    for size in (5, 9, 13, 17, wide):
        powers = np.array([_power(contrast, size), _power(-contrast, size)])
        if ((powers > 0.5 * total) & (total > 0.02 * total.max())).any():
            break
    return powers[1] > 2 * powers[0]


def _without_rules(contrast):
    """Subtract what a row, perhaps tilted, has in common from end to end: a ruled line."""
    height, width = contrast.shape
    ends = np.linspace(0, width, min(16, width) + 1).astype(int)
    pieces = (np.add.reduceat(contrast, ends[:-1], axis=1) / np.diff(ends)).T.astype("float32")
    piece, tilt, row = np.ogrid[: len(pieces), : len(TILTS), :height]
    rise = np.rint(TILTS[:, None] * (ends[:-1] - width / 2)[:, None, None]).astype(int)
    rise = rise.clip(-(height // 2), (height - 1) // 2)
    lowest = rise.max()  # a row above the first one is counted from the last one
    rules = pieces[piece, row + rise - lowest].min(axis=0).clip(0).T
    rules -= _slide_down(_slide_down(rules, 5, np.minimum), 5, np.maximum)  # thinner than pens
    ruled = rules[row - rise + lowest - height, tilt].max(axis=1)
    return contrast - np.repeat(ruled.T, np.diff(ends), axis=1)


# Connected parts -> digits


def _grown(mask):
    """Grow a mask by a pixel on every side: bool (h, w) becomes (h + 4, w + 4), with a margin."""
    grown = _margin(mask, 2)
    for step in (1, grown.shape[1]):  # to the left and right, up and down
        near = grown.ravel().copy()
        near[step:] |= grown.ravel()[:-step]
        near[:-step] |= grown.ravel()[step:]
        grown = near.reshape(grown.shape)
    return grown


def _label_parts(mask):
    """Number the connected parts of a mask, across gaps of two pixels.

    Runs of pixels along a row are tied to the runs that they touch in the row above.

    Returns:
        labels int (h, w), 0 outside, and the box of each part, int (n, 4).
    """
    grown = _grown(mask)
    width, flat = grown.shape[1], grown.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    first, last = ends.searchsorted(starts - width, "right"), starts.searchsorted(ends - width)
    root = np.array(_tie(first.tolist(), last.tolist()))
    number = (root == np.arange(len(root))).cumsum()[root]
    labels = np.zeros(flat.size, "int32")
    labels[flat] = number.repeat(ends - starts)
    top, left = np.divmod(starts, width)
    sides = left - 1, top - 1, starts - left - ends + 3, 2 - top  # of the run before it was grown
    boxes = np.full((4, number.max() + 1), flat.size)
    for box_side, side in zip(boxes, sides):
        np.minimum.at(box_side, number, side)
    return labels.reshape(grown.shape)[2:-2, 2:-2] * mask, abs(boxes.T[1:])


def _tie(first, last):
    """Return for each run the first one that it is tied to, directly or through others.

    Args:
        first, last: lists; run i touches the runs range(first[i], last[i]) in the row above.
    """
    roots = list(range(len(first)))
    for run, touched in enumerate(map(range, first, last)):
        for above in touched:
            while above != roots[above]:
                above = roots[above]
            if above < roots[run]:
                roots[roots[run]] = roots[run] = above
            else:
                roots[above] = roots[run]
    for run, root in enumerate(roots):
        roots[run] = roots[root]
    return roots


def _extent(lines):
    """Return the index of the first True along the last axis, and of the last one plus 1."""
    return lines.argmax(axis=-1), lines.shape[-1] - lines[..., ::-1].argmax(axis=-1)


def _parts(contrast, mask):
    """Return the strongest connected parts of a mask.

    Returns:
        labels int (h, w); and for each part, strongest first: its label, box int (n, 4), strength
        float (n,), squared contrast, but little for what lies along the border, as page edges,
        desk and fingers do, and whether it does, bool (n,).
    """
    labels, boxes = _label_parts(mask)
    strengths = np.bincount(labels[mask], contrast[mask] ** 2)[1:]
    rim = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    along = np.bincount(rim, minlength=len(boxes) + 1)[1:]
    sizes = boxes[:, 2:] - boxes[:, :2]
    border = (along > 0.5 * sizes.max(axis=1)) | (sizes == mask.shape[::-1]).any(axis=1)
    strengths[border] *= BORDER
    strongest = np.argsort(-strengths)[:MOST]
    return labels, strongest + 1, boxes[strongest], strengths[strongest], border[strongest]


def _groups(boxes, strengths, border):
    """Gather parts, strongest first, into digits.

    Returns:
        A list of `(indices of parts, box around them)`, the strongest digit first.
    """
    free, groups = [i for i, strength in enumerate(strengths) if strength > 0.01 * strengths[0]], []
    while free:
        group, size, strongest = free[:1], 0, free[0]
        joins = (strengths > 0.08 * strengths[strongest]) & (border <= border[strongest])
        others = [i for i in free[1:] if joins[i]]
        while len(group) != size:
            size, box = len(group), _around(boxes[group])
            group += [i for i in others if i not in group and _belongs(boxes[i], box)]
        groups.append((group, box))
        free = [i for i in free if i not in group]
    return groups


def _around(boxes):
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _belongs(part, digit):
    """Tell whether a part lies close to a digit, and not beside it like another one."""
    gap = np.maximum(part[:2] - digit[2:], digit[:2] - part[2:])
    heights = part[3] - part[1], digit[3] - digit[1]
    beside = gap[0] >= 0 and min(heights) > 0.6 * max(heights)
    return gap.max() < 0.15 * (digit[2:] - digit[:2]).max() and not beside


def _find_ink(picture, near=None):
    """Find the digits in a picture, or what belongs to the one digit in the box `near`.

    Returns:
        A list of `(ink float32 (h, w) in 0-1, box float (4,) in pixels of the picture)`; this box
        and `near` are (left, top, right, bottom).
    """
    scale = max(1, max(picture.size) / WORK)
    size = [round(side / scale) for side in picture.size]
    if min(size) < 3:
        raise NoDigitError(NO_DIGIT)
    small = picture.resize(size, Image.Resampling.BOX, reducing_gap=1.5)
    contrast, noise = _contrast(small)
    digits = []
    for part, box in _candidates(contrast, noise, None if near is None else near / scale):
        try:
            if near is None and scale > 1 and max(box[2:] - box[:2]) < SMALL:
                digits += _look_closer(picture, box * scale)
            else:
                digits.append((_grey(contrast, noise, part, box), box * scale))
        except NoDigitError:
            if not digits:  # what is weaker will not be one either
                raise
    return digits


def _candidates(contrast, noise, near):
    """Look for digits as `_digits` does; on paper once more, at a level next to the strongest."""
    floor = max(3 * noise, 6)
    ink = contrast > floor
    if not ink.any():
        raise NoDigitError(NO_DIGIT)
    for share in INK_SHARES if noise >= CANVAS else INK_SHARES[:1]:
        level = share * _quantile(contrast[ink], 0.9)
        digits = _digits(contrast, contrast > max(floor, level), near)
        ink = digits[0][0]
    return digits


def _digits(contrast, mask, near):
    """Return the strongest digit, and those about as tall and as strong: `(mask, box)` each."""
    labels, *parts = _parts(contrast, mask)
    if near is not None:
        meets = (parts[1] - near[[2, 3, 0, 1]]) * [1, 1, -1, -1] < 0
        parts = [values[meets.all(axis=1)] for values in parts]
    numbers, boxes, strengths, border = parts
    if not numbers.size:
        raise NoDigitError(NO_DIGIT)
    digits, first = [], None
    for group, box in _groups(boxes, strengths, border):
        size = np.array([box[3] - box[1], strengths[group].sum()])
        first = size if first is None else first
        height, strength = size / first
        if 0.5 < height < 2 and strength > 0.15:
            mask = np.logical_or.reduce([labels == number for number in numbers[group]])
            digits.append((mask, box))
    return digits


def _look_closer(picture, box):
    """Look for the digit in a box with twice its size around it."""
    margin = 0.5 * max(box[2:] - box[:2])
    frame = np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, [*picture.size, *picture.size])
    corner = np.tile(frame.astype(int)[:2], 2)
    close = _find_ink(picture.crop(tuple(frame.astype(int))), near=box - corner)
    return [(ink, found + corner) for ink, found in close]


def _grey(contrast, noise, part, box):
    """Turn the contrast in the box of a part into ink, 0 on the paper and 1 where the pen pressed.

    Raises:
        NoDigitError: it is dirt, near the noise, or a shadow, which runs along the border.
    """
    level = _quantile(contrast[part], 0.5)
    left, top, right, bottom = box
    along = np.count_nonzero(part) - np.count_nonzero(part[1:-1, 1:-1])
    shadow = noise >= CANVAS and along > 0.2 * max(right - left, bottom - top)
    if shadow or level < max(5.5 * noise, 12):
        raise NoDigitError(NO_DIGIT)
    low = max(0.15 * level, 2 * noise)
    around = slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1)
    near = _grown(part)[2:-2, 2:-2]
    return ((contrast[around] - low) / (0.9 * level - low)).clip(0, 1) * near[around]


# MNIST's form


def _crop(ink):
    (top, bottom), (left, right) = (_extent((ink > 0.2).any(axis=axis)) for axis in (1, 0))
    return ink[top:bottom, left:right]


def _fit(ink, size):
    """Scale so that the longest side is `size` pixels."""
    height, width = (max(1, round(n * size / max(ink.shape))) for n in ink.shape)
    method = Image.Resampling.BOX if size < max(ink.shape) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(ink).resize((width, height), method)).clip(0, 1)


def _margin(ink, size):
    """Put zeros around ink."""
    out = np.zeros(np.add(ink.shape, 2 * size), ink.dtype)
    out[size:-size, size:-size] = ink
    return out


def _set_pen_width(ink):
    """Thicken or thin strokes to the widths of MNIST's pens."""
    padded = _margin(ink, 2)
    across, down = padded[1:, 1:] - padded[1:, :-1], padded[1:, 1:] - padded[:-1, 1:]
    outline = np.sqrt(across * across + down * down).sum()
    width = 2 * ink.sum() / outline * 20 / max(ink.shape)  # twice the area by the perimeter
    steps = round(2 * max(THINNEST - width, width - THICKEST, 0))
    if not steps:
        return ink
    large = _margin(_fit(ink, 80), steps + 1)
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
    middle = [np.arange(ink.shape[k]) @ ink.sum(axis=1 - k) / ink.sum() for k in (0, 1)]
    top, left = (min(max(round(14 - m), 0), 28 - n) for m, n in zip(middle, ink.shape))
    out = np.zeros((28, 28), "uint8")
    out[top : top + ink.shape[0], left : left + ink.shape[1]] = np.rint(ink * 255)
    return out
