"""Classification and localization at one threshold, as Keras metrics."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_number
from keras_wsol.metrics.functional import (
    best_iou,
    check_ranked,
    check_top_k,
    image_weights,
    is_right,
    is_true_class,
    merge_variables,
)

# Keras' own accuracies take logits or probabilities of every class. These take what a
# `Localizer` gives, so that they stand beside `Top1Loc` and `Top5Loc` in one table, and
# leave out images that could not be read.


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Cls(keras.metrics.Mean):
    """Share of images whose top class is the true one.

    Images whose true class is below 0 (they could not be read: -1) do not count; one
    whose true class the model does not have is wrong.

    Args:
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Example:
    >>> import numpy as np
    >>> metric = Top1Cls()
    >>> truth = {"class_ids": np.array([1, 2, -1])}
    >>> metric.update_state(truth, {"class_ids": np.array([[1], [0], [0]])})
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "top1_cls", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` called without `class_ids`.
            sample_weight: Optional `(B,)`.
        """
        right = is_true_class(y_true, y_pred, 1)[:, 0]
        super().update_state(
            ops.cast(right, "float32"), image_weights(y_true, sample_weight)
        )

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics of this kind have seen."""
        merge_variables(self, metrics)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Cls(keras.metrics.Mean):
    """Share of images whose true class is among the top 5.

    Images whose true class is below 0 (they could not be read: -1) do not count; one
    whose true class the model does not have is wrong.

    Args:
        top_k: Integer, how many of the best classes are looked at. Default 5.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Raises:
        ValueError: `top_k` is out of range, or a prediction has fewer classes.

    Example:
    >>> import numpy as np
    >>> metric = Top5Cls(top_k=2)
    >>> truth = {"class_ids": np.array([1, 2, -1])}
    >>> found = {"class_ids": np.array([[0, 1], [0, 1], [0, 1]])}
    >>> metric.update_state(truth, found)
    >>> float(metric.result())
    0.5
    """

    def __init__(self, top_k: int = 5, name: str = "top5_cls", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.top_k = check_top_k(top_k)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` with `top_k` classes or more, called
                without `class_ids`.
            sample_weight: Optional `(B,)`.
        """
        check_ranked(y_pred, self.top_k)
        right = ops.any(is_true_class(y_true, y_pred, self.top_k), axis=1)
        super().update_state(
            ops.cast(right, "float32"), image_weights(y_true, sample_weight)
        )

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "top_k": self.top_k}


# These work in a graph and on any backend. Keras gives a metric of `compile` one output
# of a model at a time, and these need two, classes and boxes: `MeasuredLocalizer` hands
# its whole output over, and the boxes of the true classes to those that ask for them.
#
# What stands here for all: a true class below 0, that of an image that could not be
# read, does not count; one that no prediction has, such as an id that the model does
# not know, is wrong.


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Loc(keras.metrics.Mean):
    """Share of images whose top class and whose box of that class are both right.

    A box is right if its IoU with any true box is at least `iou_threshold`, and above
    0. Images whose true class is -1 (they could not be read) do not count.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Raises:
        ValueError: `iou_threshold` is out of range.

    Example:
    >>> import numpy as np
    >>> metric = Top1Loc()
    >>> truth = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": [1]}
    >>> found = {"boxes": np.array([[[0.0, 0.0, 4.0, 3.0]]]),
    ...          "class_ids": np.array([[1]])}
    >>> metric.update_state(truth, found)
    >>> float(metric.result())
    1.0
    """

    def __init__(
        self, iou_threshold: float = 0.5, name: str = "top1_loc", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"boxes"` `(B, M, 4)` padded with -1, and `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` called without `class_ids`, on images in
                whose pixels the true boxes are.
            sample_weight: Optional `(B,)`.
        """
        overlap = _overlap_of_true_class(y_true, y_pred, top_k=1)
        super().update_state(
            ops.cast(is_right(overlap, self.iou_threshold), "float32"),
            image_weights(y_true, sample_weight),
        )

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Loc(keras.metrics.Mean):
    """Share of images with a right box of the true class, if that is among the top 5.

    A box is right if its IoU with any true box is at least `iou_threshold`, and above
    0. Images whose true class is -1 (they could not be read) do not count.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        top_k: Integer, how many of the best classes are looked at. Default 5.
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Raises:
        ValueError: An argument is out of range, or a prediction has fewer classes.

    Example:
    >>> import numpy as np
    >>> metric = Top5Loc(top_k=2)
    >>> truth = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": [1]}
    >>> found = {"boxes": np.array([[[8.0, 8.0, 9.0, 9.0], [0.0, 0.0, 4.0, 3.0]]]),
    ...          "class_ids": np.array([[0, 1]])}
    >>> metric.update_state(truth, found)
    >>> float(metric.result())
    1.0
    """

    def __init__(
        self,
        iou_threshold: float = 0.5,
        top_k: int = 5,
        name: str = "top5_loc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)
        self.top_k = check_top_k(top_k)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"boxes"` `(B, M, 4)` padded with -1, and `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` with `top_k` classes or more, called
                without `class_ids`, on images in whose pixels the true boxes are.
            sample_weight: Optional `(B,)`.
        """
        check_ranked(y_pred, self.top_k)
        overlap = _overlap_of_true_class(y_true, y_pred, self.top_k)
        super().update_state(
            ops.cast(is_right(overlap, self.iou_threshold), "float32"),
            image_weights(y_true, sample_weight),
        )

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "iou_threshold": self.iou_threshold,
            "top_k": self.top_k,
        }


@keras.saving.register_keras_serializable(package="keras_wsol")
class GTKnownLoc(keras.metrics.Mean):
    """Share of images whose box of the *true* class is right.

    The class is given, so only localization is measured. A box is right if its IoU
    with any true box is at least `iou_threshold`, and above 0. Images whose true
    class is -1 (they could not be read) do not count.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Raises:
        ValueError: `iou_threshold` is out of range.

    Example:
    >>> import numpy as np
    >>> metric = GTKnownLoc()
    >>> truth = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": [1]}
    >>> found = {"boxes": np.array([[[0.0, 0.0, 4.0, 1.0]]]),
    ...          "class_ids": np.array([[1]])}
    >>> metric.update_state(truth, found)
    >>> float(metric.result())
    0.0
    """

    def __init__(
        self, iou_threshold: float = 0.5, name: str = "gt_known_loc", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"boxes"` `(B, M, 4)` padded with -1, and `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` called with the true `class_ids`, on
                images in whose pixels the true boxes are. Boxes of another class
                count as wrong; where the true class comes more than once, its first
                box counts.
            sample_weight: Optional `(B,)`.
        """
        overlap = _overlap_of_true_class(y_true, y_pred)
        super().update_state(
            ops.cast(is_right(overlap, self.iou_threshold), "float32"),
            image_weights(y_true, sample_weight),
        )

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


@keras.saving.register_keras_serializable(package="keras_wsol")
class MeanBoxIoU(keras.metrics.Mean):
    """Mean IoU of the box of the *true* class with the best true box.

    It tells boxes that are nearly right from those that are far off, which
    `GTKnownLoc` does not. Images whose true class is -1 (they could not be read) do
    not count; an image without a box of its true class counts as 0.

    Args:
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Example:
    >>> import numpy as np
    >>> metric = MeanBoxIoU()
    >>> truth = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": [1]}
    >>> found = {"boxes": np.array([[[0.0, 0.0, 4.0, 1.0]]]),
    ...          "class_ids": np.array([[1]])}
    >>> metric.update_state(truth, found)
    >>> float(metric.result())
    0.25
    """

    def __init__(self, name: str = "mean_box_iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch; the arguments are those of `GTKnownLoc`."""
        overlap = _overlap_of_true_class(y_true, y_pred)
        super().update_state(overlap, image_weights(y_true, sample_weight))

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics of this kind have seen."""
        merge_variables(self, metrics)


def _overlap_of_true_class(
    y_true: dict[str, Any], y_pred: dict[str, Any], top_k: int | None = None
) -> Any:
    """IoU `(B,)` of the box of the true class with the best true box."""
    of_true_class = is_true_class(y_true, y_pred, top_k)
    first = ops.argmax(ops.cast(of_true_class, "int32"), axis=1)
    boxes = ops.cast(y_pred["boxes"], "float32")
    chosen = ops.take_along_axis(boxes, first[:, None, None], axis=1)[:, 0]
    overlap = best_iou(chosen, y_true["boxes"])
    return ops.where(ops.any(of_true_class, axis=1), overlap, 0.0)
