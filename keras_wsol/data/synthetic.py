"""Painted creatures, with boxes."""

import math
from collections import namedtuple
from functools import cache, partial
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice, check_integer
from keras_wsol.data.dataset import ImageDataset
from keras_wsol.data.images import check_image_size

Array, Random = np.ndarray, np.random.Generator

# A stroke is a line with round ends, as a row of seven numbers: x, y and radius of its
# start, the same of its end, and by how much its middle is thicker than the taper.


def chain(start: Array, headings: Array, length: float, radii: Array) -> Array:
    """Strokes (K, 7) joined end to end, each `length` long, in given directions."""
    steps = length * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    nodes = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
    joints = np.column_stack([nodes, radii])
    return np.column_stack([joints[:-1], joints[1:], np.zeros(len(steps))])


def moved(
    strokes: Any, scale: float = 1, angle: float = 0, shift: Any = 0, side: int = 1
) -> Array:
    """Strokes turned, mirrored if `side` is -1, scaled and shifted, in this order."""
    result = scale * np.asarray(strokes)
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[side * c, s], [side * -s, c]])
    for ends in (slice(0, 2), slice(3, 5)):
        result[:, ends] = result[:, ends] @ turn + shift
    return result


def paint(
    canvas: Array,
    strokes: Array,
    colour: Array,
    covered: Array | None = None,
    bands: tuple[Array, float, float] | None = None,
) -> None:
    """Paints joined strokes, in pixels, on a canvas, and notes what they cover."""
    window, x, y = _window(strokes, *canvas.shape[:2])
    x0, y0, r0, x1, y1, r1, bulge = strokes.astype(np.float32).T[:, :, None, None]
    # A part thinner than a pixel would come and go with its position.
    r0, r1 = np.maximum(r0, 0.6), np.maximum(r1, 0.6)
    dx, dy = x1 - x0, y1 - y0
    length = np.maximum(np.sqrt(dx * dx + dy * dy), 1e-3)
    dx, dy = dx / length, dy / length
    along = np.clip((x - x0) * dx + (y - y0) * dy, 0, length)
    share = along / length
    radius = r0 + share * (r1 - r0 + 4 * bulge * (1 - share))
    off_x, off_y = x - x0 - along * dx, y - y0 - along * dy
    depth = radius - np.sqrt(off_x * off_x + off_y * off_y)
    arc = along + np.cumsum(length, axis=0) - length
    if len(strokes) > 1:
        nearest = depth.argmax(axis=0)[None]
        parts = (depth, radius, arc)
        depth, radius, arc = (np.take_along_axis(v, nearest, axis=0) for v in parts)
    depth, radius, arc = depth[0, ..., None], radius[0, ..., None], arc[0, ..., None]

    if bands is not None:
        band_colour, period, phase = bands
        wave = np.cos(2 * math.pi * (arc / period + phase))
        colour = colour + np.clip(3 * wave + 0.5, 0, 1) * (band_colour - colour)
    light = 0.7 + 0.4 * np.clip(depth / radius, 0, 1)
    coverage = np.clip(depth + 0.5, 0, 1)
    canvas[window] += coverage * (colour * light - canvas[window])
    if covered is not None:
        covered[window] |= depth[..., 0] >= 0


def _window(
    strokes: Array, height: int, width: int
) -> tuple[tuple[slice, slice], Array, Array]:
    """The pixels that strokes may touch, and the centres of columns and rows."""
    radius = np.maximum(strokes[:, 2], strokes[:, 5]) + strokes[:, 6] + 1.6
    starts, ends = strokes[:, :2], strokes[:, 3:5]
    x0, y0 = (np.minimum(starts, ends) - radius[:, None]).min(axis=0).tolist()
    x1, y1 = (np.maximum(starts, ends) + radius[:, None]).max(axis=0).tolist()
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    right, bottom = min(math.ceil(x1), width), min(math.ceil(y1), height)
    x = np.arange(left, right, dtype=np.float32) + 0.5
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
    return (slice(top, bottom), slice(left, right)), x, y


def uniform_colours(rng: Random, low: Any, high: Any, count: int) -> Array:
    """RGB colours (count, 3) between two colours given as hue, saturation, value."""
    hue, saturation, value = rng.uniform(low, high, (count, 3)).T[:, :, None]
    sextant = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    grey = np.clip(np.minimum(sextant, 4 - sextant), 0, 1)
    return (value - value * saturation * grey).astype(np.float32)


def body_colours(rng: Random, count: int) -> Array:
    """RGB colours (count, 3) of bodies, which withered leaves have too."""
    return uniform_colours(rng, (0.06, 0.35, 0.6), (0.11, 0.6, 0.85), count)


