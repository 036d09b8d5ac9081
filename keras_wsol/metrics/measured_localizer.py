"""A localizer and its metrics as one Keras model, for `evaluate`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_wsol.boxes import largest_boxes
from keras_wsol.models import Localizer
from keras_wsol.models.localizer import pixels_a_cell

KEYS = ("images", "class_ids", "boxes")


class MeasuredLocalizer(keras.Model):
    """Measures a localizer by `evaluate`, at its one threshold.

    A metric of Keras' `compile` gets one output and one target, and those of a
    localizer need classes and boxes together: the metrics are given here instead. The
    model is compiled as it is made; its results have no loss.

    The network runs once an image. Only the box of the true class decides: Top-1 and
    Top-5 Loc ask for that very box if the true class is among the best, and GT-known
    Loc for it in any case. So one map an image is made, that of the true class.

    A prediction whose logits are not finite has no class. A true class below 0, that
    of an unreadable image, does not count; one that the model does not have is wrong.

    The model is not for saving or training: save the localizer.

    Args:
        localizer: A `Localizer`. Its `cam_threshold` is used; `top_k` is not, the
            metrics say how many classes they need.
        metrics: Sequence of metrics of this room that take dictionaries: `Top1Cls`,
            `Top5Cls`, `Top1Loc`, `Top5Loc`, `GTKnownLoc`, `MeanBoxIoU`.
        **kwargs: Passed on to `keras.Model` (`name`).

    Call arguments:
        inputs: A dictionary: `"images"` `(B, H, W, 3)` as a `Localizer` takes them,
            true `"class_ids"` `(B,)` and, for the metrics, true `"boxes"`
            `(B, M, 4)` in pixels of the images, padded with -1. No strings.
        training: Ignored: the classifier always runs in inference mode.

    Returns:
        A dictionary: `"class_ids"` `(B, K + 1)` int32, the K best classes, then the
        true one; `"boxes"` `(B, K + 1, 4)` float32 in pixels, zero for every class but
        the true one, for which none was looked for.

    Raises:
        TypeError: `localizer` is no `Localizer`, or `metrics` holds something else.
        ValueError: There is no metric, two have one name, a metric looks at more
            classes than the model has, or a batch is not as it has to be.

    Example:
    >>> import numpy as np
    >>> from keras_wsol.metrics import GTKnownLoc, Top1Loc
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "cam", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> measured = MeasuredLocalizer(Localizer(model), [Top1Loc(), GTKnownLoc()])
    >>> batch = {"images": np.zeros((2, 40, 50, 3), "float32"),
    ...          "class_ids": np.array([1, -1]),
    ...          "boxes": np.array([[[0, 0, 9.0, 9.0]], [[-1.0] * 4]])}
    >>> sorted(measured.evaluate([batch], verbose=0, return_dict=True))
    ['gt_known_loc', 'top1_loc']
    """

    def __init__(
        self,
        localizer: Localizer,
        metrics: Sequence[keras.metrics.Metric],
        **kwargs: Any,
    ) -> None:
        # Images in [0, 255] do not survive a cast to float16 on the way in.
        super().__init__(**{"name": "measured_localizer", **kwargs, "dtype": "float32"})
        if not isinstance(localizer, Localizer):
            raise TypeError(
                "`localizer` must be a `Localizer`. Received: an object of type "
                f"{type(localizer).__name__}."
            )
        self.localizer = localizer
        self._compiled_threshold = localizer.cam_threshold
        self.num_classes = localizer.head.num_classes
        self.measures = _checked(metrics, self.num_classes)
        self.top_k = max(getattr(metric, "top_k", 1) for metric in self.measures)
        self.built = True
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # the boxes' shapes depend on the values
        self.compile()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        # Without Keras' own mean loss, as there is none.
        return list(self.measures)

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        images = ops.convert_to_tensor(inputs["images"])
        true_ids = ops.cast(inputs["class_ids"], "int32")[:, None]
        found = self.localizer.find_maps(images, true_ids)
        logits, maps = found["logits"], found["score_maps"][:, 0]
        best = ops.cast(ops.top_k(logits, self.top_k)[1], "int32")
        finite = ops.all(ops.isfinite(logits), axis=1, keepdims=True)
        best = ops.where(finite, best, -1)
        box = largest_boxes(maps, self.localizer.cam_threshold)
        class_ids = ops.concatenate([best, true_ids], axis=1)
        of_true_class = class_ids == true_ids
        box = box * pixels_a_cell(images, self.localizer.input_size)
        return {
            "class_ids": class_ids,
            "boxes": ops.where(of_true_class[..., None], box[:, None], 0.0),
        }

    def evaluate(self, x: Any, **kwargs: Any) -> Any:
        """Measures batches, such as `test.batches(32, with_boxes=True)`.

        Args:
            x: Batches: a `tf.data.Dataset`, a `keras.utils.PyDataset` or any other
                iterable of dictionaries with `"images"`, `"class_ids"` and
                `"boxes"`; other keys are left out. Or one such dictionary of arrays
                that hold the whole split. Batches may differ in size.
            **kwargs: Passed on to `keras.Model.evaluate` (`verbose`, `return_dict`).

        Returns:
            One number a metric, by name with `return_dict=True`.

        Raises:
            TypeError: A batch is no dictionary.
            ValueError: A batch lacks a key.
        """
        if self.localizer.cam_threshold != self._compiled_threshold:
            # What an earlier call compiled holds the threshold of then.
            self._compiled_threshold = self.localizer.cam_threshold
            self.test_function = None
        return super().evaluate(_without_other_keys(x), **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return ops.zeros(())

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        for metric in self.measures:
            metric.update_state(x, y_pred)
        return self.get_metrics_result()


def _checked(metrics: Any, num_classes: int) -> list[keras.metrics.Metric]:
    metrics = list(metrics)
    if not metrics:
        raise ValueError("`metrics` must hold at least one metric. Received: [].")
    for metric in metrics:
        if not isinstance(metric, keras.metrics.Metric):
            raise TypeError(
                "`metrics` must hold Keras metrics. Received: an object of type "
                f"{type(metric).__name__}."
            )
        if getattr(metric, "top_k", 1) > num_classes:
            raise ValueError(
                f"`top_k` of {metric.name!r} must be at most {num_classes}, the "
                f"number of classes. Received: top_k={metric.top_k}."
            )
    names = [metric.name for metric in metrics]
    if len(set(names)) < len(names):
        raise ValueError(
            f"`metrics` must have names of their own: use `name`. Received: {names}."
        )
    return metrics


def _without_other_keys(batches: Any) -> Any:
    """Batches without paths and other strings, which not every backend can hold."""
    if isinstance(batches, Mapping):
        return _needed(batches)
    if hasattr(batches, "element_spec"):  # tf.data: stays in its graph
        _needed(batches.element_spec)  # the map would take a tuple apart
        return batches.map(_needed)
    if isinstance(batches, Sequence):  # wrong ones are found before Keras starts
        return _Batches([_needed(batch) for batch in batches])
    if isinstance(batches, keras.utils.PyDataset):
        return _Batches(batches)
    return _needed_each(batches)


class _Batches(keras.utils.PyDataset):
    """Batches of known number; of a mere iterable Keras warns that it ends."""

    def __init__(self, batches: Any) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[dict[str, Any]]:
        return (_needed(self.batches[index]),)


def _needed_each(batches: Iterable[Any]) -> Iterator[tuple[dict[str, Any]]]:
    for batch in batches:
        yield (_needed(batch),)  # Keras takes no bare dictionary here


def _needed(batch: Any) -> dict[str, Any]:
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"A batch must be a dictionary of {list(KEYS)}, as those of "
            "`batches(with_boxes=True)`. Received: an object of type "
            f"{type(batch).__name__}."
        )
    missing = [key for key in KEYS if key not in batch]
    if missing:
        raise ValueError(
            f"A batch must hold {list(KEYS)}. Missing: {missing}. "
            f"Received: {sorted(batch)}."
        )
    return {key: batch[key] for key in KEYS}
