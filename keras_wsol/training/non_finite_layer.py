"""Where in a model a number stops being one: the first layer, in the order of calls."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

SHOWN = 8  # rows of the batch that a message lists


def first_non_finite(
    model: keras.Model, x: Any, y: Any = None, sample_weight: Any = None
) -> str | None:
    """Says what is the first in a training step of a batch not to be finite."""
    found = _of_tensors("the images of the batch", x)
    found += _of_tensors("the sample weights of the batch", sample_weight)
    with ExitStack() as watched:
        for layer in _innermost(model):
            watched.enter_context(_watched(layer, found))
        outputs = model(x, training=True)
    if not found and y is not None:
        loss = model.compute_loss(x, y, outputs, sample_weight, training=True)
        if not np.isfinite(_array(loss)):
            largest = np.abs(_array(outputs)).max()
            found.append(
                "the loss, of outputs that are finite and at most "
                f"{largest:.3g} in absolute value"
            )
    return found[0] if found else None


def _innermost(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Layers of a model and of the models in it, each once."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _innermost(layer)
        else:
            yield layer


@contextmanager
def _watched(layer: keras.layers.Layer, found: list[str]) -> Iterator[None]:
    """Has a layer note what is not finite of its weights and output."""
    call = layer.call

    def watching(*arguments: Any, **named: Any) -> Any:
        if not found:
            found.extend(_of_weights(layer))
        # Before, as the call moves the statistics of batch normalization.
        largest = [np.abs(_array(weight)).max(initial=0.0) for weight in layer.weights]
        outputs = call(*arguments, **named)
        if not found:
            found.extend(_of_tensors(f"the output of layer {layer.name!r}", outputs))
            if found and largest:
                size = f"{max(largest):.3g}"
                found[0] += f"; its weights are at most {size} in absolute value"
        return outputs

    with _replaced(layer, watching):
        yield


@contextmanager
def _replaced(layer: keras.layers.Layer, call: Callable[..., Any]) -> Iterator[None]:
    # In the instance, before the method of its class; past Keras' own bookkeeping.
    had = vars(layer).get("call")
    vars(layer)["call"] = call
    try:
        yield
    finally:
        if had is None:
            del vars(layer)["call"]
        else:
            vars(layer)["call"] = had


def _of_weights(layer: keras.layers.Layer) -> list[str]:
    for weight in layer.weights:
        array = _array(weight)
        wrong = int((~np.isfinite(array)).sum())
        if wrong:
            return [
                f"the weight {weight.path!r} of layer {layer.name!r}: {wrong} of "
                f"{array.size} values are not finite"
            ]
    return []


def _of_tensors(what: str, tensors: Any) -> list[str]:
    for tensor in keras.tree.flatten(tensors):
        if tensor is None:
            continue
        array = _array(tensor)
        finite = np.isfinite(array)
        if finite.all():
            continue
        wrong = int((~finite).sum())
        text = f"{what}: {wrong} of {array.size} values are not finite"
        if array.ndim:
            rows = np.flatnonzero(~finite.reshape(len(array), -1).all(1))
            more = ", ..." if len(rows) > SHOWN else ""
            shown = ", ".join(map(str, rows[:SHOWN]))
            text += f", in images {shown}{more} of the batch"
        return [text]
    return []


def _array(tensor: Any) -> np.ndarray:
    array = keras.ops.convert_to_numpy(tensor)
    # NumPy knows no bfloat16, and finds no maximum of it.
    return array.astype("float32") if array.itemsize == 2 else array
