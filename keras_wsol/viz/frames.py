"""The frames of boxes, pixel by pixel."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_wsol.viz.pixels import to_rgb

# What separates a coloured frame from an image of the same colour.
_OUTLINE_COLOR = (0, 0, 0)


def draw_boxes(
    image: Any, boxes: Any, color: Sequence[int], width: int | None = None
) -> np.ndarray:
    """Draws the frames of boxes, on the outermost pixels inside each box.

    The far edge of a box does not belong to it: the frame of `(x0, y0, x1, y1)`
    lies on the columns `x0` to `x1 - 1` and the rows `y0` to `y1 - 1`. Fractions
    are rounded to the nearest pixel edge; a box that has an area keeps at least
    one pixel. Boxes are clipped to the image, so that a frame is closed also
    where its box reaches beyond the image.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], `uint8` or
            float. It is not changed.
        boxes: Array `(M, 4)` of x0, y0, x1, y1 in pixels of `image`. Rows
            without an area (the -1 of padding, the zeros of an empty map) and
            rows outside the image are skipped.
        color: Red, green and blue in [0, 255], such as `TRUE_BOX_COLOR`.
        width: Thickness of the frame in pixels, an integer from 1. `None` (the
            default) takes a hundredth of the shorter side of the image.

    Returns:
        `uint8` array `(H, W, 3)`.

    Raises:
        ValueError: If `boxes` is not `(M, 4)`, a box is inverted or not finite,
            or `color` or `width` is not as above.

    Example:
    >>> draw_boxes(np.zeros((3, 4)), [[0, 0, 3, 3]], (0, 9, 0))[:, :, 1].tolist()
    [[9, 9, 9, 0], [9, 0, 9, 0], [9, 9, 9, 0]]
    """
    picture = to_rgb(image)
    width = _check_width(width, picture)
    paint = np.asarray(color)
    if paint.shape != (3,) or paint.min() < 0 or paint.max() > 255:
        raise ValueError(
            f"`color` must be three numbers in [0, 255]. Received: color={color}."
        )
    for x0, y0, x1, y1 in _pixel_boxes(boxes, *picture.shape[:2]):
        _draw_frame(picture, (x0, y0, x1, y1), paint, width)
    return picture


def draw_outlined_boxes(
    image: Any, boxes: Any, color: Sequence[int], width: int | None = None
) -> np.ndarray:
    """Draws boxes as `draw_boxes` does, with a dark line on both sides."""
    picture = to_rgb(image)
    width = _check_width(width, picture)
    dark = np.asarray(_OUTLINE_COLOR)
    height, length = picture.shape[:2]
    for x0, y0, x1, y1 in _pixel_boxes(boxes, height, length):
        grown = (
            max(x0 - 1, 0),
            max(y0 - 1, 0),
            min(x1 + 1, length),
            min(y1 + 1, height),
        )
        _draw_frame(picture, grown, dark, 1)
        inner = (x0 + width, y0 + width, x1 - width, y1 - width)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            _draw_frame(picture, inner, dark, 1)
    return draw_boxes(picture, boxes, color, width)


def has_area(box: Any) -> bool:
    """Whether x0, y0, x1, y1 is a box rather than padding or an empty map's zeros."""
    x0, y0, x1, y1 = np.asarray(box, dtype=np.float64)
    return bool(x1 > x0 and y1 > y0)


def check_boxes(boxes: Any) -> np.ndarray:
    """Returns boxes as a `float64` array `(M, 4)`, or raises."""
    rows = np.asarray(boxes, dtype=np.float64)
    if rows.shape == (0,):
        return rows.reshape(0, 4)
    if rows.ndim != 2 or rows.shape[1] != 4:
        hint = " For one box, use boxes[None]." if rows.shape == (4,) else ""
        raise ValueError(
            f"`boxes` must have shape (M, 4). Received: boxes.shape={rows.shape}.{hint}"
        )
    inverted = (rows[:, 2] < rows[:, 0]) | (rows[:, 3] < rows[:, 1])
    wrong = inverted | ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise ValueError(
            "`boxes` must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. "
            f"Received the row: {rows[wrong][0].tolist()}."
        )
    return rows


def _check_width(width: int | None, picture: np.ndarray) -> int:
    if width is None:
        return max(1, round(min(picture.shape[:2]) / 100))
    if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
        raise ValueError(
            f"`width` must be an integer from 1, or None. Received: width={width!r}."
        )
    return int(width)


def _pixel_boxes(
    boxes: Any, height: int, width: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yields the boxes that have a pixel inside the image, as whole pixels."""
    for row in check_boxes(boxes):
        if not has_area(row):
            continue
        # Not `round`: it takes halves to the even neighbour, so that two equal
        # boxes half a pixel apart would differ in size.
        x0, y0, x1, y1 = (int(edge) for edge in np.floor(row + 0.5))
        x0, x1 = max(x0, 0), min(max(x1, x0 + 1), width)
        y0, y1 = max(y0, 0), min(max(y1, y0 + 1), height)
        if x0 < x1 and y0 < y1:
            yield x0, y0, x1, y1


def _draw_frame(
    picture: np.ndarray, box: tuple[int, int, int, int], color: np.ndarray, width: int
) -> None:
    x0, y0, x1, y1 = box
    inside = np.s_[y0 + width : max(y1 - width, 0), x0 + width : max(x1 - width, 0)]
    kept = picture[inside].copy()
    picture[y0:y1, x0:x1] = color
    picture[inside] = kept
