"""Top-1 Loc and GT-known Loc as Keras metrics."""

from typing import Any

import keras
from keras import ops

from keras_wsol.layers.arguments import check_number
from keras_wsol.metrics.overlap import best_iou


@keras.saving.register_keras_serializable(package="keras_wsol")
class Top1Loc(keras.metrics.Mean):
    """Share of images whose top class and whose box of that class are both right.

    A box is right if its IoU with any true box is at least `iou_threshold`. Images
    whose true class is -1 (they could not be read) do not count.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

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
        check_number("iou_threshold", iou_threshold)
        self.iou_threshold = iou_threshold

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
        true_ids = ops.cast(y_true["class_ids"], "int32")
        right = ops.logical_and(
            ops.cast(y_pred["class_ids"], "int32")[:, 0] == true_ids,
            best_iou(y_pred["boxes"][:, 0], y_true["boxes"]) >= self.iou_threshold,
        )
        super().update_state(
            ops.cast(right, "float32"), _weight(true_ids, sample_weight)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


@keras.saving.register_keras_serializable(package="keras_wsol")
class GTKnownLoc(keras.metrics.Mean):
    """Share of images whose box of the *true* class is right.

    The class is given, so only localization is measured. A box is right if its IoU
    with any true box is at least `iou_threshold`. Images whose true class is -1
    (they could not be read) do not count.

    Args:
        iou_threshold: Float in [0, 1]. Default 0.5 [Russakovsky et al., 2015].
        name: Name of the metric.
        **kwargs: Passed on to `keras.metrics.Mean` (`dtype`).

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
        check_number("iou_threshold", iou_threshold)
        self.iou_threshold = iou_threshold

    def update_state(
        self, y_true: dict[str, Any], y_pred: dict[str, Any], sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: `"boxes"` `(B, M, 4)` padded with -1, and `"class_ids"` `(B,)`.
            y_pred: Output of a `Localizer` called with the true `class_ids`, on
                images in whose pixels the true boxes are. Boxes of another class
                count as wrong.
            sample_weight: Optional `(B,)`.
        """
        true_ids = ops.cast(y_true["class_ids"], "int32")
        of_true_class = ops.cast(y_pred["class_ids"], "int32") == true_ids[:, None]
        boxes = ops.convert_to_tensor(y_pred["boxes"])
        # The box of the true class, whichever of the K it is; the zero box if none.
        chosen = ops.sum(
            boxes * ops.cast(of_true_class, boxes.dtype)[..., None], axis=1
        )
        right = best_iou(chosen, y_true["boxes"]) >= self.iou_threshold
        right = ops.logical_and(right, ops.any(of_true_class, axis=1))
        super().update_state(
            ops.cast(right, "float32"), _weight(true_ids, sample_weight)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


def _weight(true_ids: Any, sample_weight: Any) -> Any:
    counted = ops.cast(true_ids >= 0, "float32")
    return counted if sample_weight is None else counted * sample_weight
