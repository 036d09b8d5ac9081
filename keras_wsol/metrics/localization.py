"""Classification and localization at one threshold, as Keras metrics."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.metrics.functional import (
    IOU_THRESHOLD,
    iou_of_true_class,
    is_right,
    merge_variables,
    ranks_of,
)

# Keras' own accuracies take logits or probabilities of every class. These take what a
# `Localizer` gives, so that they stand beside `Top1Loc` and `Top5Loc`.


class MeanOverImages(keras.metrics.Mean):
    """Base of the metrics that take a batch and the output of a `Localizer`.

    Works in a graph, on any backend, and with `Localizer.compile(metrics=[...])`. A
    true class that the model does not have is wrong.
    """

    top_k = 1

    def update_state(
        self, batch: dict[str, Any], out: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            batch: True `"class_ids"` `(B,)` and, for boxes, `"boxes"` `(B, M, 4)` in
                pixels of the images, padded with -1.
            out: Output of a `Localizer` for the images and their true `class_ids`:
                `"class_ids"` and `"boxes"` of these, and `"logits"`. Without
                `"logits"`, its `"class_ids"` `(B, K)` are taken for the best classes.
            sample_weight: Optional `(B,)`.

        Raises:
            ValueError: There are neither logits nor enough classes.
        """
        values = ops.cast(self.of_images(batch, out), "float32")
        super().update_state(values, sample_weight)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        """Value of each image `(B,)`."""
        raise NotImplementedError

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def in_top_k(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        """Says whether the true class is among the best `top_k`."""
        return ranks_of(batch, out, self.top_k) < self.top_k

    def right_box(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        """Says whether the box of the true class is right."""
        return is_right(iou_of_true_class(batch, out), self.iou_threshold)

    def get_config(self) -> dict[str, Any]:
        names = [name for name in ("iou_threshold", "top_k") if name in vars(self)]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Cls(MeanOverImages):
    """Share of images whose top class is the true one.

    Args:
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Example:
    >>> import numpy as np
    >>> metric = Top1Cls()
    >>> metric.update_state({"class_ids": np.array([1, 2])},
    ...                     {"class_ids": np.array([[1], [0]])})
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "top1_cls", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return self.in_top_k(batch, out)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Cls(MeanOverImages):
    """Share of images whose true class is among the top 5.

    Args:
        top_k: Integer. How many of the best classes are looked at. Default 5.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Example:
    >>> import numpy as np
    >>> metric = Top5Cls(top_k=2)
    >>> metric.update_state({"class_ids": np.array([1, 2])},
    ...                     {"logits": np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])})
    >>> float(metric.result())
    0.5
    """

    def __init__(self, top_k: int = 5, name: str = "top5_cls", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.top_k = check_integer("top_k", top_k)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return self.in_top_k(batch, out)


@keras.saving.register_keras_serializable(package="keras_wsol")
class GTKnownLoc(MeanOverImages):
    """Share of images whose box of the *true* class is right.

    A box is right if its IoU with any true box is at least `iou_threshold`, and above
    0. Boxes of other classes count as wrong.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

    Example:
    >>> import numpy as np
    >>> metric = GTKnownLoc()
    >>> batch = {"boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]]), "class_ids": [1]}
    >>> out = {"boxes": np.array([[[0.0, 0.0, 4.0, 3.0]]]),
    ...        "class_ids": np.array([[1]])}
    >>> metric.update_state(batch, out)
    >>> float(metric.result())
    1.0
    """

    def __init__(
        self,
        iou_threshold: float = IOU_THRESHOLD,
        name: str = "gt_known_loc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return self.right_box(batch, out)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Loc(MeanOverImages):
    """Share of images whose top class and whose box of that class are both right.

    Args:
        iou_threshold: Float in [0, 1]. See `GTKnownLoc`.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).
    """

    def __init__(
        self,
        iou_threshold: float = IOU_THRESHOLD,
        name: str = "top1_loc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return self.in_top_k(batch, out) & self.right_box(batch, out)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Loc(MeanOverImages):
    """Share of images with a right box of the true class, if that is among the top 5.

    Args:
        iou_threshold: Float in [0, 1]. See `GTKnownLoc`.
        top_k: Integer. How many of the best classes are looked at. Default 5.
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).
    """

    def __init__(
        self,
        iou_threshold: float = IOU_THRESHOLD,
        top_k: int = 5,
        name: str = "top5_loc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)
        self.top_k = check_integer("top_k", top_k)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return self.in_top_k(batch, out) & self.right_box(batch, out)


@keras.saving.register_keras_serializable(package="keras_wsol")
class MeanBoxIoU(MeanOverImages):
    """Mean IoU of the box of the *true* class with the best true box.

    An image without a box of its true class counts as 0.

    Args:
        name: String. Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).
    """

    def __init__(self, name: str = "mean_box_iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return iou_of_true_class(batch, out)
