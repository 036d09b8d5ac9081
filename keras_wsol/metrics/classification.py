"""Classification by the classes of a localizer, as Keras metrics.

Keras' own accuracies take logits or probabilities of every class. These take what a
`Localizer` gives, so that they stand beside `Top1Loc` and `Top5Loc` in one table, and
leave out images that could not be read.
"""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_wsol.metrics.image_weights import image_weights
from keras_wsol.metrics.merging import merge_variables
from keras_wsol.metrics.ranked_classes import check_ranked, check_top_k, is_true_class


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