@cache
def _interpolation(cells: int, size: int) -> Array:
    """Weights (size, cells + 1) that spread a row of knots smoothly over pixels."""
    place = (np.arange(size) + 0.5) / size * cells
    left = place.astype(int)
    weight = place - left
    weight = weight * weight * (3 - 2 * weight)
    weights = np.zeros((size, cells + 1), np.float32)
    weights[np.arange(size), left] = 1 - weight
    weights[np.arange(size), left + 1] = weight
    return weights


def _noise(rng: Random, cells: int, height: int, width: int) -> Array:
    knots = rng.random((cells + 1, cells + 1), np.float32)
    rows, columns = _interpolation(cells, height), _interpolation(cells, width)
    return (rows @ knots @ columns.T)[..., None]


def ground(rng: Random, height: int, width: int) -> Array:
    """A mottled floor (H, W, 3) of two colours."""
    low, high = uniform_colours(rng, (0.2, 0.08, 0.25), (0.5, 0.35, 0.7), 2)
    blend = 0.6 * _noise(rng, 3, height, width) + 0.4 * _noise(rng, 9, height, width)
    light = 0.8 + 0.4 * _noise(rng, 23, height, width)
    return (low + blend * (high - low)) * light


def scatter_clutter(rng: Random, canvas: Array, berries: Array) -> None:
    """Paints leaves, twigs, pebbles and berries over the floor, in place."""
    height, width = canvas.shape[:2]
    side = min(height, width)
    count = int(rng.integers(14, 26))
    kind = rng.choice(4, count, p=(0.5, 0.2, 0.25, 0.05))
    leaf, berry = kind == 0, kind == 3
    # Length and half the thickness by kind, as shares of the side.
    low = np.array([(0.1, 0.015), (0.2, 0.008), (0.01, 0.02), (0.0, 0.015)])[kind]
    high = np.array([(0.3, 0.05), (0.6, 0.015), (0.06, 0.07), (0.001, 0.035)])[kind]
    length, thickness = rng.uniform(low, high).T * side
    angle = rng.uniform(0, 2 * math.pi, count)

    strokes = np.zeros((count, 7), np.float32)
    strokes[:, :2] = rng.uniform((0, 0), (width, height), (count, 2))
    strokes[:, 3] = strokes[:, 0] + length * np.cos(angle)
    strokes[:, 4] = strokes[:, 1] + length * np.sin(angle)
    strokes[:, 2] = strokes[:, 5] = np.where(leaf, 0, thickness)
    strokes[:, 6] = np.where(leaf, thickness, 0)

    # Some clutter has the colour of the bodies, and berries that of the heads:
    # neither colour alone tells a creature.
    colours = uniform_colours(rng, (0.15, 0.1, 0.25), (0.5, 0.5, 0.75), count)
    withered = rng.random(count) < 0.3
    colours[withered] = body_colours(rng, count)[withered]
    colours[berry] = berries[rng.integers(len(berries), size=count)][berry]
    for i in range(count):
        paint(canvas, strokes[i : i + 1], colours[i])


# The class shows in the head, and the box is of the whole body. A method that hides the
# head has something to gain: bands on torso and tail carry the class too, but paler.

_CREATURE_SPLITS = ("train-weaksup", "train-fullsup", "test")

# How often the bands have the tint of the creature's class (else that of any class),
# and how strong the tint is.
_BAND_RELIABILITY = 0.75
_BAND_TINT = 0.6

_RED, _BLUE, _YELLOW = (0.86, 0.10, 0.10), (0.13, 0.27, 0.93), (0.99, 0.86, 0.08)
_PINK, _WHITE, _BLACK = (0.95, 0.25, 0.78), (0.97, 0.97, 0.97), (0.06, 0.05, 0.08)
_CYAN, _ORANGE, _VIOLET = (0.10, 0.85, 0.88), (0.99, 0.50, 0.05), (0.45, 0.12, 0.75)

# Parts of a head as strokes, in head radii: x forward, y down. No ear reaches further
# than _HEAD_REACH: place and size of a creature do not depend on its class.
_HEAD_REACH = 2.1
_SKULL = ((0.0, 0.0, 1.0, 0.55, 0.1, 0.72, 0.0),)
_MUZZLE = ((0.75, 0.15, 0.55, 0.95, 0.2, 0.5, 0.0),)
_EYE = ((0.15, -0.25, 0.3, 0.15, -0.25, 0.3, 0.0),)
_PUPIL = ((0.22, -0.25, 0.17, 0.22, -0.25, 0.17, 0.0),)
_POINTED = (
    (-0.6, -0.5, 0.45, -1, -1.75, 0.05, 0),
    (0.2, -0.6, 0.45, 0.4, -1.9, 0.05, 0),
)
_ROUND = ((-0.7, -0.9, 0.45, -0.7, -0.9, 0.45, 0), (0.35, -1, 0.45, 0.35, -1, 0.45, 0))
_LONG = (
    (-0.4, -0.7, 0.2, -1.2, -1.4, 0.2, 0.12),
    (-0.1, -0.8, 0.2, -0.5, -1.8, 0.2, 0.12),
)
_HORN = ((0.5, -0.6, 0.35, 1.1, -1.7, 0.06, 0),)
_CREST = ((-0.9, -0.3, 0.3, 0.5, -1, 0.2, 0.55),)
_ANTENNA = ((0.2, -0.7, 0.13, 0.6, -1.5, 0.13, 0), (0.6, -1.5, 0.4, 0.6, -1.5, 0.4, 0))

