"""Setting the weights of a layer, and what the layer keeps beside them."""

from collections.abc import Sequence
from typing import Any

import keras


def set_layer_weights(layer: keras.layers.Layer, weights: Sequence[Any]) -> None:
    """Sets the weights of a layer or model, so that it computes with them.

    A `keras.layers.Normalization` that was adapted computes with constants which it
    makes of its weights; `set_weights` alone leaves these as they were.

    Args:
        layer: A built layer, or a model, whose own layers count, at any depth.
        weights: Arrays, as `get_weights` gives them.

    Raises:
        ValueError: The number of weights or a shape is another.

    Example:
    >>> layer = keras.layers.Normalization()
    >>> layer.build((None, 1))
    >>> import numpy as np
    >>> set_layer_weights(layer, [np.array([6.0]), np.array([4.0]), np.array(9)])
    >>> float(layer(np.array([[8.0]]))[0, 0])
    1.0
    """
    layer.set_weights(weights)
    refresh_normalizations(layer)


def refresh_normalizations(layer: keras.layers.Layer) -> None:
    """Makes the constants of every `Normalization` anew, after its weights were set.

    Args:
        layer: A built layer, or a model, whose own layers count, at any depth.
    """
    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()
