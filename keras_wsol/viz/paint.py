"""Pictures as arrays: a score map laid over its image, boxes drawn on it."""

from typing import Any

import numpy as np

from keras_wsol.arguments import check_number

TRUE_BOX_COLOR = (255, 0, 0)
PREDICTED_BOX_COLOR = (0, 255, 0)


def overlay(
    image: Any,
    score_map: Any = None,
    boxes: Any = None,
    true_boxes: Any = None,
    *,
    alpha: float = 0.5,
) -> np.ndarray:
    """Lays the colours of a score map and the frames of boxes over an image.

    The colours are those of Turbo, a rainbow without the false edges of "jet": dark
    blue for 0, green for a half, dark red for 1 (Mikhailov, 2019).

    True boxes are red; predicted ones are green and lie on top. A frame lies on the
    outermost pixels inside its box, is a hundredth of the image's shorter side thick,
    and has a dark line on both sides. Boxes are clipped to the image.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], `uint8` or
            float. It is not changed.
        score_map: Array `(h, w)` in [0, 1] of any size, over the whole image, to which
            it is resized (bilinear, half-pixel centres, antialiased where it shrinks).
            Default `None`: the image alone.
        boxes: Predicted boxes `(M, 4)`, x0, y0, x1, y1 in pixels of `image`. Rows
            without an area (padding with -1, the zeros of an empty map) are skipped.
            Default `None`.
        true_boxes: True boxes, in the same form. Default `None`.
        alpha: Float in [0, 1]. Share of the map's colours. Default 0.5.

    Returns:
        `uint8` array `(H, W, 3)`.

    Raises:
        TypeError, ValueError: An argument is not as above.

    Example:
    >>> overlay([[100.0, 200.0]], [[0.0, 1.0]], alpha=0.5).tolist()
    [[[74, 59, 80], [161, 102, 101]]]
    """
    import matplotlib

    check_number("alpha", alpha)
    picture = to_rgb(image)
    if score_map is not None:
        scores = resize_map(score_map, *picture.shape[:2])
        colors = matplotlib.colormaps["turbo"](scores, bytes=True)[..., :3]
        mixed = (1.0 - alpha) * picture.astype(np.float64) + alpha * colors
        picture = np.rint(mixed).astype(np.uint8)
    for rows, color in ((true_boxes, TRUE_BOX_COLOR), (boxes, PREDICTED_BOX_COLOR)):
        if rows is not None:
            picture = _framed(picture, boxes_with_area(rows), color)
    return picture


def to_rgb(image: Any) -> np.ndarray:
    """Returns an image as a new `uint8` array `(H, W, 3)`."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        hint = " For the first image of a batch, use image[0]." * (pixels.ndim == 4)
        raise ValueError(
            "`image` must have shape (H, W, 3), (H, W, 1) or (H, W). "
            f"Received: image.shape={np.shape(image)}.{hint}"
        )
    if not np.isfinite(pixels).all():
        raise ValueError("`image` must hold finite numbers in [0, 255].")
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels.copy()


def resize_map(score_map: Any, height: int, width: int) -> np.ndarray:
    """Resizes a score map, bilinear, half-pixel centres, antialiased if it shrinks."""
    from PIL import Image

    scores = np.asarray(score_map, dtype=np.float32)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            "`score_map` must have shape (h, w) and at least one cell. "
            f"Received: score_map.shape={scores.shape}."
        )
    low, high = float(scores.min()), float(scores.max())
    # Written so that a NaN fails as well; 0.001 is taken for rounding.
    if not (low >= -1e-3 and high <= 1.0 + 1e-3):
        raise ValueError(
            "`score_map` must be in [0, 1]. Received values from "
            f"{low:g} to {high:g}. Divide by the range of the map first."
        )
    # Pillow keeps float32 in this mode, so nothing is rounded to 256 levels.
    image = Image.fromarray(np.clip(scores, 0.0, 1.0))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def boxes_with_area(boxes: Any) -> np.ndarray:
    """Returns the rows that are boxes, not padding, `float64` `(M, 4)`, or raises."""
    rows = np.asarray(boxes, dtype=np.float64)
    rows = rows.reshape(0, 4) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        hint = " For one box, use boxes[None]." if rows.shape == (4,) else ""
        raise ValueError(
            f"`boxes` must have shape (M, 4). Received: boxes.shape={rows.shape}.{hint}"
        )
    sides = rows[:, 2:] - rows[:, :2]
    wrong = ~(np.isfinite(rows).all(axis=1) & (sides >= 0).all(axis=1))
    if wrong.any():
        raise ValueError(
            "`boxes` must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. "
            f"Received the row: {rows[wrong][0].tolist()}."
        )
    return rows[(sides > 0).all(axis=1)]


def _framed(
    picture: np.ndarray, boxes: np.ndarray, color: tuple[int, int, int]
) -> np.ndarray:
    """Draws frames; all dark lines first, so that none crosses another frame."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    width = max(1, round(min(picture.shape[:2]) / 100))
    # Not `round`: it takes halves to the even neighbour, so that two equal boxes half
    # a pixel apart would differ in size.
    frames = np.floor(boxes + 0.5).astype(int)
    frames[:, 2:] = np.maximum(frames[:, 2:], frames[:, :2] + 1)
    frames = boxes_with_area(np.clip(frames, 0, canvas.size * 2)).astype(int)
    grown = frames + np.array([-1, -1, 1, 1])
    for rows, paint, pen in ((grown, (0, 0, 0), width + 2), (frames, color, width)):
        for x0, y0, x1, y1 in rows.tolist():
            # Pillow draws a frame thicker than its box beyond the box.
            at_most = (min(x1 - x0, y1 - y0) + 1) // 2
            corners = (x0, y0, x1 - 1, y1 - 1)
            draw.rectangle(corners, outline=paint, width=min(pen, at_most))
    return np.array(canvas)