# What tells a class: two colours of the head, and what grows on it.
_Look = namedtuple("_Look", "name head muzzle ears")
_LOOKS = (
    _Look("emberling", _RED, _YELLOW, _POINTED),
    _Look("skywhisk", _BLUE, _WHITE, _ROUND),
    _Look("sunnel", _YELLOW, _BLACK, _CREST),
    _Look("plumkin", _PINK, _WHITE, _LONG),
    _Look("frostnip", _WHITE, _BLUE, _HORN),
    _Look("sootle", _BLACK, _RED, _ANTENNA),
    _Look("tidefin", _CYAN, _BLACK, _CREST),
    _Look("marmalope", _ORANGE, _WHITE, _LONG),
    _Look("violark", _VIOLET, _YELLOW, _POINTED),
    _Look("rosquil", _RED, _WHITE, _HORN),
    _Look("nightbell", _BLACK, _CYAN, _ROUND),
    _Look("glimmet", _WHITE, _PINK, _ANTENNA),
)
CREATURES: tuple[str, ...] = tuple(look.name for look in _LOOKS)


def paint_creatures(
    num_images: int, num_classes: int, size: tuple[int, int], seed: int, split: str
) -> tuple[Array, Array, Array]:
    """Paints creatures: images, class ids, and where they are, boolean (N, H, W)."""
    heads = np.array([look.head for look in _LOOKS], np.float32)
    images = np.empty((num_images, *size, 3), np.uint8)
    covered = np.zeros((num_images, *size), bool)
    class_ids = _shuffled_class_ids(num_images, num_classes, seed, split)
    for i, class_id in enumerate(class_ids):
        rng = _generator(seed, split, i)
        canvas = ground(rng, *size)
        scatter_clutter(rng, canvas, heads)
        # The draws are the same for every class, and so is the scene.
        reliable, other = rng.random(2)
        band_id = class_id if reliable < _BAND_RELIABILITY else int(other * num_classes)
        _paint_creature(rng, canvas, covered[i], _LOOKS[class_id], _LOOKS[band_id].head)
        canvas += 0.02 * rng.standard_normal((*size, 1), np.float32)
        images[i] = np.clip(canvas * 255 + 0.5, 0, 255)
    return images, class_ids, covered


def _generator(seed: int, split: str, *key: int) -> Random:
    spawn_key = (_CREATURE_SPLITS.index(split), *key)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def _shuffled_class_ids(count: int, num_classes: int, seed: int, split: str) -> Array:
    # One shuffled run of all classes after the other keeps every prefix balanced.
    runs = range(math.ceil(count / num_classes))
    random = (_generator(seed, split, run, num_classes) for run in runs)
    ids = [one.permutation(num_classes) for one in random]
    return np.concatenate(ids)[:count].astype(np.int32)


def _paint_creature(
    rng: Random, canvas: Array, covered: Array, look: _Look, band_colour: Any
) -> None:
    """Paints a creature on a canvas (H, W, 3), and notes what it covers."""
    spine, far_legs, near_legs = _random_body(rng)
    radius, angle = 0.31 * rng.uniform(0.95, 1.1), rng.uniform(-0.5, 0.4)
    tilt = rng.normal(0, 0.35)
    head = partial(moved, scale=radius, angle=angle, shift=spine[-1, 3:5])

    # The room that it takes once tilted, with a disc for any head.
    disc = (*spine[-1, 3:5], _HEAD_REACH * radius)
    whole = np.concatenate([spine, far_legs, near_legs, [(*disc, *disc, 0)]])
    whole = moved(whole, angle=tilt)
    discs = np.concatenate([whole[:, :3], whole[:, 3:6]])
    low = (discs[:, :2] - discs[:, 2:]).min(axis=0)
    high = (discs[:, :2] + discs[:, 2:]).max(axis=0)
    height, width = covered.shape
    scale = rng.uniform(0.45, 0.78) * min(height, width) / (high - low).max()
    side = -1 if rng.random() < 0.5 else 1
    if side < 0:
        low[0], high[0] = -high[0], -low[0]
    free = np.array([width, height]) - scale * (high - low)
    shift = rng.beta(0.6, 0.6, 2) * free - scale * low
    place = partial(moved, scale=scale, angle=tilt, shift=shift, side=side)

    colour = body_colours(rng, 1)[0]
    dark = 0.45 * colour
    tint = dark + _BAND_TINT * (np.array(band_colour, np.float32) - dark)
    bands = (tint, scale * rng.uniform(0.24, 0.34), rng.random())
    paint(canvas, place(far_legs), 0.6 * colour, covered)
    paint(canvas, place(spine), colour, covered, bands)
    paint(canvas, place(near_legs), colour, covered)
    head_colour = np.array(look.head, np.float32)
    paint(canvas, place(head(look.ears)), 0.9 * head_colour, covered)
    paint(canvas, place(head(_SKULL)), head_colour, covered)
    paint(canvas, place(head(_MUZZLE)), np.array(look.muzzle, np.float32), covered)
    paint(canvas, place(head(_EYE)), np.ones(3, np.float32), covered)
    paint(canvas, place(head(_PUPIL)), np.zeros(3, np.float32), covered)


