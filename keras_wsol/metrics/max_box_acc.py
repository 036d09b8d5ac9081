"""MaxBoxAcc, MaxBoxAccV2 and PxAP: measures over all thresholds of score maps."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_number
from keras_wsol.boxes import sweep_best_iou
from keras_wsol.boxes.sweep import CONVENTIONS
from keras_wsol.metrics import functional
from keras_wsol.metrics.functional import V2_IOU_THRESHOLDS
from keras_wsol.models.tune import IOU_THRESHOLD


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
        self.thresholds = functional.threshold_grid(
            num_thresholds, thresholds, convention
        )
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
        """Adds true boxes `(B, M, 4)`, padded with -1, and score maps `(B, H, W)`."""
        true_boxes, score_maps = functional.checked_maps(true_boxes, score_maps)
        overlap = self.overlap(true_boxes, score_maps)  # (T, B)
        right = functional.is_right(overlap, self._levels)
        if self.convention != "default":  # there, no overlap is right at an IoU of 0
            right = (overlap >= self._levels) & (true_boxes >= 0).any(axis=(1, 2))
        self.correct.assign_add(right.sum(axis=-1))
        self.count.assign_add(len(score_maps))

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        """IoU `(T, B)` that decides at each threshold."""
        raise NotImplementedError

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        functional.merge_variables(self, metrics)

    def curve(self) -> np.ndarray:
        """Returns the accuracy at each of `self.thresholds`, by IoU if several."""
        correct, count = functional.concrete(self.correct.value, self.count.value)
        return correct.astype(np.float64) / max(float(count), 1.0)

    def result(self) -> float:
        return float(np.atleast_2d(self.curve()).max(axis=1).mean())


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAcc(BoxAccuracy):
    """Localization accuracy at the best score-map threshold (Choe et al., 2020).

    For each threshold, the share of images whose box (of the largest component) has
    an IoU of at least `iou_threshold`, and above 0, with a true box; then the maximum
    over thresholds. With the maps of the true classes it is GT-known Loc at the oracle
    threshold. An image without a true box counts as wrong, a map with a NaN has no box.
    Memory does not grow with the data set.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5.
        num_thresholds: Integer. Size of the grid in [0, 1). Default 1000 [published].
        convention: `"default"`: exact boxes of 8-connected components, the largest by
            cells, far edges exclusive. `"wsolevaluation"`: the published evaluator to
            the last digit. `"adl"`: the evaluator of ADL's code, at its seven
            thresholds unless others are given. Maps must then be in [0, 1] without NaN.
        thresholds: Optional ascending floats in [0, 1), instead of the grid.
        **kwargs: Passed on to `keras.metrics.Metric`, as is `name`.

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
        grid = (num_thresholds, convention, thresholds)
        super().__init__((self.iou_threshold,), *grid, name=name, **kwargs)

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        grid = (self.thresholds, self.convention)
        return functional.largest_boxes_and_iou(true_boxes, score_maps, *grid)[1].T

    def curve(self) -> np.ndarray:
        return super().curve()[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


@keras.saving.register_keras_serializable(package="keras_wsol")
class MaxBoxAccV2(BoxAccuracy):
    """MaxBoxAcc averaged over IoU 0.3, 0.5 and 0.7 (Choe et al., 2020).

    Each IoU has a best threshold of its own, and an image is right at a threshold if
    the best of *all* its components is.

    Args:
        iou_thresholds: Sequence of floats in [0, 1]. Default 0.3, 0.5, 0.7.
        num_thresholds: Integer. See `MaxBoxAcc`.
        convention: See `MaxBoxAcc`. The published boxes are of holes' contours, too.
        thresholds: See `MaxBoxAcc`.
        **kwargs: Passed on to `keras.metrics.Metric`, as is `name`.
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
        check_choice("convention", convention, CONVENTIONS[:2])  # ADL's has one box
        grid = (num_thresholds, convention, thresholds)
        super().__init__(levels, *grid, name=name, **kwargs)

    def overlap(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> np.ndarray:
        return sweep_best_iou(score_maps, self.thresholds, true_boxes, self.convention)

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
        num_thresholds: Integer. See `MaxBoxAcc`.
        convention: `"default"`: scores and thresholds in float32, so that a score
            equal to a threshold reaches it. `"wsolevaluation"`: in float64, as
            published; a score that was rounded down to float32 does not.
        thresholds: See `MaxBoxAcc`. Scores below the first are found nowhere.
        **kwargs: Passed on to `keras.metrics.Metric`, as is `name`.

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
        check_choice("convention", convention, CONVENTIONS[:2])
        super().__init__(num_thresholds, convention, thresholds, name=name, **kwargs)
        self.thresholds = np.append(self.thresholds, self.thresholds.dtype.type(1))
        self.reset_state()

    def reset_state(self) -> None:
        # Pixels of objects and of the background, by how many thresholds they reach. No
        # variable of Keras: its floats are exact up to 2**24, its integers to 2**31.
        self._counts = np.zeros((2, len(self.thresholds) + 1), np.int64)

    def update_state(
        self, segmentations: Any, score_maps: Any, ignored: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            segmentations: `(B, H, W)`, or `(B, M, H, W)` for the union of M objects.
                Booleans, or numbers of which those above 0.5 count as true.
            score_maps: `(B, H, W)` in [0, 1].
            ignored: Optional `(B, H, W)`. Pixels left out unless they are of an object.

        Raises:
            ValueError: A shape or a score is not as above, or tensors are symbolic.
        """
        true, scores = functional.concrete(segmentations, score_maps)
        scores, true = scores.astype(self.thresholds.dtype), true > 0.5
        true = true.any(axis=1) if true.ndim == 4 else true
        ignored = np.zeros_like(true) if ignored is None else ignored
        left_out = functional.concrete(ignored)[0] > 0.5
        if scores.ndim != 3 or not scores.shape == true.shape == left_out.shape:
            raise ValueError(
                "`score_maps` must have shape (B, H, W), `segmentations` (B, H, W) or "
                "(B, M, H, W) and `ignored` (B, H, W). Received: "
                f"{scores.shape}, {np.shape(segmentations)} and {left_out.shape}."
            )
        if not np.all((scores >= 0) & (scores <= 1)):
            raise ValueError("`score_maps` must be in [0, 1] and hold no NaN.")
        reached = np.searchsorted(self.thresholds, scores, side="right")
        kinds = (true, ~true & ~left_out)
        for counts, pixels in zip(self._counts, kinds, strict=True):
            counts += np.bincount(reached[pixels], minlength=len(counts))

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the pixels that other metrics with the same arguments have seen."""
        for other in functional.check_same_kind(self, metrics):
            self._counts += other._counts

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns precision (NaN where no pixel is found) and recall by threshold."""
        right, wrong = self._counts[:, :0:-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
        precision = np.full(len(right), np.nan)
        np.divide(right, right + wrong, out=precision, where=right + wrong > 0)
        return precision, right / max(self._counts[0].sum(), 1)

    def result(self) -> float:
        precision, recall = (values[::-1] for values in self.curve())
        gained = precision * np.diff(recall, prepend=0.0)
        return float(gained[~np.isnan(gained)].sum())
