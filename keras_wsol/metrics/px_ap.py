"""PxAP: how well score maps tell pixels of the object from the others."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import CONVENTIONS
from keras_wsol.layers.arguments import check_choice
from keras_wsol.metrics.concrete import concrete
from keras_wsol.metrics.merging import check_same_kind
from keras_wsol.metrics.thresholds import grid_of


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
