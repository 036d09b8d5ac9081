"""How well predicted boxes meet the true ones."""

from typing import Any

from keras import ops

from keras_wsol.boxes import iou


def best_iou(boxes: Any, true_boxes: Any) -> Any:
    """Overlap of each predicted box with the best of its image's true boxes.

    Args:
        boxes: float32 `(..., N, 4)`, one box an image, for any number of thresholds
            in front; x0, y0, x1, y1, far edge exclusive.
        true_boxes: float32 `(N, M, 4)` in the same pixels, padded with -1.

    Returns:
        float32 `(..., N)` in [0, 1]; 0 for an image without a true box.

    Example:
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 4.0, 2.0]])
    >>> true_boxes = np.array([[[2.0, 0.0, 6.0, 2.0], [-1.0, -1.0, -1.0, -1.0]]])
    >>> round(float(best_iou(boxes, true_boxes)[0]), 4)
    0.3333
    """
    boxes = ops.convert_to_tensor(boxes)
    true_boxes = ops.convert_to_tensor(true_boxes)
    if true_boxes.shape[-2] == 0:
        return ops.zeros(ops.shape(boxes)[:-1], "float32")
    return ops.max(iou(boxes[..., None, :], true_boxes)[..., 0, :], axis=-1)


def is_right(overlap: Any, iou_threshold: Any) -> Any:
    """Says which boxes are right.

    An overlap of exactly the threshold is enough, but there has to be one: at a
    threshold of 0, the empty box of an empty map is still wrong.

    Args:
        overlap: `(...)` in [0, 1].
        iou_threshold: Number in [0, 1], or several that broadcast.

    Returns:
        Boolean `(...)`.

    Example:
    >>> import numpy as np
    >>> is_right(np.array([0.0, 0.3, 0.5]), 0.5).tolist()
    [False, False, True]
    >>> is_right(np.array([0.0, 0.3, 0.5]), 0.0).tolist()
    [False, True, True]
    """
    return (overlap >= iou_threshold) & (overlap > 0)
