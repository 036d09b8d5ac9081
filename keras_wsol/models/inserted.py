"""What the layers of this package that are in a model see and do."""

from typing import Any

import keras
from keras import ops

from keras_wsol import layers
from keras_wsol.models.input_size import resize_to_input
from keras_wsol.models.localizer import Localizer

_CLASSES = tuple(getattr(layers, name) for name in layers.__all__)


def inserted_layers(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    """Finds the layers of `keras_wsol.layers` that are in a functional model.

    Args:
        model: A functional Keras model, of `build_classifier` or of one's own, or a
            `Localizer`. A model that is a layer of it is not looked into; a layer
            that is called several times counts once, where it was called first.

    Returns:
        The layers, in the order of the model. Empty if there are none.

    Raises:
        ValueError: The model is not functional, so that it has no fixed order.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(4, 3, activation="relu")(images)
    >>> x = layers.ADL(name="middle")(x)
    >>> x = layers.DGDM(name="last")(keras.layers.Conv2D(5, 3)(x))
    >>> [layer.name for layer in inserted_layers(keras.Model(images, x))]
    ['middle', 'last']
    """
    model = _functional(model)
    return tuple(layer for layer in model.layers if isinstance(layer, _CLASSES))


def probe_inserted(model: keras.Model, images: Any) -> dict[str, Any]:
    """Computes what each inserted layer is given at inference, in one forward pass.

    The model stays as it is: nothing is drawn, and no weight or statistic changes.

    Args:
        model: As for `inserted_layers`, with one input.
        images: `(B, H, W, C)` in the range that the model takes, which is [0, 255]
            for those of `build_classifier`, floats or unsigned bytes. They are
            resized to the model's input size, if it has one (bilinear, half-pixel
            centres, antialiased).

    Returns:
        Name of each inserted layer to the features before it, `(B, h, w, c)` in the
        layer's own type. Empty if there are no such layers.

    Raises:
        ValueError: The model is not functional or has several inputs, or `images`
            are not as above.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> model = keras.Model(images, layers.ADL(name="adl")(2.0 * images))
    >>> features = probe_inserted(model, ops.ones((1, 8, 6, 3)))
    >>> float(ops.max(features["adl"]))
    2.0
    """
    found = inserted_layers(model)
    model = _functional(model)
    if len(model.inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: {len(model.inputs)} inputs."
        )
    images = _resized(images, tuple(model.inputs[0].shape))
    if not found:
        return {}
    probe = keras.Model(model.inputs, {layer.name: layer.input for layer in found})
    return probe(images, training=False)


def drop_shares(model: keras.Model, images: Any) -> dict[str, dict[str, float]]:
    """Measures what share of cells and channels each inserted layer drops.

    One forward pass in inference mode; nothing is drawn, so that the next training
    step is what it would have been. A layer that is never asked computes none of it.

    Args:
        model: As for `inserted_layers`.
        images: As for `probe_inserted`.

    Returns:
        Name of each ADL, CAGD, SAGD, DGDM, DFM and TargetedDropout in the model to
        the means over the images of what its `drop_shares` gives, in [0, 1]:
        `"cells"`, in a call that uses the mask of cells, and `"channels"`: for DFM
        in a call that uses the mask of channels, for the others the expected share.
        The layers that drop blindly drop what their arguments say.

    Raises:
        ValueError: As for `probe_inserted`.

    Example:
    >>> from keras_wsol.layers import ADL
    >>> images = keras.Input((1, 4, 3))
    >>> model = keras.Model(images, ADL(drop_threshold=0.5, name="adl")(images))
    >>> drop_shares(model, [[[[0, 0, 0], [9, 9, 9], [6, 6, 6], [3, 3, 3]]]])
    {'adl': {'cells': 0.5}}
    """
    features = probe_inserted(model, images)
    return {
        layer.name: {
            kind: float(ops.mean(share))
            for kind, share in layer.drop_shares(features[layer.name]).items()
        }
        for layer in inserted_layers(model)
        if hasattr(layer, "drop_shares")
    }


def _functional(model: Any) -> keras.Model:
    """The model itself, or that of a `Localizer`, if it is functional."""
    model = model.model if isinstance(model, Localizer) else model
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional Keras model, or a Localizer of one. "
            f"Received: {type(model).__name__}."
        )
    return model


def _resized(images: Any, shape: tuple[int | None, ...]) -> Any:
    """Images as float32, of the size that an input of this shape takes."""
    images = ops.cast(ops.convert_to_tensor(images), "float32")
    channels = shape[-1] if shape else None
    given = tuple(images.shape)
    if len(given) != 4 or (channels is not None and given[-1] != channels):
        raise ValueError(
            f"`images` must have shape (B, H, W, {channels or 'C'}). Received: "
            f"images.shape={given}. For one image, use images[None]."
        )
    size = shape[1:3]
    return images if None in size else resize_to_input(images, size)
