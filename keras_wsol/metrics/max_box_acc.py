"""MaxBoxAcc and MaxBoxAccV2: localization at the best of many thresholds."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import CONVENTIONS, sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.boxes.wsolevaluation import inclusive_iou, whole_boxes
from keras_wsol.layers.arguments import check_choice, check_number
from keras_wsol.metrics.concrete import concrete
from keras_wsol.metrics.ground_truth import boxes_and_maps
from keras_wsol.metrics.merging import merge_variables
from keras_wsol.metrics.overlap import is_right
from keras_wsol.metrics.thresholds import grid_of


def largest_box_ious(
    true_boxes: np.ndarray,
    score_maps: np.ndarray,
    thresholds: np.ndarray,
    convention: str = "default",
) -> np.ndarray:
    """Overlap of the box at each threshold with the best true box of its image.

    Args:
        true_boxes: `(B, M, 4)` in cells of the maps, padded with -1.
        score_maps: `(B, H, W)` in [0, 1]. By the default convention a map with a NaN
            has no box, which overlaps nothing.
        thresholds: `(T,)`, ascending.
        convention: See `MaxBoxAcc`.

    Returns:
        float32 `(T, B)`; float64 by the published evaluator's rules.

    Raises:
        ValueError: See `MaxBoxAcc`.

    Example:
    >>> score_map = np.array([[[1.0, 0.5, 0.0]]])
    >>> true_boxes = np.array([[[0.0, 0.0, 1.0, 1.0]]])
    >>> largest_box_ious(true_boxes, score_map, np.array([0.0, 0.6])).tolist()
    [[0.5], [1.0]]
    """
    true_boxes, score_maps = boxes_and_maps(true_boxes, score_maps)
    boxes = sweep_largest_boxes(score_maps, thresholds, convention).transpose(1, 0, 2)
    if convention != "default":
        whole, boxes = whole_boxes(true_boxes), boxes.astype(np.int64)
        ious = [inclusive_iou(*pair) for pair in zip(boxes, whole, strict=True)]
        shape = (len(boxes), len(thresholds), whole.shape[1])
        return np.reshape(ious, shape).max(axis=-1, initial=0).T
    overlap = pairwise_iou(boxes, true_boxes.astype("float32"), np)  # (B, T, M)
    return overlap.max(axis=-1, initial=0).T


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAcc(keras.metrics.Metric):
    """Localization accuracy at the best score-map threshold (Choe et al., 2020).

    For each threshold, the share of images whose box (of the largest component)
    has an IoU of at least `iou_threshold`, and above 0, with a true box; then the
    maximum over thresholds, one threshold for the whole data set. With the maps of
    the true classes it is GT-known Loc at the oracle threshold. Memory does not grow
    with the data set. No published number has been reproduced.

    Args:
        iou_threshold: Float in [0, 1].
        num_thresholds: Integer, size of the grid in [0, 1). Default 1000 [the
            published evaluator].
        convention: `"default"`: exact boxes of 8-connected components, the largest
            by number of cells, far edge exclusive. `"wsolevaluation"`: the boxes and
            the overlap of the published evaluator to the last digit, from the maps
            and the scaled true boxes on: 255 grey values, the largest contour by
            `contourArea`, whole true boxes, both far edges inside, everything right
            at an `iou_threshold` of 0. Maps must be in [0, 1] there. An image
            without a true box, on which that evaluator stops, counts as wrong.
        thresholds: Optional sequence of ascending floats in [0, 1), instead of an
            even grid of `num_thresholds`.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

    Raises:
        ValueError: An argument is out of range, or `update_state` is called with bad
            boxes or maps, or on symbolic tensors: the boxes of all thresholds come
            from one compiled sweep over concrete arrays.

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
        thresholds: Any = None,
        name: str = "max_box_acc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("convention", convention, CONVENTIONS)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)
        self.convention = convention
        self.thresholds = grid_of(num_thresholds, thresholds, convention)
        self._thresholds_given = thresholds is not None
        self.num_thresholds = len(self.thresholds)
        self.correct = self.add_weight(
            shape=(self.num_thresholds,), initializer="zeros", name="correct"
        )
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, true_boxes: Any, score_maps: Any) -> None:
        """Adds a batch.

        Args:
            true_boxes: `(B, M, 4)` in cells of the maps, padded with -1. An image
                without a box counts as wrong.
            score_maps: `(B, H, W)` in [0, 1]. A map with a NaN has no box.

        Raises:
            ValueError: A shape does not fit, a true box is not finite or has its far
                edge before its near one, a score is outside [0, 1], or NaN where
                `convention` is `"wsolevaluation"`; or tensors are symbolic.
        """
        true_boxes, score_maps = concrete(true_boxes, score_maps)
        overlap = largest_box_ious(
            true_boxes, score_maps, self.thresholds, self.convention
        )
        right = _right(overlap, self.iou_threshold, self.convention, true_boxes)
        self.correct.assign_add(right.sum(axis=-1))
        self.count.assign_add(len(score_maps))

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def curve(self) -> np.ndarray:
        """Returns the accuracy at each of `self.thresholds`, `(T,)`."""
        return _shares(self.correct, self.count)

    def result(self) -> float:
        return float(self.curve().max())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "iou_threshold": self.iou_threshold,
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
            "thresholds": (
                self.thresholds.tolist() if self._thresholds_given else None
            ),
        }


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAccV2(keras.metrics.Metric):
    """MaxBoxAcc averaged over IoU 0.3, 0.5 and 0.7 (Choe et al., 2020).

    Each IoU has a best threshold of its own, and an image is right at a threshold if
    the best of *all* its components is. Memory does not grow with the data set.

    Published for CUB-200-2011's test split [Choe et al., 2020]: a centred Gaussian as
    every score map gets 59.7 percent, which `evaluation.evaluate` measures as a
    baseline. Not measured here: the full set is not at hand.

    Args:
        iou_thresholds: Sequence of floats in [0, 1]. Default 0.3, 0.5, 0.7.
        num_thresholds: See `MaxBoxAcc`.
        convention: See `MaxBoxAcc`. By the published evaluator's rules the boxes are
            those of all contours, which are also those around holes.
        thresholds: See `MaxBoxAcc`.
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
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        num_thresholds: int = 1000,
        convention: str = "default",
        thresholds: Any = None,
        name: str = "max_box_acc_v2",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("convention", convention, CONVENTIONS)
        self.iou_thresholds = tuple(
            check_number("iou_thresholds", each) for each in iou_thresholds
        )
        if not self.iou_thresholds:
            raise ValueError("`iou_thresholds` must not be empty. Received: ().")
        self.convention = convention
        self.thresholds = grid_of(num_thresholds, thresholds, convention)
        self._thresholds_given = thresholds is not None
        self.num_thresholds = len(self.thresholds)
        self.correct = self.add_weight(
            shape=(len(self.iou_thresholds), self.num_thresholds),
            initializer="zeros",
            name="correct",
        )
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, true_boxes: Any, score_maps: Any) -> None:
        """Adds a batch.

        Args:
            true_boxes: `(B, M, 4)` in cells of the maps, padded with -1. An image
                without a box counts as wrong.
            score_maps: `(B, H, W)` in [0, 1]. A map with a NaN has no box.

        Raises:
            ValueError: A shape does not fit, a true box is not finite or has its far
                edge before its near one, a score is outside [0, 1], or NaN where
                `convention` is `"wsolevaluation"`; or tensors are symbolic.
        """
        true_boxes, score_maps = boxes_and_maps(true_boxes, score_maps)
        overlap = sweep_best_iou(
            score_maps, self.thresholds, true_boxes, self.convention
        )
        levels = np.array(self.iou_thresholds, overlap.dtype)[:, None, None]
        right = _right(overlap, levels, self.convention, true_boxes)
        self.correct.assign_add(right.sum(axis=-1))
        self.count.assign_add(len(score_maps))

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def curve(self) -> np.ndarray:
        """Returns the accuracy by IoU and threshold, `(len(iou_thresholds), T)`."""
        return _shares(self.correct, self.count)

    def result(self) -> float:
        return float(self.curve().max(axis=1).mean())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "iou_thresholds": self.iou_thresholds,
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
            "thresholds": (
                self.thresholds.tolist() if self._thresholds_given else None
            ),
        }


def _right(
    overlap: np.ndarray, iou_threshold: Any, convention: str, true_boxes: np.ndarray
) -> np.ndarray:
    if convention == "default":
        return is_right(overlap, iou_threshold)
    has_box = (true_boxes >= 0).any(axis=(1, 2))
    return (overlap >= iou_threshold) & has_box


def _shares(correct: Any, count: Any) -> np.ndarray:
    correct, count = concrete(*map(keras.ops.convert_to_tensor, (correct, count)))
    return correct.astype(np.float64) / max(float(count), 1.0)
