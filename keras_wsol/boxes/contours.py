"""Boxes as published evaluators find them: wsolevaluation (Choe et al., 2020), ADL.

Of wsolevaluation:

- The map is cut down to grey values `int(255 * score)`, in float64. At the threshold t
  the mask is what lies above the grey value `int(t * maximum)`.
- Contours are those of OpenCV's `findContours` with `RETR_TREE`: around 8-connected
  components and their 4-connected holes, through the centres of cells. Their area is
  that of the polygon: 0 for a line, however long.
- A box's far edge lies one cell behind the contour, but no farther than the map's last
  cell; a mask without a cell has the box 0, 0, 0, 0.
- True boxes are cut down to whole cells. The overlap counts far edges as inside.

ADL's code (Choe and Shim, 2019) differs in this: grey values are those of the map in
the colours of "cubehelix", far edges may lie behind the map's last cell, a mask without
a cell has the box 0, 0, 1, 1, and true boxes may lie outside of the map.
"""

from functools import cache
from typing import Any

import numpy as np

from keras_wsol.boxes.iou import pairwise_iou

CONVENTIONS = ("default", "wsolevaluation", "adl")
ADL_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)

# What is so near to a whole number, relatively, would have been whole in float64.
_NEARLY = 2.0**-21


def border_sweep(
    score_map: np.ndarray,
    thresholds: np.ndarray,
    true_boxes: np.ndarray | None = None,
    grey: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Follows the contours of one map at every threshold.

    Gives int64 (T, 4), the box of the contour with the largest area, of equal ones
    OpenCV's first, which is the last in row-major order; and float64 (T,), the best
    overlap of any contour's box with a true box.
    """
    from keras_wsol.boxes.numba_loops import border_boxes  # loads Numba

    grey = (score_map * 255).astype(np.uint8) if grey is None else grey
    cuts = (thresholds * grey.max(initial=0)).astype(np.int64)
    # Masks in which the same cells are above, though the cuts differ, are one.
    present = np.bincount(grey.ravel(), minlength=256) > 0
    present[0] = True
    number = np.cumsum(present) - 1
    mask_of_cut = number[cuts]
    masks, place = np.unique(mask_of_cut, return_inverse=True)
    # How many of the masks asked for a grey value lies in.
    levels = np.searchsorted(masks, number).astype(np.uint8)
    framed = np.pad(levels[grey], 1)
    count = int(framed.max())
    with_holes = true_boxes is not None
    true_boxes = np.zeros((0, 4), np.int64) if true_boxes is None else true_boxes
    if count:
        boxes, best = border_boxes(framed, count, true_boxes, with_holes)
    else:  # the one mask of a black map is empty
        boxes = np.zeros((1, 4), np.int64)
        best = inclusive_iou(boxes, true_boxes).max(axis=1, initial=0)
    return boxes[place], best[place]


def adl_boxes(score_map: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Boxes int64 (T, 4) of the contour with the largest area, as ADL's code has it."""
    cells = np.minimum((score_map * 256).astype(np.int64), 255)
    # With a border behind, no far edge is cut off at the map's last cell.
    grey = np.pad(_grey_of_colours()[cells], ((0, 1), (0, 1)))
    boxes = border_sweep(score_map, thresholds, grey=grey)[0]
    return np.where(boxes.any(axis=1, keepdims=True), boxes, [0, 0, 1, 1])


@cache
def _grey_of_colours() -> np.ndarray:
    """OpenCV's grey of each of the 256 colours of Matplotlib's "cubehelix"."""
    import matplotlib as mpl

    colours = np.float32(mpl.colormaps["cubehelix"](np.arange(256))[:, :3]) * 255
    weights = np.array([9798, 19235, 3735])  # of red, green and blue, times 2**15
    grey = (colours.astype(np.uint8) @ weights + (1 << 14)) >> 15
    return grey.astype(np.uint8)


def whole_boxes(true_boxes: Any, outside: bool = False) -> np.ndarray:
    """Cuts true boxes down to whole cells, as published evaluators do.

    It scales boxes in float64. Of boxes scaled in float32, a whole number may have
    come out a little too low: what is that near to a whole number counts as it.
    """
    boxes = np.asarray(true_boxes)
    exact = boxes.astype(np.float64)
    if boxes.dtype == np.float32:
        nearest = np.rint(exact)
        is_near = np.abs(exact - nearest) <= np.abs(exact) * _NEARLY
        exact = np.where(is_near, nearest, exact)
    whole = np.trunc(exact).astype(np.int64)
    inverted = (exact[..., :2] > exact[..., 2:]).any(axis=-1)
    wrong = ((exact < 0).any(axis=-1) & (not outside)) | inverted
    wrong &= ~(exact < 0).all(axis=-1)
    if wrong.any():
        raise ValueError(
            "True boxes must be x0, y0, x1, y1 with 0 <= x0 <= x1 and 0 <= y0 <= y1, "
            f"or padding of -1. Received: {boxes[wrong][0].tolist()}."
        )
    return whole


def inclusive_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Overlap float64 `(A, B)` of boxes in whole cells that hold their far edges.

    Padding of -1 overlaps nothing.
    """
    grow = np.array([0, 0, 1, 1])
    return pairwise_iou(boxes_a + grow, boxes_b + grow)
