"""MaxBoxAcc, MaxBoxAccV2 and PxAP."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_number
from keras_wsol.boxes import CONVENTIONS, sweep_best_iou, sweep_largest_boxes
from keras_wsol.boxes.contours import inclusive_iou, whole_boxes
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.metrics.functional import (
    boxes_and_maps,
    check_same_kind,
    concrete,
    grid_of,
    is_right,
    merge_variables,
)


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


@keras.saving.register_keras_serializable(package="keras_wsol")
class PxAP(keras.metrics.Metric):
    """Pixel average precision of score maps against masks (Choe et al., 2020).

    A pixel counts as found at a threshold if its score is at least that; after those
    of the grid, 1 is a threshold, too. Precision and recall are those of all pixels
    of the data set together; the result is the sum over thresholds, falling, of the
    precision times the gain in recall. Pixels to be ignored count nowhere. What is
    kept is how many pixels of the object and of the background have their score
    between two thresholds: memory does not grow with the data set, and counts are
    whole numbers of 64 bits. No published number has been reproduced.

    The published evaluator's `MaskEvaluator` has the same definition, so `convention`
    only says with how many digits scores are compared. It gives percents, stops if no
    image has a pixel of the object (here the result is then 0), and leaves pixels
    below the first threshold out of the recall (there are none if that is 0).

    Args:
        num_thresholds: Integer, size of the grid in [0, 1). Default 1000 [the
            published evaluator].
        convention: `"default"`: scores and thresholds in float32, so that a score
            equal to a threshold reaches it. `"wsolevaluation"`: in float64, as
            published; a score that was rounded down to float32 does not.
        thresholds: Optional sequence of ascending floats in [0, 1), instead of an
            even grid of `num_thresholds`. Scores below the first are found nowhere.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

    Raises:
        ValueError: An argument is out of range, or `update_state` is called on
            symbolic tensors.

    Example:
    >>> metric = PxAP(num_thresholds=10)
    >>> score_map = np.array([[[0.9, 0.5, 0.5, 0.0]]])
    >>> metric.update_state(np.array([[[1, 1, 0, 0]]]), score_map)
    >>> round(metric.result(), 4)  # 1 x 1/2, then 2/3 x 1/2
    0.8333
    """

    def __init__(
        self,
        num_thresholds: int = 1000,
        convention: str = "default",
        thresholds: Any = None,
        name: str = "px_ap",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        check_choice("convention", convention, CONVENTIONS)
        self.convention = convention
        grid = grid_of(num_thresholds, thresholds, convention)
        self.num_thresholds = len(grid)
        self.thresholds = np.append(grid, grid.dtype.type(1))
        self._thresholds_given = thresholds is not None
        self.reset_state()

    def reset_state(self) -> None:
        # Not variables of Keras: their floats are exact up to 2**24 only, their
        # integers up to 2**31, and a data set has more pixels.
        self._object = np.zeros(len(self.thresholds), np.int64)
        self._background = np.zeros(len(self.thresholds), np.int64)
        self._total = 0

    def update_state(
        self, true_masks: Any, score_maps: Any, ignore_masks: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            true_masks: Booleans, or numbers of which those above 0.5 count as true:
                `(B, H, W)`, or `(B, M, H, W)` for M objects an image, whose union
                is taken.
            score_maps: `(B, H, W)` in [0, 1].
            ignore_masks: Optional `(B, H, W)` like `true_masks`: pixels that are
                left out, unless they are of an object.
        """
        true, scores, ignored = self._arrays(true_masks, score_maps, ignore_masks)
        # How many thresholds each score reaches; 0 is outside of every bin.
        reached = np.searchsorted(self.thresholds, scores.ravel(), side="right")
        true, counted = true.ravel(), ~(ignored & ~true).ravel()
        size = len(self.thresholds) + 1
        self._object += np.bincount(reached[true], minlength=size)[1:]
        self._background += np.bincount(reached[counted & ~true], minlength=size)[1:]
        self._total += int(true.sum())

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the pixels that other metrics with the same arguments have seen."""
        metrics = list(metrics)
        for other in metrics:
            check_same_kind(self, other)
        for other in metrics:
            self._object += other._object
            self._background += other._background
            self._total += other._total

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns precision and recall at each of `self.thresholds`, `(T + 1,)` each.

        The last threshold is 1. Precision is NaN where no pixel is found.
        """
        right = self._object[::-1].cumsum()[::-1].astype(np.float64)
        wrong = self._background[::-1].cumsum()[::-1]
        precision = np.full(len(right), np.nan)
        np.divide(right, right + wrong, out=precision, where=right + wrong > 0)
        return precision, right / max(self._total, 1)

    def result(self) -> float:
        precision, recall = (values[::-1] for values in self.curve())
        gained = precision * np.diff(recall, prepend=0.0)
        return float(gained[~np.isnan(gained)].sum())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
            "thresholds": (
                self.thresholds[:-1].tolist() if self._thresholds_given else None
            ),
        }

    def _arrays(
        self, true_masks: Any, score_maps: Any, ignore_masks: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        true, scores = concrete(true_masks, score_maps)
        scores = scores.astype(self.thresholds.dtype)
        true = true > 0.5
        if true.ndim == 4:
            true = true.any(axis=1)
        ignored = np.zeros_like(true)
        if ignore_masks is not None:
            ignored = concrete(ignore_masks)[0] > 0.5
        if not scores.ndim == 3 or not scores.shape == true.shape == ignored.shape:
            raise ValueError(
                "`score_maps` must have shape (B, H, W), `true_masks` (B, H, W) or "
                "(B, M, H, W) and `ignore_masks` (B, H, W). Received: "
                f"{scores.shape}, {np.shape(true_masks)} and {ignored.shape}."
            )
        if not np.all((scores >= 0) & (scores <= 1)):
            raise ValueError("`score_maps` must be in [0, 1] and hold no NaN.")
        return true, scores, ignored
