"""Drawn creatures on clutter: pictures with classes and boxes, with no download.

The class of a creature shows in its head, a small part of it; its box encloses the
whole body. So a plain classifier finds the head, and a method that hides the most
telling part has something to gain: the bands on torso and tail carry the class too,
but paler, and in three images of four only.

Everything is made of the strokes of `keras_wsol.data.strokes`.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_wsol.data.clutter import body_colours, ground, scatter_clutter
from keras_wsol.data.strokes import chain, moved, paint

__all__ = ["CLASS_NAMES", "NUM_CLASSES_MAX", "draw_creatures"]

_SPLITS = ("train", "val", "test")
_MIN_SIDE = 32  # below, a head is less than four pixels

# How often the bands have the tint of the creature's class (else that of any class),
# and how strong the tint is: weaker evidence than the head, but evidence enough that
# a network whose heads are erased (ADL) turns to the body.
_BAND_RELIABILITY = 0.75
_BAND_TINT = 0.6

_RED, _BLUE, _YELLOW = (0.86, 0.10, 0.10), (0.13, 0.27, 0.93), (0.99, 0.86, 0.08)
_PINK, _WHITE, _BLACK = (0.95, 0.25, 0.78), (0.97, 0.97, 0.97), (0.06, 0.05, 0.08)
_CYAN, _ORANGE, _VIOLET = (0.10, 0.85, 0.88), (0.99, 0.50, 0.05), (0.45, 0.12, 0.75)

# Parts of a head as strokes, in head radii: x forward, y down. None of the ears
# reaches further than _HEAD_REACH, so that where and how large a creature is drawn
# does not depend on its class.
_HEAD_REACH = 2.1
_SKULL = ((0.0, 0.0, 1.0, 0.55, 0.1, 0.72, 0.0),)
_MUZZLE = ((0.75, 0.15, 0.55, 0.95, 0.2, 0.5, 0.0),)
_EYE = ((0.15, -0.25, 0.3, 0.15, -0.25, 0.3, 0.0),)
_PUPIL = ((0.22, -0.25, 0.17, 0.22, -0.25, 0.17, 0.0),)
_POINTED = (
    (-0.6, -0.5, 0.45, -1.0, -1.75, 0.05, 0.0),
    (0.2, -0.6, 0.45, 0.4, -1.9, 0.05, 0.0),
)
_ROUND = (
    (-0.7, -0.9, 0.45, -0.7, -0.9, 0.45, 0.0),
    (0.35, -1.0, 0.45, 0.35, -1.0, 0.45, 0.0),
)
_LONG = (
    (-0.4, -0.7, 0.2, -1.2, -1.4, 0.2, 0.12),
    (-0.1, -0.8, 0.2, -0.5, -1.8, 0.2, 0.12),
)
_HORN = ((0.5, -0.6, 0.35, 1.1, -1.7, 0.06, 0.0),)
_CREST = ((-0.9, -0.3, 0.3, 0.5, -1.0, 0.2, 0.55),)
_ANTENNA = (
    (0.2, -0.7, 0.13, 0.6, -1.5, 0.13, 0.0),
    (0.6, -1.5, 0.4, 0.6, -1.5, 0.4, 0.0),
)


@dataclass(frozen=True)
class _Look:
    """What tells a class: two colours of the head, and what grows on it."""

    name: str
    head: tuple[float, float, float]
    muzzle: tuple[float, float, float]
    ears: tuple[tuple[float, ...], ...]


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
CLASS_NAMES: tuple[str, ...] = tuple(look.name for look in _LOOKS)
NUM_CLASSES_MAX: int = len(_LOOKS)


def draw_creatures(
    num_images: int,
    *,
    num_classes: int = 6,
    image_size: int | tuple[int, int] = 128,
    seed: int = 0,
    split: str = "train",
    with_masks: bool = False,
) -> tuple[np.ndarray, ...]:
    """Draws pictures of creatures, and says which they are and where.

    Image `i` depends on `seed`, `split`, `num_classes`, `image_size` and `i` only,
    so that the first images of a longer call are those of a shorter one. The
    classes come in shuffled order, and in any number of first images no class is
    met more than once oftener than another. Each image holds one creature, whole:
    about 40 to 75 % of the shorter side long, anywhere in the image, facing left or
    right.

    Args:
        num_images: Positive integer. How many images to draw.
        num_classes: Integer in [2, 12]. The first so many of `CLASS_NAMES` are used.
        image_size: Integer, or pair (height, width), in pixels; at least 32.
        seed: Non-negative integer. Another seed gives other images of the same
            classes.
        split: `"train"`, `"val"` or `"test"`. Each has images of its own.
        with_masks: Whether to return the creatures' masks too.

    Returns:
        A tuple of `images`, uint8 (N, H, W, 3); `class_ids`, int32 (N,), the places
        in `CLASS_NAMES`; `boxes`, float32 (N, 1, 4), as x0, y0, x1, y1 in pixels
        with the far edge exclusive, tight around the mask; and, if asked for,
        `masks`, bool (N, H, W), true where at least half of a pixel belongs to the
        creature.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of range, or `split` is none of the three.

    Example:
    >>> images, class_ids, boxes = draw_creatures(6, image_size=(48, 64))
    >>> images.shape, boxes.shape, sorted(class_ids.tolist())
    ((6, 48, 64, 3), (6, 1, 4), [0, 1, 2, 3, 4, 5])
    """
    num_images = _integer("num_images", num_images, 1)
    num_classes = _integer("num_classes", num_classes, 2, NUM_CLASSES_MAX)
    height, width = _height_and_width(image_size)
    seed = _integer("seed", seed, 0)
    if split not in _SPLITS:
        raise ValueError(
            f"`split` must be one of {', '.join(map(repr, _SPLITS))}. "
            f"Received: split={split!r}."
        )

    heads = np.array([look.head for look in _LOOKS], np.float32)
    images = np.empty((num_images, height, width, 3), np.uint8)
    masks = np.zeros((num_images, height, width), bool)
    class_ids = _shuffled_class_ids(num_images, num_classes, seed, split)
    for i, class_id in enumerate(class_ids):
        rng = _generator(seed, split, i)
        canvas = ground(rng, height, width)
        scatter_clutter(rng, canvas, heads)
        # The draws are the same for every class, and so is the scene.
        reliable, other = rng.random(2)
        band_id = class_id if reliable < _BAND_RELIABILITY else int(other * num_classes)
        _draw_creature(rng, canvas, masks[i], _LOOKS[class_id], _LOOKS[band_id].head)
        canvas += 0.02 * rng.standard_normal((height, width, 1), np.float32)
        images[i] = np.clip(canvas * 255 + 0.5, 0, 255)
    if with_masks:
        return images, class_ids, _bounds(masks), masks
    return images, class_ids, _bounds(masks)


def _integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    wanted = f"at least {low}" if high is None else f"in [{low}, {high}]"
    message = f"`{name}` must be an integer {wanted}. Received: {name}={value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{message} (of type {type(value).__name__}).")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{message}.")
    return int(value)


def _height_and_width(image_size: Any) -> tuple[int, int]:
    if not isinstance(image_size, (tuple, list)):
        image_size = (image_size, image_size)
    if len(image_size) != 2:
        raise ValueError(
            "`image_size` must be an integer or a pair (height, width). "
            f"Received: image_size={image_size!r}."
        )
    height, width = (_integer("image_size", side, _MIN_SIDE) for side in image_size)
    return height, width


def _generator(seed: int, split: str, *key: int) -> np.random.Generator:
    spawn_key = (_SPLITS.index(split), *key)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def _shuffled_class_ids(
    num_images: int, num_classes: int, seed: int, split: str
) -> np.ndarray:
    # One shuffled run of all classes after the other keeps every prefix balanced.
    runs = [
        _generator(seed, split, run, num_classes).permutation(num_classes)
        for run in range(math.ceil(num_images / num_classes))
    ]
    return np.concatenate(runs)[:num_images].astype(np.int32)


def _bounds(masks: np.ndarray) -> np.ndarray:
    """Boxes (N, 1, 4) of masks (N, H, W), none of them empty."""
    height, width = masks.shape[1:]
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    edges = (
        columns.argmax(axis=1),
        rows.argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
    )
    return np.stack(edges, axis=1).astype(np.float32)[:, None]


def _draw_creature(
    rng: np.random.Generator,
    canvas: np.ndarray,
    mask: np.ndarray,
    look: _Look,
    band_colour: tuple[float, float, float],
) -> None:
    """Paints a creature on a canvas (H, W, 3) and on its mask (H, W), in place."""
    spine, far_legs, near_legs = _random_body(rng)
    radius, angle = 0.31 * rng.uniform(0.95, 1.1), rng.uniform(-0.5, 0.4)
    tilt = rng.normal(0, 0.35)
    head = functools.partial(moved, scale=radius, angle=angle, shift=spine[-1, 3:5])

    # The room that it takes once tilted, with a disc for any head.
    disc = (*spine[-1, 3:5], _HEAD_REACH * radius)
    whole = np.concatenate([spine, far_legs, near_legs, [(*disc, *disc, 0)]])
    whole = moved(whole, angle=tilt)
    discs = np.concatenate([whole[:, :3], whole[:, 3:6]])
    low = (discs[:, :2] - discs[:, 2:]).min(axis=0)
    high = (discs[:, :2] + discs[:, 2:]).max(axis=0)
    height, width = mask.shape
    scale = rng.uniform(0.45, 0.78) * min(height, width) / (high - low).max()
    mirror = bool(rng.random() < 0.5)
    if mirror:
        low[0], high[0] = -high[0], -low[0]
    free = np.array([width, height]) - scale * (high - low)
    shift = rng.beta(0.6, 0.6, 2) * free - scale * low
    place = functools.partial(
        moved, scale=scale, angle=tilt, shift=shift, mirror=mirror
    )

    colour = body_colours(rng, 1)[0]
    dark = 0.45 * colour
    bands = (
        dark + _BAND_TINT * (np.array(band_colour, np.float32) - dark),
        scale * rng.uniform(0.24, 0.34),
        rng.random(),
    )
    paint(canvas, place(far_legs), 0.6 * colour, mask)
    paint(canvas, place(spine), colour, mask, bands)
    paint(canvas, place(near_legs), colour, mask)
    head_colour = np.array(look.head, np.float32)
    paint(canvas, place(head(look.ears)), 0.9 * head_colour, mask)
    paint(canvas, place(head(_SKULL)), head_colour, mask)
    paint(canvas, place(head(_MUZZLE)), np.array(look.muzzle, np.float32), mask)
    paint(canvas, place(head(_EYE)), np.ones(3, np.float32), mask)
    paint(canvas, place(head(_PUPIL)), np.zeros(3, np.float32), mask)


def _random_body(
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
