"""MaxBoxAcc and MaxBoxAccV2: localization at the best of many thresholds."""

from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import iou, sweep_best_iou, sweep_largest_boxes
from keras_wsol.layers.arguments import check_choice, check_number

CONVENTIONS = ("default",)


def threshold_grid(num_thresholds: int) -> np.ndarray:
    """Returns `num_thresholds` thresholds from 0 up to, not including, 1.

    Args:
        num_thresholds: Integer, at least 1.

    Returns:
        float32 `(num_thresholds,)`, evenly spaced.

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
    return np.linspace(0, 1, num_thresholds, endpoint=False, dtype="float32")


def largest_box_ious(
    true_boxes: np.ndarray, score_maps: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Overlap of the box at each threshold with the best true box of its image.

    Args:
        true_boxes: float32 `(B, M, 4)` in cells of the maps, padded with -1.
        score_maps: float32 `(B, H, W)` in [0, 1].
        thresholds: float32 `(T,)`, ascending.

    Returns:
        float32 `(T, B)`.
    """
    if not true_boxes.shape[1]:
        return np.zeros((len(thresholds), len(score_maps)), "float32")
    boxes = sweep_largest_boxes(score_maps, thresholds)
    overlap = iou(boxes.transpose(1, 0, 2), true_boxes)  # (B, T, M)
    return keras.ops.convert_to_numpy(overlap).max(axis=-1).T


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAcc(keras.metrics.Metric):
    """Localization accuracy at the best score-map threshold (Choe et al., 2020).

    For each threshold, the share of images whose box (of the largest component)
    has an IoU of at least `iou_threshold` with a true box; then the maximum over
    thresholds, one threshold for the whole data set. With the maps of the true
    classes it is GT-known Loc at the oracle threshold. Memory does not grow with the
    data set.

    Args:
        iou_threshold: Float in [0, 1].
        num_thresholds: Integer, size of the grid in [0, 1). Default 1000 [the
            published evaluator].
        convention: `"default"`: exact boxes of 8-connected components, far edge
            exclusive.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

    Raises:
        ValueError: An argument is out of range, or `update_state` is called on
            symbolic tensors: the boxes of all thresholds come from one compiled
            sweep over concrete arrays.

    Example:
    >>> metric = MaxBoxAcc(num_thresholds=10)
    >>> score_map = np.zeros((1, 4, 5), "float32")
    >>> score_map[0, 1:3, 1:3], score_map[0, 0, 4] = 0.5, 1.0
    >>> metric.update_state(np.array([[[1.0, 1.0, 3.0, 3.0]]]), score_map)
    >>> float(metric.result())
    1.0
    """

    def __init__(
        self,
        iou_threshold: float = 0.5,
        num_thresholds: int = 1000,
        convention: str = "default",
        name: str = "max_box_acc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_number("iou_threshold", iou_threshold)
        check_choice("convention", convention, CONVENTIONS)
        self.iou_threshold = iou_threshold
        self.num_thresholds = num_thresholds
        self.convention = convention
        self.thresholds = threshold_grid(num_thresholds)
        self.correct = self.add_weight(
            shape=(num_thresholds,), initializer="zeros", name="correct"
        )
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, true_boxes: Any, score_maps: Any) -> None:
        """Adds a batch.

        Args:
            true_boxes: `(B, M, 4)` in cells of the maps, padded with -1. An image
                without a box counts as wrong.
            score_maps: `(B, H, W)` in [0, 1].
        """
        true_boxes, score_maps = _concrete(true_boxes, score_maps)
        overlap = largest_box_ious(true_boxes, score_maps, self.thresholds)
        self.correct.assign_add((overlap >= self.iou_threshold).sum(axis=1))
        self.count.assign_add(len(score_maps))

    def curve(self) -> np.ndarray:
        """Returns the accuracy at each of `self.thresholds`, `(T,)`."""
        count = max(float(keras.ops.convert_to_numpy(self.count)), 1.0)
        return keras.ops.convert_to_numpy(self.correct) / count

    def result(self) -> Any:
        return keras.ops.max(self.correct) / keras.ops.maximum(self.count, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "iou_threshold": self.iou_threshold,
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
        }


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAccV2(keras.metrics.Metric):
    """MaxBoxAcc averaged over IoU 0.3, 0.5 and 0.7 (Choe et al., 2020).

    Each IoU has a best threshold of its own, and an image is right at a threshold if
    the best of *all* its components is. Memory does not grow with the data set.

    Args:
        iou_thresholds: Sequence of floats in [0, 1]. Default 0.3, 0.5, 0.7.
        num_thresholds: See `MaxBoxAcc`.
        thresholds: Optional sequence of ascending floats in [0, 1), instead of an
            even grid of `num_thresholds`.
        convention: See `MaxBoxAcc`.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

    Raises:
        ValueError: See `MaxBoxAcc`.

    Example:
    >>> metric = MaxBoxAccV2(num_thresholds=10)
    >>> score_map = np.zeros((1, 4, 5), "float32")
    >>> score_map[0, :, :2], score_map[0, 0, 4] = 0.5, 1.0
    >>> metric.update_state(np.array([[[0.0, 0.0, 2.0, 2.0]]]), score_map)
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(
        self,
        iou_thresholds: tuple[float, ...] = (0.3, 0.5, 0.7),
        num_thresholds: int = 1000,
        convention: str = "default",
        thresholds: Any = None,
        name: str = "max_box_acc_v2",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        for iou_threshold in iou_thresholds:
            check_number("iou_thresholds", iou_threshold)
        check_choice("convention", convention, CONVENTIONS)
        self.iou_thresholds = tuple(iou_thresholds)
        self.convention = convention
        self.thresholds = (
            threshold_grid(num_thresholds)
            if thresholds is None
            else np.asarray(thresholds, "float32")
        )
        self.num_thresholds = num_thresholds = len(self.thresholds)
        self.correct = self.add_weight(
            shape=(len(self.iou_thresholds), num_thresholds),
            initializer="zeros",
            name="correct",
        )
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, true_boxes: Any, score_maps: Any) -> None:
        """Adds a batch.

        Args:
            true_boxes: `(B, M, 4)` in cells of the maps, padded with -1. An image
                without a box counts as wrong.
            score_maps: `(B, H, W)` in [0, 1].
        """
        true_boxes, score_maps = _concrete(true_boxes, score_maps)
        overlap = sweep_best_iou(score_maps, self.thresholds, true_boxes)
        levels = np.array(self.iou_thresholds, "float32")[:, None, None]
        self.correct.assign_add((overlap >= levels).sum(axis=-1))
        self.count.assign_add(len(score_maps))

    def result(self) -> Any:
        best = keras.ops.max(self.correct, axis=1)
        return keras.ops.mean(best) / keras.ops.maximum(self.count, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "iou_thresholds": self.iou_thresholds,
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
            "thresholds": self.thresholds.tolist(),
        }


def _concrete(true_boxes: Any, score_maps: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        arrays = [keras.ops.convert_to_numpy(x) for x in (true_boxes, score_maps)]
    except (NotImplementedError, TypeError, AttributeError) as error:
        raise ValueError(
            "This metric takes concrete arrays, not the symbolic tensors of `compile` "
            "or `tf.function`. Use `evaluation.evaluate`, or the metrics `Top1Loc` "
            "and `GTKnownLoc`."
        ) from error
    boxes, maps = (np.asarray(array, "float32") for array in arrays)
    if boxes.ndim != 3 or maps.ndim != 3 or len(boxes) != len(maps):
        raise ValueError(
            "`true_boxes` must have shape (B, M, 4) and `score_maps` (B, H, W). "
            f"Received: {boxes.shape} and {maps.shape}."
        )
    return boxes, maps
