"""MaxBoxAcc, MaxBoxAccV2 and PxAP: measures over all thresholds of score maps."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_number
from keras_wsol.boxes import sweep_best_iou
from keras_wsol.boxes.contours import CONVENTIONS
from keras_wsol.metrics.functional import (
    IOU_THRESHOLD,
    V2_IOU_THRESHOLDS,
    check_same_kind,
    checked_maps,
    concrete,
    is_right,
    largest_boxes_and_iou,
    merge_variables,
    pixel_counts,
    threshold_grid,
)


class OverThresholds(keras.metrics.Metric):
    """Base of the three: a convention, thresholds, and their configuration."""

    def __init__(
        self,
        num_thresholds: int,
        convention: str,
        thresholds: Sequence[float] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.convention = check_choice("convention", convention, CONVENTIONS)
        self.thresholds = threshold_grid(num_thresholds, thresholds, convention)
        self.num_thresholds = len(self.thresholds)
        self._given = None if thresholds is None else self.thresholds.tolist()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "convention": self.convention,
            "thresholds": self._given,
        }


class BoxAccuracy(OverThresholds):
    """Base of `MaxBoxAcc` and `MaxBoxAccV2`: counts by IoU and threshold."""

    def __init__(self, iou_thresholds: Sequence[float], *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._levels = np.array(iou_thresholds, self.thresholds.dtype)[:, None, None]
        shape = (len(iou_thresholds), self.num_thresholds)
        self.correct = self.add_weight(shape=shape, initializer="zeros", name="correct")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, true_boxes: Any, score_maps: Any) -> None:
        """Adds a batch.

        Args:
            true_boxes: `(B, M, 4)` in cells of the maps, padded with -1. An image
                without a box counts as wrong.
            score_maps: `(B, H, W)` in [0, 1]. A map with a NaN has no box.

        Raises:
            ValueError: A shape, a true box or a score is not as it must be (a NaN, too,
                if `convention` is `"wsolevaluation"`), or tensors are symbolic.
        """
        true_boxes, score_maps = checked_maps(true_boxes, score_maps)
        overlap = self.overlap(true_boxes, score_maps)  # (T, B)
        right = is_right(overlap, self._levels)
        if self.convention != "default":  # there, no overlap is right at an IoU of 0
            right = (overlap >= self._levels) & (true_boxes >= 0).any(axis=(1, 2))
        self.correct.assign_add(right.sum(axis=-1))
        self.count.assign_add(len(score_maps))

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        """IoU `(T, B)` that decides at each threshold."""
        raise NotImplementedError

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def curve(self) -> np.ndarray:
        """Returns the accuracy at each of `self.thresholds`, by IoU if several."""
        tensors = map(keras.ops.convert_to_tensor, (self.correct, self.count))
        correct, count = concrete(*tensors)
        return correct.astype(np.float64) / max(float(count), 1.0)

    def result(self) -> float:
        return float(np.atleast_2d(self.curve()).max(axis=1).mean())


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAcc(BoxAccuracy):
    """Localization accuracy at the best score-map threshold (Choe et al., 2020).

    For each threshold, the share of images whose box (of the largest component) has
    an IoU of at least `iou_threshold`, and above 0, with a true box; then the maximum
    over thresholds. With the maps of the true classes it is GT-known Loc at the oracle
    threshold. Memory does not grow with the data set.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5.
        num_thresholds: Integer. Size of the grid in [0, 1). Default 1000 [the
            published evaluator].
        convention: `"default"`: exact boxes of 8-connected components, the largest by
            cells, far edges exclusive. `"wsolevaluation"`: the published evaluator to
            the last digit, from maps in [0, 1] on; see `boxes.sweep_best_iou`.
        thresholds: Optional sequence of ascending floats in [0, 1), instead of the
            grid.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

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
        iou_threshold: float = IOU_THRESHOLD,
        num_thresholds: int = 1000,
        convention: str = "default",
        thresholds: Sequence[float] | None = None,
        name: str = "max_box_acc",
        **kwargs: Any,
    ) -> None:
        self.iou_threshold = check_number("iou_threshold", iou_threshold)
        levels, grid = (self.iou_threshold,), (num_thresholds, convention, thresholds)
        super().__init__(levels, *grid, name=name, **kwargs)

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        arguments = (true_boxes, score_maps, self.thresholds, self.convention)
        return largest_boxes_and_iou(*arguments)[1].T

    def curve(self) -> np.ndarray:
        return super().curve()[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAccV2(BoxAccuracy):
    """MaxBoxAcc averaged over IoU 0.3, 0.5 and 0.7 (Choe et al., 2020).

    Each IoU has a best threshold of its own, and an image is right at a threshold if
    the best of *all* its components is. Memory does not grow with the data set.

    Args:
        iou_thresholds: Sequence of floats in [0, 1]. Default 0.3, 0.5, 0.7.
        num_thresholds: Integer. See `MaxBoxAcc`.
        convention: See `MaxBoxAcc`. By the published evaluator's rules the boxes are
            those of all contours, also of those around holes.
        thresholds: See `MaxBoxAcc`.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).
    """

    def __init__(
        self,
        iou_thresholds: Sequence[float] = V2_IOU_THRESHOLDS,
        num_thresholds: int = 1000,
        convention: str = "default",
        thresholds: Sequence[float] | None = None,
        name: str = "max_box_acc_v2",
        **kwargs: Any,
    ) -> None:
        levels = tuple(check_number("iou_thresholds", each) for each in iou_thresholds)
        if not levels:
            raise ValueError("`iou_thresholds` must not be empty. Received: ().")
        self.iou_thresholds = levels
        grid = (num_thresholds, convention, thresholds)
        super().__init__(levels, *grid, name=name, **kwargs)

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        arguments = (score_maps, self.thresholds, true_boxes, self.convention)
        return sweep_best_iou(*arguments)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_thresholds": self.iou_thresholds}


@keras.saving.register_keras_serializable(package="keras_wsol")
class PxAP(OverThresholds):
    """Pixel average precision of score maps against segmentations (Choe et al., 2020).

    A pixel is found at a threshold if its score is at least that; 1 is the last
    threshold. Precision and recall are those of all pixels of the data set together;
    the result is the sum over falling thresholds of the precision times the gain in
    recall. Memory does not grow with the data set, and counts are exact.

    Args:
        num_thresholds: Integer. Size of the grid in [0, 1). Default 1000 [the
            published evaluator].
        convention: `"default"`: scores and thresholds in float32, so that a score
            equal to a threshold reaches it. `"wsolevaluation"`: in float64, as
            published; a score that was rounded down to float32 does not.
        thresholds: See `MaxBoxAcc`. Scores below the first are found nowhere.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Metric` (`dtype`).

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
        thresholds: Sequence[float] | None = None,
        name: str = "px_ap",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_thresholds, convention, thresholds, name=name, **kwargs)
        self.thresholds = np.append(self.thresholds, self.thresholds.dtype.type(1))
        self.reset_state()

    def reset_state(self) -> None:
        # Not variables of Keras: their floats are exact up to 2**24 only, their
        # integers up to 2**31, and a data set has more pixels.
        self._object, self._background = np.zeros((2, len(self.thresholds)), np.int64)
        self._total = 0

    def update_state(
        self, segmentations: Any, score_maps: Any, ignored: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            segmentations: Booleans, or numbers of which those above 0.5 count as true:
                `(B, H, W)`, or `(B, M, H, W)` for M objects an image, whose union is
                taken.
            score_maps: `(B, H, W)` in [0, 1].
            ignored: Optional `(B, H, W)` like `segmentations`: pixels that are left
                out, unless they are of an object.

        Raises:
            ValueError: A shape or a score is not as above, or tensors are symbolic.
        """
        true, scores = concrete(segmentations, score_maps)
        scores, true = scores.astype(self.thresholds.dtype), true > 0.5
        if true.ndim == 4:
            true = true.any(axis=1)
        left_out = (
            np.zeros_like(true) if ignored is None else concrete(ignored)[0] > 0.5
        )
        if scores.ndim != 3 or not scores.shape == true.shape == left_out.shape:
            raise ValueError(
                "`score_maps` must have shape (B, H, W), `segmentations` (B, H, W) or "
                "(B, M, H, W) and `ignored` (B, H, W). Received: "
                f"{scores.shape}, {np.shape(segmentations)} and {left_out.shape}."
            )
        if not np.all((scores >= 0) & (scores <= 1)):
            raise ValueError("`score_maps` must be in [0, 1] and hold no NaN.")
        self._object += pixel_counts(self.thresholds, scores, true)
        self._background += pixel_counts(self.thresholds, scores, ~true & ~left_out)
        self._total += int(true.sum())

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the pixels that other metrics with the same arguments have seen."""
        for other in check_same_kind(self, metrics):
            self._object += other._object
            self._background += other._background
            self._total += other._total

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns precision (NaN where no pixel is found) and recall by threshold."""
        right = self._object[::-1].cumsum()[::-1].astype(np.float64)
        wrong = self._background[::-1].cumsum()[::-1]
        precision = np.full(len(right), np.nan)
        np.divide(right, right + wrong, out=precision, where=right + wrong > 0)
        return precision, right / max(self._total, 1)

    def result(self) -> float:
        precision, recall = (values[::-1] for values in self.curve())
        gained = precision * np.diff(recall, prepend=0.0)
        return float(gained[~np.isnan(gained)].sum())
