"""What the metrics and `evaluate` compute, each figure once, as functions.

`xp` is the module that computes: `keras.ops` in a metric, which works in a graph, or
`numpy` in an evaluation.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer
from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.boxes.iou import check_true_boxes, pairwise_iou
from keras_wsol.boxes.sweep import ADL_THRESHOLDS, inclusive_iou, whole_boxes

NO_RANK = 2**31 - 1  # of a class that is not there, or whose logits are not finite
V2_IOU_THRESHOLDS = (0.3, 0.5, 0.7)  # [Choe et al., 2020]


# Classes


def class_ranks(logits: Any, true_ids: Any, xp: Any = np) -> Any:
    """Counts classes before the true one. Equal logits: the lower id ranks first."""
    count = logits.shape[1]
    exists = (true_ids >= 0) & (true_ids < count)
    place = xp.where(exists, true_ids, 0)[:, None]
    of_true = xp.take_along_axis(logits, place, axis=1)
    lower = xp.arange(count)[None] < place
    before = (logits > of_true) | ((logits == of_true) & lower)
    usable = exists & xp.all(xp.isfinite(logits), axis=1)
    return xp.where(usable, xp.sum(xp.where(before, 1, 0), axis=1), NO_RANK)


def ranks_of(batch: dict[str, Any], out: dict[str, Any], top_k: int) -> Any:
    """Ranks of the true classes, by logits or by the ranked classes of a localizer."""
    true_ids = ops.cast(batch["class_ids"], "int32")
    if "logits" in out:
        return class_ranks(ops.cast(out["logits"], "float32"), true_ids, ops)
    count = out["class_ids"].shape[1]
    if count is not None and count < top_k:
        raise ValueError(
            f"`out` must hold logits, or {top_k} classes an image: use "
            f"`Localizer(model, top_k={top_k})`. Received: {count}."
        )
    first, exists = place_of_true_class(batch, out)
    return ops.where(exists, first, NO_RANK)


def place_of_true_class(batch: dict[str, Any], out: dict[str, Any]) -> tuple[Any, Any]:
    """Where the true class comes first among those found, `(B,)`, and if it does."""
    true_ids = ops.cast(batch["class_ids"], "int32")[:, None]
    same = (ops.cast(out["class_ids"], "int32") == true_ids) & (true_ids >= 0)
    first = ops.argmax(ops.cast(same, "int32"), axis=1)
    return ops.cast(first, "int32"), ops.any(same, axis=1)


# Boxes


def best_iou(boxes: Any, true_boxes: Any, xp: Any = np) -> Any:
    """IoU `(..., K)` of boxes with the best of their true boxes `(..., M, 4)`, or 0."""
    return xp.max(pairwise_iou(boxes, true_boxes, xp), axis=-1, initial=0.0)


def iou_of_true_class(batch: dict[str, Any], out: dict[str, Any]) -> Any:
    """IoU `(B,)` of the first box of the true class; 0 where it has none."""
    first, exists = place_of_true_class(batch, out)
    boxes = ops.cast(out["boxes"], "float32")
    box = ops.take_along_axis(boxes, first[:, None, None], axis=1)
    overlap = best_iou(box, ops.cast(batch["boxes"], "float32"), ops)[:, 0]
    return ops.where(exists, overlap, 0.0)


def is_right(overlap: Any, iou_threshold: Any) -> Any:
    """Says which boxes are right; at a threshold of 0, no overlap is still wrong."""
    return (overlap >= iou_threshold) & (overlap > 0)


def largest_boxes_and_iou(
    true_boxes: np.ndarray,
    score_maps: np.ndarray,
    thresholds: np.ndarray,
    convention: str = "default",
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of the largest component `(B, T, 4)`, and their best IoU `(B, T)`."""
    true_boxes, score_maps = checked_maps(true_boxes, score_maps)
    boxes = sweep_largest_boxes(score_maps, thresholds, convention).transpose(1, 0, 2)
    if convention == "default":
        return boxes, best_iou(boxes, true_boxes.astype("float32"))
    true = whole_boxes(true_boxes, outside=convention == "adl")
    pairs = zip(boxes.astype(np.int64), true, strict=True)
    ious = [inclusive_iou(*pair).max(axis=-1, initial=0) for pair in pairs]
    return boxes, np.reshape(ious, boxes.shape[:2])


