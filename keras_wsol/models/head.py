"""Where a classifier keeps what a class activation map is made of."""

from dataclasses import dataclass
from typing import Any

import keras

_EXPECTED = (
    "A class activation map is read from a functional model that ends in "
    "GlobalAveragePooling2D and one Dense layer"
)


@dataclass(frozen=True)
class Head:
    """The head of a classifier: pooled features and one `Dense` layer.

    Attributes:
        network: Model from images to `(features, logits)`, sharing the
            classifier's layers.
        dense: The `Dense` layer.
    """

    network: keras.Model
    dense: keras.layers.Dense

    @property
    def kernel(self) -> Any:
        """Class weights `(C, num_classes)`."""
        return self.dense.kernel

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.dense.units


def find_head(model: keras.Model) -> Head:
    """Finds the global average pooling and the `Dense` layer that ends a model.

    Args:
        model: A functional Keras model with one input of fixed size that ends in
            `GlobalAveragePooling2D` and `Dense`. A `Dropout` between them and a
            softmax, in the `Dense` layer or after it, do no harm.

    Returns:
        The head. Its logits are those before the softmax.

    Raises:
        ValueError: The model has no such head; the message says what it ends in.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(4, 3)(images)
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))
    >>> tuple(find_head(model).kernel.shape)
    (4, 2)
    """
    pool, dense = _pool_and_dense(model)
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(
            "The model must have one input of fixed height and width. Received: "
            f"input_shape={model.input_shape}."
        )
    logits = dense.output
    if dense.activation is not keras.activations.linear:
        logits = keras.ops.matmul(dense.input, dense.kernel)
        logits = logits if dense.bias is None else logits + dense.bias
    network = keras.Model(model.inputs, [pool.input, logits], name="cam_network")
    return Head(network=network, dense=dense)


def activation_name(activation: Any) -> str:
    """Returns what an error calls an activation: a function, or a layer used as one."""
    return getattr(activation, "__name__", type(activation).__name__)


def _pool_and_dense(model: Any) -> tuple[Any, Any]:
    """Reads the end of a model backwards, and raises if it is another end."""
    layers = list(getattr(model, "layers", []))
    tail = list(layers)
    if tail and _is_softmax(tail[-1]):
        tail.pop()
    dense = tail.pop() if tail else None
    while tail and isinstance(tail[-1], keras.layers.Dropout):
        tail.pop()
    pool = tail.pop() if tail else None
    is_pool = isinstance(pool, keras.layers.GlobalAveragePooling2D)
    if not (is_pool and isinstance(dense, keras.layers.Dense)):
        ends = [type(layer).__name__ for layer in layers[-4:]]
        raise ValueError(f"{_EXPECTED}. Received a model that ends in: {ends}.")
    _check_pool_and_dense(model, pool, dense)
    return pool, dense


def _check_pool_and_dense(model: Any, pool: Any, dense: Any) -> None:
    """Raises unless the map that is read is what the model decides by."""
    linear, softmax = keras.activations.linear, keras.activations.softmax
    if dense.activation not in (linear, softmax):
        raise ValueError(
            f"{_EXPECTED}, which gives one logit a class or their softmax. Received: "
            f"{dense.name!r} with activation={activation_name(dense.activation)!r}."
        )
    if pool.keepdims:
        raise ValueError(
            f"{_EXPECTED}, the pooling with keepdims=False. Received: {pool.name!r} "
            "with keepdims=True."
        )
    # Only what has been called on a symbolic tensor has an input.
    if not (hasattr(pool, "input") and hasattr(dense, "input")):
        raise ValueError(
            f"{_EXPECTED}, called on a `keras.Input`. Received: {model.name!r} of type "
            f"{type(model).__name__}, which is subclassed or not built."
        )


def _is_softmax(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Softmax):
        return True
    is_activation = isinstance(layer, keras.layers.Activation)
    return is_activation and layer.activation is keras.activations.softmax
