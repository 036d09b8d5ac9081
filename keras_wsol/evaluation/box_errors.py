"""What is wrong with a box, in one word an image.

The box is that of the largest component of the score map of the true class, at one
threshold. Its true box is the one of best IoU (of equal ones the first). The first of
these that holds is the word:

1. `"no box"`: the box has no area; no cell of the map is above the threshold.
2. `"right"`: IoU of at least 0.5, and the model's top class is right.
3. `"wrong class"`: IoU of at least 0.5, but another class is the model's top one.
4. `"several parts"`: the box around all components, at the same threshold, has an IoU
   of at least 0.5 with a true box.
5. `"too small"`: at least 90 % of the box's area lies in its true box.
6. `"too large"`: at least 90 % of its true box's area lies in the box.
7. `"elsewhere"`: the rest, also every box of an image that has no true box.

So the share of `"right"` is Top-1 Loc, and with that of `"wrong class"` it is GT-known
Loc. The words from the fourth on are said of the box alone, whatever the top class.
"""

import numpy as np

from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.data.dataset import bounds
from keras_wsol.metrics.functional import best_iou, is_right
from keras_wsol.models.tune import IOU_THRESHOLD

INSIDE = 0.9  # share of an area from which on it lies inside, ours

ERRORS = (
    "right",
    "wrong class",
    "too small",
    "too large",
    "several parts",
    "elsewhere",
    "no box",
)


def box_errors(
    boxes: np.ndarray,
    enclosing: np.ndarray,
    true_boxes: np.ndarray,
    class_right: np.ndarray,
) -> np.ndarray:
    """Says the word of each image; see the file's docstring."""
    boxes, true_boxes = boxes.astype("float32"), true_boxes.astype("float32")
    around = enclosing.astype("float32")
    both = best_iou(np.stack([boxes, around], axis=1), true_boxes)  # (N, 2)
    right, together = is_right(both, IOU_THRESHOLD).T
    in_true, in_box = _shares_inside(boxes, true_boxes)
    rules = {
        "no box": _areas(boxes) == 0,
        "right": right & class_right,
        "wrong class": right,
        "several parts": together,
        "too small": in_true >= INSIDE,
        "too large": in_box >= INSIDE,
    }
    words = np.select(list(rules.values()), list(rules), default="elsewhere")
    return words.astype("<U13")  # the longest, in any batch


def enclosing_boxes(score_maps: np.ndarray, cam_threshold: float) -> np.ndarray:
    """Boxes all cells above a threshold together."""
    maps = np.asarray(score_maps, "float32")
    # Nothing is above NaN.
    cuts = np.float32(cam_threshold) * maps.max(axis=(1, 2))
    above = maps > cuts[:, None, None]
    return np.where(above.any(axis=(1, 2))[:, None], bounds(above), np.float32(0))


def _shares_inside(
    boxes: np.ndarray, true_boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much of a box is in its true box, and of the true box in it, `(N,)` each."""
    if not true_boxes.shape[1]:
        return np.zeros((2, len(boxes)), "float32")
    chosen = pairwise_iou(boxes[:, None], true_boxes, np)[:, 0].argmax(axis=1)
    true_box = true_boxes[np.arange(len(boxes)), chosen]
    near = np.maximum(boxes[:, :2], true_box[:, :2])
    far = np.minimum(boxes[:, 2:], true_box[:, 2:])
    common = _areas(np.concatenate([near, far], axis=1))
    return tuple(common / np.maximum(_areas(x), 1e-9) for x in (boxes, true_box))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1)