def _random_body(rng: Random) -> tuple[Array, Array, Array]:
    """Strokes of the spine, tail tip to head, of the far legs and of the near ones."""
    bend, curl = rng.uniform(-0.18, 0.18), rng.uniform(-0.2, 0.6)
    torso = chain(
        np.zeros(2),
        bend * np.arange(-1, 2),
        0.26 * rng.uniform(0.85, 1.2),
        rng.uniform(0.9, 1.1) * np.array([0.2, 0.24, 0.24, 0.2]),
    )
    hips, shoulders = torso[0, :2], torso[-1, 3:5]
    tail = chain(
        hips,
        math.pi + rng.uniform(0.2, 1.0) + curl * np.arange(5),
        0.18 * rng.uniform(0.8, 1.25),
        np.linspace(0.13, 0.08, 6),
    )
    tip_first = tail[::-1][:, [3, 4, 5, 0, 1, 2, 6]]
    neck = chain(shoulders, rng.uniform(-1.4, -0.6, 1), 0.36, np.array([0.17, 0.12]))
    legs = [
        chain(
            joint,
            math.pi / 2 + rng.normal(0, 0.4) + np.array([0, rng.uniform(-0.5, 0.5)]),
            0.32,
            np.array([0.1, 0.075, 0.065]),
        )
        for joint in (hips, shoulders, hips, shoulders)
    ]
    spine = np.concatenate([tip_first, torso, neck])
    return spine, np.concatenate(legs[:2]), np.concatenate(legs[2:])


def synthetic(
    split: str = "train-weaksup",
    *,
    num_images: int = 600,
    num_classes: int = 6,
    image_size: int | tuple[int, int] = 128,
    seed: int = 0,
) -> ImageDataset:
    """Paints creatures on clutter; nothing is downloaded.

    The class is told by the head, which is what a plain class activation map finds; the
    box is tight around the whole body. Image `i` is a function of `seed`, `split`, `i`.

    Args:
        split: `"train-weaksup"` (default), `"train-fullsup"` or `"test"`.
        num_images: Integer. Default 600.
        num_classes: Integer in [2, 12]. Default 6.
        image_size: Integer >= 32, or height and width. Default 128.
        seed: Integer >= 0. Default 0.

    Example:
    >>> synthetic("test", num_images=12, num_classes=3)
    ImageDataset('synthetic', split='test', images=12, classes=3, boxes=True)
    """
    check_choice("split", split, _CREATURE_SPLITS)
    num_images = check_integer("num_images", num_images)
    num_classes = check_integer("num_classes", num_classes, 2, len(CREATURES))
    seed = check_integer("seed", seed, 0)
    sides = image_size if np.ndim(image_size) else (image_size, image_size)
    size = check_image_size(sides, 32)  # below, a head is less than four pixels
    images, class_ids, covered = paint_creatures(
        num_images, num_classes, size, seed, split
    )
    return ImageDataset(
        name="synthetic",
        split=split,
        class_names=CREATURES[:num_classes],
        class_ids=class_ids,
        paths=np.array([f"{split}/{index:06d}" for index in range(num_images)]),
        images=images,
        boxes=bounds(covered)[:, None],
        sizes=np.full((num_images, 2), size, "int32"),
    )


def bounds(masks: np.ndarray) -> np.ndarray:
    """Boxes float32 `(N, 4)` of all set cells `(N, H, W)`; of none, the whole mask."""
    sides = (masks.any(axis=1), masks.any(axis=2))  # columns give x, rows give y
    near = [side.argmax(axis=1) for side in sides]
    far = [side.shape[1] - side[:, ::-1].argmax(axis=1) for side in sides]
    return np.stack([*near, *far], axis=1).astype("float32")
