"""Classification and localization at one threshold, as Keras metrics.

`update_state(batch, out, sample_weight=None)` takes a batch with true `"class_ids"`
`(B,)` and `"boxes"` `(B, M, 4)` in pixels of the images, padded with -1, and the output
of a `Localizer` for its images and true classes. Where that has no `"logits"`, its
`"class_ids"` `(B, K)` are taken for the best classes. A true class that the model does
not have is wrong.
"""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.metrics.functional import (
    iou_of_true_class,
    is_right,
    merge_variables,
    ranks_of,
)
from keras_wsol.models.tune import IOU_THRESHOLD


class MeanOverImages(keras.metrics.Mean):
    """Base: the mean of a value of each image, by default whether it is right."""

    top_k = 0  # if not 0, the true class has to be among so many best ones
    iou_threshold: float | None = None  # if given, the box has to be right

    def update_state(
        self, batch: dict[str, Any], out: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch and the output of a localizer for it."""
        values = ops.cast(self.of_images(batch, out), "float32")
        super().update_state(values, sample_weight)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        """Value of each image `(B,)`."""
        right = True
        if self.top_k:
            right = ranks_of(batch, out, self.top_k) < self.top_k
        if self.iou_threshold is not None:
            right &= is_right(iou_of_true_class(batch, out), self.iou_threshold)
        return right

    def merge_state(self, metrics: Iterable[keras.metrics.Metric]) -> None:
        """Adds the images that other metrics with the same arguments have seen."""
        merge_variables(self, metrics)

    def get_config(self) -> dict[str, Any]:
        names = [name for name in ("iou_threshold", "top_k") if name in vars(self)]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Cls(MeanOverImages):
    """Share of images whose top class is the true one.

    Args:
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.
    """

    top_k = 1

    def __init__(self, name: str = "top1_cls", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Cls(MeanOverImages):
    """Share of images whose true class is among the top 5.

    Args:
        top_k: Integer. How many of the best classes are looked at. Default 5.
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.

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


@keras.saving.register_keras_serializable(package="keras_wsol")
class GTKnownLoc(MeanOverImages):
    """Share of images whose box of the *true* class is right.

    A box is right if its IoU with any true box is at least `iou_threshold`, and above
    0. Boxes of other classes count as wrong.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.

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


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Loc(MeanOverImages):
    """Share of images whose top class and whose box of that class are both right.

    Args:
        iou_threshold: Float in [0, 1]. See `GTKnownLoc`.
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.
    """

    top_k = 1

    def __init__(
        self,
        iou_threshold: float = IOU_THRESHOLD,
        name: str = "top1_loc",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.iou_threshold = check_number("iou_threshold", iou_threshold)


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top5Loc(MeanOverImages):
    """Share of images with a right box of the true class, if that is among the top 5.

    Args:
        iou_threshold: Float in [0, 1]. See `GTKnownLoc`.
        top_k: Integer. How many of the best classes are looked at. Default 5.
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.
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


@keras.saving.register_keras_serializable(package="keras_wsol")
class MeanBoxIoU(MeanOverImages):
    """Mean IoU of the box of the *true* class with the best true box.

    An image without a box of its true class counts as 0.

    Args:
        **kwargs: Passed on to `keras.metrics.Mean`, as is `name`.
    """

    def __init__(self, name: str = "mean_box_iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def of_images(self, batch: dict[str, Any], out: dict[str, Any]) -> Any:
        return iou_of_true_class(batch, out)
