"""Strokes: what drawn creatures and clutter are made of.

A stroke is a line with round ends whose thickness may change, as a row of seven
numbers: x, y and radius of its start, the same of its end, and by how much its middle
is thicker than the straight taper.
"""

import math
from typing import Any

import numpy as np


def chain(
    start: np.ndarray, headings: np.ndarray, length: float, radii: np.ndarray
) -> np.ndarray:
    """Strokes (K, 7) joined end to end, each `length` long, in given directions."""
    steps = length * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    nodes = np.concatenate([start[None], start + np.cumsum(steps, axis=0)])
    joints = np.column_stack([nodes, radii])
    return np.column_stack([joints[:-1], joints[1:], np.zeros(len(steps))])


def moved(
    strokes: Any,
    scale: float = 1.0,
    angle: float = 0.0,
    shift: Any = 0.0,
    mirror: bool = False,
) -> np.ndarray:
    """Strokes turned, mirrored left to right, scaled and shifted, in this order."""
    result = scale * np.asarray(strokes)
    side = -1 if mirror else 1
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[side * c, s], [side * -s, c]])
    for ends in (slice(0, 2), slice(3, 5)):
        result[:, ends] = result[:, ends] @ turn + shift
    return result


def paint(
    canvas: np.ndarray,
    strokes: np.ndarray,
    colour: np.ndarray,
    mask: np.ndarray | None = None,
    bands: tuple[np.ndarray, float, float] | None = None,
) -> None:
    """Paints joined strokes, in pixels, on a canvas and on a mask, in place.

    `bands` are the colour, the period in pixels and the phase of stripes across the
    strokes.
    """
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
        depth, radius, arc = (
            np.take_along_axis(values, nearest, axis=0)
            for values in (depth, radius, arc)
        )
    depth, radius, arc = depth[0, ..., None], radius[0, ..., None], arc[0, ..., None]

    if bands is not None:
        band_colour, period, phase = bands
        wave = np.cos(2 * math.pi * (arc / period + phase))
        colour = colour + np.clip(3 * wave + 0.5, 0, 1) * (band_colour - colour)
    light = 0.7 + 0.4 * np.clip(depth / radius, 0, 1)
    coverage = np.clip(depth + 0.5, 0, 1)
    canvas[window] += coverage * (colour * light - canvas[window])
    if mask is not None:
        mask[window] |= depth[..., 0] >= 0


def _window(
    strokes: np.ndarray, height: int, width: int
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
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
