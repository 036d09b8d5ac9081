"""One image and what a model sees in it, side by side."""

from typing import Any

import numpy as np

from keras_wsol.viz.colors import PREDICTED_BOX_COLOR, TRUE_BOX_COLOR
from keras_wsol.viz.frames import draw_outlined_boxes
from keras_wsol.viz.overlays import overlay
from keras_wsol.viz.pixels import to_rgb

# White between the two pictures, in pixels.
_GAP = 4


def panel(
    image: Any,
    score_map: Any,
    predicted_boxes: Any,
    true_boxes: Any = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """Puts the image and its overlay side by side, both with all boxes.

    On the left the object can be seen, on the right why the box lies where it
    lies. Predicted boxes are green and drawn over the true ones, which are red;
    dark lines set both off from the image.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], `uint8` or
            float.
        score_map: Array `(h, w)` in [0, 1] of any size, over the whole image.
        predicted_boxes: Array `(M, 4)` of x0, y0, x1, y1 in pixels of `image`,
            far edge exclusive; rows of -1 and zero boxes are skipped.
        true_boxes: The same for the boxes that a person drew, or `None` (the
            default) if there are none.
        alpha: Float in [0, 1]. Share of the map's colours on the right. Defaults
            to 0.5.

    Returns:
        `uint8` array `(H, 2 W + 4, 3)`: two pictures with 4 white columns in
        between.

    Raises:
        ValueError: As `overlay` and `draw_boxes` do.

    Example:
    >>> panel(np.zeros((3, 5)), [[0.0, 1.0]], [[0, 0, 2, 2]]).shape
    (3, 14, 3)
    """
    left, right = to_rgb(image), overlay(image, score_map, alpha)
    pictures = []
    for picture in (left, right):
        if true_boxes is not None:
            picture = draw_outlined_boxes(picture, true_boxes, TRUE_BOX_COLOR)
        pictures.append(
            draw_outlined_boxes(picture, predicted_boxes, PREDICTED_BOX_COLOR)
        )
    gap = np.full((left.shape[0], _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1]], axis=1)
