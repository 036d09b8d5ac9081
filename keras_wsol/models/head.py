"""Where a classifier keeps what a class activation map is made of."""

from dataclasses import dataclass
from typing import Any

import keras


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
            `GlobalAveragePooling2D` and `Dense` (a `Dropout` between them does no
            harm). The `Dense` layer may have a softmax.

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
    layers = getattr(model, "layers", [])
    pools = [x for x in layers if isinstance(x, keras.layers.GlobalAveragePooling2D)]
    denses = [x for x in layers if isinstance(x, keras.layers.Dense)]
    if (
        not pools
        or not denses
        or pools[-1].input.shape[-1] != denses[-1].kernel.shape[0]
        or layers.index(pools[-1]) > layers.index(denses[-1])
    ):
        ends = [type(layer).__name__ for layer in layers[-4:]]
        raise ValueError(
            "A class activation map is read from a functional model that ends in "
            "GlobalAveragePooling2D and one Dense layer. Received a model that ends "
            f"in: {ends}."
        )
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(
            "The model must have one input of fixed height and width. Received: "
            f"input_shape={model.input_shape}."
        )
    dense = denses[-1]
    logits = dense.output
    if dense.activation is not keras.activations.linear:
        logits = keras.ops.matmul(dense.input, dense.kernel)
        logits = logits if dense.bias is None else logits + dense.bias
    network = keras.Model(model.inputs, [pools[-1].input, logits], name="cam_network")
    return Head(network=network, dense=dense)