def checked_maps(true_boxes: Any, score_maps: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turns true boxes and score maps into arrays, and checks shapes and values."""
    true_boxes, score_maps = concrete(true_boxes, score_maps)
    fits = true_boxes.ndim == score_maps.ndim == 3 and true_boxes.shape[2] == 4
    if not fits or len(true_boxes) != len(score_maps):
        raise ValueError(
            "`true_boxes` must have shape (B, M, 4) and `score_maps` (B, H, W). "
            f"Received: {true_boxes.shape} and {score_maps.shape}."
        )
    check_true_boxes(true_boxes)
    outside = ((score_maps < 0) | (score_maps > 1)).any(axis=(1, 2))
    if outside.any():
        row = int(outside.argmax())
        low, high = np.nanmin(score_maps[row]), np.nanmax(score_maps[row])
        raise ValueError(
            "`score_maps` must be in [0, 1]. Received: values from "
            f"{low} to {high} in score_maps[{row}]."
        )
    return true_boxes, score_maps


# Thresholds


def threshold_grid(
    num_thresholds: int,
    thresholds: Sequence[float] | None = None,
    convention: str = "default",
) -> np.ndarray:
    """Returns the thresholds given, or an even grid from 0 up to, not including, 1."""
    # The published evaluator's grid is numpy.arange(0, 1, 0.001), in float64.
    dtype = "float32" if convention == "default" else "float64"
    if thresholds is None and convention == "adl":
        thresholds = ADL_THRESHOLDS
    if thresholds is None:
        check_integer("num_thresholds", num_thresholds)
        return np.linspace(0, 1, num_thresholds, endpoint=False, dtype=dtype)
    grid = np.asarray(thresholds, dtype)
    ascends = grid.ndim == 1 and len(grid) and not np.any(np.diff(grid) < 0)
    if not ascends or not np.all((grid >= 0) & (grid < 1)):
        raise ValueError(
            "`thresholds` must be one number or more that ascend in [0, 1). "
            f"Received: thresholds={thresholds!r}."
        )
    return grid


# States of metrics


_ADVICE = (
    "This metric takes concrete arrays, not symbolic tensors or batches: use "
    "`evaluation.evaluate`, or `Top1Loc`, `Top5Loc`, `GTKnownLoc` and `MeanBoxIoU`."
)


def concrete(*values: Any) -> list[np.ndarray]:
    """Turns tensors and arrays into NumPy arrays; raises for those of a graph."""
    arrays = []
    for value in values:
        if keras.utils.is_keras_tensor(value) or isinstance(value, Mapping):
            raise ValueError(_ADVICE)
        try:
            arrays.append(np.asarray(ops.convert_to_numpy(value)))
        except (NotImplementedError, TypeError, AttributeError) as error:
            # What the backends raise for a tensor of a graph. Others say more.
            if not ops.is_tensor(value):
                raise
            raise ValueError(_ADVICE) from error
    return arrays


def check_same_kind(metric: Any, others: Iterable[Any]) -> list[Any]:
    """Returns the others as a list, if their states may be added to a metric's."""
    others, mine, own = list(others), metric.get_config(), {"name", "dtype"}
    for other in others:
        if other is metric or type(other) is not type(metric):
            itself = ", the metric itself" if other is metric else ""
            raise ValueError(
                "Metrics to merge must be others of one class, here "
                f"{type(metric).__name__}. Received: {type(other).__name__}{itself}."
            )
        theirs = other.get_config()
        differing = [x for x in mine if x not in own and mine[x] != theirs[x]]
        if differing:
            raise ValueError(
                "Metrics to merge must have the same arguments. These differ: "
                f"{', '.join(differing)}."
            )
    return others


def merge_variables(metric: Any, others: Iterable[Any]) -> None:
    """Adds the state of metrics of the same kind to that of one."""
    for other in check_same_kind(metric, others):
        for mine, theirs in zip(metric.variables, other.variables, strict=True):
            mine.assign_add(ops.cast(theirs.value, mine.dtype))
