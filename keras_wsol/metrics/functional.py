"""What the metrics and `evaluate` compute, as functions."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.boxes import iou

_ADVICE = (
    "This metric takes concrete arrays, not the symbolic tensors of `compile` or "
    "`tf.function`. Use `evaluation.evaluate`, or the metrics `Top1Loc`, `Top5Loc`, "
    "`GTKnownLoc` and `MeanBoxIoU`."
)


def concrete(*values: Any) -> list[np.ndarray]:
    """Turns tensors and arrays into NumPy arrays."""
    if any(keras.utils.is_keras_tensor(value) for value in values):
        raise ValueError(_ADVICE)
    return [_concrete(value) for value in values]


def _concrete(value: Any) -> np.ndarray:
    try:
        return np.asarray(keras.ops.convert_to_numpy(value))
    except (NotImplementedError, TypeError, AttributeError) as error:
        # What the backends raise for a tensor of a graph; for anything else the error
        # is the caller's, and says more than the advice.
        if not keras.ops.is_tensor(value):
            raise
        raise ValueError(_ADVICE) from error


def merge_variables(
    metric: keras.metrics.Metric, others: Iterable[keras.metrics.Metric]
) -> None:
    """Adds the state of metrics of the same kind to that of one."""
    others = list(others)
    for other in others:
        check_same_kind(metric, other)
    for other in others:
        for mine, theirs in zip(metric.variables, other.variables, strict=True):
            mine.assign_add(keras.ops.cast(theirs.value, mine.dtype))


def check_same_kind(metric: keras.metrics.Metric, other: keras.metrics.Metric) -> None:
    """Raises unless the states of two metrics may be added."""
    if other is metric:
        raise ValueError("A metric cannot be merged into itself.")
    if type(other) is not type(metric):
        raise ValueError(
            f"Metrics to merge must be of one class, here {type(metric).__name__}. "
            f"Received: {type(other).__name__}."
        )
    mine, theirs = metric.get_config(), other.get_config()
    differing = [
        name
        for name in mine
        if name not in ("name", "dtype") and mine[name] != theirs[name]
    ]
    if differing:
        raise ValueError(
            "Metrics to merge must have the same arguments. These differ: "
            f"{', '.join(differing)}."
        )


def image_weights(y_true: dict[str, Any], sample_weight: Any = None) -> Any:
    """Weights of a batch's images, 0 for those that could not be read."""
    counted = ops.cast(ops.cast(y_true["class_ids"], "int32") >= 0, "float32")
    if sample_weight is None:
        return counted
    return counted * ops.cast(sample_weight, "float32")


def boxes_and_maps(true_boxes: Any, score_maps: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turns a batch into arrays, and checks shapes and values."""
    true_boxes, score_maps = concrete(true_boxes, score_maps)
    if (
        true_boxes.ndim != 3
        or true_boxes.shape[2] != 4
        or score_maps.ndim != 3
        or len(true_boxes) != len(score_maps)
    ):
        raise ValueError(
            "`true_boxes` must have shape (B, M, 4) and `score_maps` (B, H, W). "
            f"Received: {true_boxes.shape} and {score_maps.shape}."
        )
    in_order = (true_boxes[..., :2] <= true_boxes[..., 2:]).all(axis=-1)
    good = in_order & np.isfinite(true_boxes).all(axis=-1)
    if not good.all():
        row, place = np.argwhere(~good)[0].tolist()
        raise ValueError(
            "True boxes must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, or "
            f"padding of -1. Received: true_boxes[{row}, {place}]="
            f"{true_boxes[row, place].tolist()}."
        )
    outside = ((score_maps < 0) | (score_maps > 1)).any(axis=(1, 2))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            "`score_maps` must be in [0, 1]. Received: values from "
            f"{float(np.nanmin(score_maps[row]))} to "
            f"{float(np.nanmax(score_maps[row]))} in score_maps[{row}]."
        )
    return true_boxes, score_maps


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


def check_top_k(top_k: Any) -> int:
    """Returns `top_k` if it is a positive integer."""
    if isinstance(top_k, bool) or not isinstance(top_k, Integral) or top_k < 1:
        raise ValueError(
            f"`top_k` must be an integer of at least 1. Received: top_k={top_k!r}."
        )
    return int(top_k)


def check_ranked(y_pred: dict[str, Any], top_k: int) -> None:
    """Raises unless a prediction has at least `top_k` classes an image."""
    count = y_pred["class_ids"].shape[1]
    if count is not None and count < top_k:
        raise ValueError(
            f"`y_pred` must hold {top_k} classes an image, best first: use "
            f"`Localizer(model, top_k={top_k})`, or another `top_k` here. "
            f"Received: {count}."
        )


def is_true_class(y_true: dict[str, Any], y_pred: dict[str, Any], top_k: Any) -> Any:
    """Says which of the best classes is the true one."""
    class_ids = ops.cast(y_pred["class_ids"], "int32")[:, :top_k]
    return class_ids == ops.cast(y_true["class_ids"], "int32")[:, None]


def threshold_grid(num_thresholds: int, dtype: str = "float32") -> np.ndarray:
    """Returns `num_thresholds` thresholds from 0 up to, not including, 1.

    Args:
        num_thresholds: Integer, at least 1.
        dtype: `"float32"`, or `"float64"` as in the published evaluator, whose grid
            is `numpy.arange(0, 1, 0.001)`.

    Returns:
        `(num_thresholds,)` of that dtype, evenly spaced.

    Raises:
        ValueError: `num_thresholds` is no positive integer.

    Example:
    >>> threshold_grid(4).tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    if not isinstance(num_thresholds, Integral) or num_thresholds < 1:
        raise ValueError(
            "`num_thresholds` must be an integer of at least 1. Received: "
            f"num_thresholds={num_thresholds!r}."
        )
    return np.linspace(0, 1, num_thresholds, endpoint=False, dtype=dtype)


def grid_of(
    num_thresholds: int, thresholds: Sequence[float] | None, convention: str
) -> np.ndarray:
    """Returns the thresholds given, or an even grid."""
    dtype = "float32" if convention == "default" else "float64"
    if thresholds is None:
        return threshold_grid(num_thresholds, dtype)
    grid = np.asarray(thresholds, dtype)
    if grid.ndim != 1 or not len(grid):
        raise ValueError(
            "`thresholds` must be a sequence of at least one number. Received: "
            f"thresholds={thresholds!r}."
        )
    if not np.all((grid >= 0) & (grid < 1)) or np.any(np.diff(grid) < 0):
        raise ValueError(
            f"`thresholds` must ascend in [0, 1). Received: thresholds={grid}."
        )
    return grid
