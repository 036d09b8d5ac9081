"""What `predict` and `evaluate` of a localizer take: batches and metrics."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

_KEYS = ("images", "class_ids", "boxes")


def called_with(batch: Any) -> Any:
    """Returns what the call needs of a batch, which may be no dictionary."""
    if not isinstance(batch, Mapping):
        _check_pixels(batch)
        return batch
    if "images" not in batch:
        raise ValueError(f"A batch must hold 'images'. Received: {sorted(batch)}.")
    _check_pixels(batch["images"])
    return {key: batch[key] for key in _KEYS[:2] if key in batch}


def _check_pixels(images: Any) -> None:
    """Raises for a dtype that pixels in [0, 255] do not have, warns of other ranges."""
    dtype = keras.backend.standardize_dtype(getattr(images, "dtype", "float32"))
    if dtype != "uint8" and "float" not in dtype:
        raise TypeError(
            "Images must be uint8, or floats in [0, 255]. Received: images of dtype "
            f"{dtype}."
        )
    if isinstance(images, np.ndarray) and images.size:  # tensors are not looked at
        low, high = images.min(), images.max()
        if high > 256 or low < high <= 1:  # resizing may overshoot; black is black
            warnings.warn(
                "Images must have pixels in [0, 255], and are normalized by the model. "
                f"Received: pixels in [{low:g}, {high:g}].",
                stacklevel=4,
            )


def not_empty(values: Any) -> Any:
    """Puts zeros into a batch of none: there are kernels that cannot take one."""
    if values is None:
        return None
    values = ops.convert_to_tensor(values)
    least = 1 if values.shape[0] == 0 else ops.maximum(ops.shape(values)[0], 1)
    zeros = ops.zeros((1, *ops.shape(values)[1:]), values.dtype)
    return ops.concatenate([values, zeros])[:least]


def filled(count: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Fills a short batch up with zeros: a new shape would be traced anew."""
    return {
        name: np.pad(x, [(0, count - len(x))] + [(0, 0)] * (x.ndim - 1))
        for name, x in arrays.items()
    }


def probabilities(logits: Any) -> Any:
    """The softmax of logits `(B, num_classes)`: 1 for a single one."""
    # Keras warns of a softmax of one number.
    return ops.softmax(logits) if logits.shape[-1] > 1 else ops.ones_like(logits)


def measured_with(batch: Any) -> dict[str, Any]:
    """Returns what the metrics need of a batch."""
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"A batch must be a dictionary of {list(_KEYS)}, as those of "
            "`batches(with_boxes=True)`. Received: an object of type "
            f"{type(batch).__name__}."
        )
    missing = [key for key in _KEYS if key not in batch]
    if missing:
        raise ValueError(
            f"A batch must hold {list(_KEYS)}. Missing: {missing}. "
            f"Received: {sorted(batch)}."
        )
    return {key: batch[key] for key in _KEYS}


def cleaned(batches: Any, take: Callable[[Any], Any]) -> Any:
    """Applies `take` to batches or one: drops the keys the model does not need."""
    if isinstance(batches, Mapping) or hasattr(batches, "shape"):  # arrays
        batch = take(batches)
        images = batch["images"] if isinstance(batch, Mapping) else batch
        # Of no image, Keras would make no batch.
        return batch if len(images) else _Batches([batch], take)
    if hasattr(batches, "element_spec"):  # tf.data: stays in its graph
        spec = batches.element_spec  # `map` would take a tuple apart
        return batches if take(spec) is spec else batches.map(take)
    if isinstance(batches, Sequence):  # wrong ones are found before Keras starts
        return _Batches([take(batch) for batch in batches], take)
    if isinstance(batches, keras.utils.PyDataset):
        return _Batches(batches, take)
    return (_as_inputs(take(batch)) for batch in batches)


class _Batches(keras.utils.PyDataset):
    """Batches of known number; of a mere iterable Keras warns that it ends."""

    def __init__(self, batches: Any, take: Callable[[Any], Any]) -> None:
        super().__init__()
        self.batches, self.take = batches, take

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return _as_inputs(self.take(self.batches[index]))


def _as_inputs(batch: Any) -> Any:
    # Keras takes no bare dictionary here.
    return batch if isinstance(batch, tuple) else (batch,)


def checked_metrics(metrics: Any, num_classes: int) -> list[keras.metrics.Metric]:
    """Returns a list of metrics that can measure a localizer."""
    metrics = list(metrics or ())
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
