"""What a model is made of, what its layers drop, and what it costs."""

import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from html import escape
from typing import Any

import keras
from keras import ops

from keras_wsol import layers
from keras_wsol.cam.score_map import resize_to_input
from keras_wsol.cam.split import graph_of, node_of
from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.localizer import Localizer
from keras_wsol.models.methods.method import MethodModel
from keras_wsol.models.splice import calls_of
from keras_wsol.models.transformers import TokenEmbedding

_CLASSES = tuple(getattr(layers, name) for name in layers.__all__)
# What backbones are made of; a layer of another package is a user's.
_PACKAGES = {"keras", "keras_wsol", "keras_cv", "keras_hub"}


def inserted_layers(model: keras.Model) -> tuple[keras.layers.Layer, ...]:
    """Finds the layers of `keras_wsol.layers` and your own in a functional model.

    Your own are those that `build_classifier` inserted, and others of your classes that
    keep the shape of their input.

    Args:
        model: A functional Keras model, or a `Localizer`. Models that are layers of
            it are not searched.

    Returns:
        A tuple of the layers, in the order of the model.

    Raises:
        ValueError: The model is not functional.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = layers.DGDM(name="last")(layers.ADL(name="middle")(images))
    >>> [layer.name for layer in inserted_layers(keras.Model(images, x))]
    ['middle', 'last']
    """
    model = _functional(model)
    followed = {}
    for output in keras.tree.flatten(model.outputs):
        for tensor, operation, parents, _ in graph_of(output):
            if len(parents) == 1 and parents[0].shape == tensor.shape:
                followed[operation.name] = node_of(parents[0]).operation.name
    return tuple(x for x in model.layers if _is_inserted(x, followed.get(x.name)))


def _is_inserted(layer: keras.layers.Layer, followed: str | None) -> bool:
    """Whether it is ours, or a user's that follows another layer."""
    # As `build_classifier` names it; `bn_Conv1` of MobileNetV2 is called so by chance.
    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    named = layer.name.endswith(f"_{followed}") and not is_norm
    own = named or type(layer).__module__.split(".")[0] not in _PACKAGES
    return isinstance(layer, _CLASSES) or (followed is not None and own)


def probe_inserted(model: keras.Model, images: Any) -> dict[str, Any]:
    """Computes what each inserted layer is given at inference, in one forward pass."""
    found = inserted_layers(model)
    model = _functional(model)
    if len(model.inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: {len(model.inputs)} inputs."
        )
    images = ops.cast(ops.convert_to_tensor(images), "float32")
    shape, given = tuple(model.inputs[0].shape), tuple(images.shape)
    channels, size = shape[-1], shape[1:3]
    if len(given) != 4 or channels not in (None, given[-1]):
        raise ValueError(
            f"`images` must have shape (B, H, W, {channels or 'C'}). Received: "
            f"images.shape={given}. For one image, use images[None]."
        )
    if not found:
        return {}
    images = images if None in size else resize_to_input(images, size)
    probe = keras.Model(model.inputs, {layer.name: layer.input for layer in found})
    return probe(images, training=False)


def drop_shares(model: keras.Model, images: Any) -> dict[str, dict[str, float]]:
    """Measures what share of cells and channels each inserted layer drops.

    It is one forward pass in inference mode, and uses up no random numbers.

    Args:
        model: A functional Keras model with one input, or a `Localizer`.
        images: Batch `(B, H, W, C)`; resized to the model's input size.

    Returns:
        Name of each ADL, CAGD, SAGD, DGDM, DFM and TargetedDropout to the means over
        the images of its shares of `"cells"`, `"channels"` or both, in [0, 1].

    Raises:
        ValueError: The model is not functional, has several inputs, or the images
            have another number of channels.

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


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of a model for one image, from its shapes.

    Counted are the products of convolutions and dense layers with their kernels, zero
    padding included, and those of attention: queries with keys, and scores with values.
    The papers' tables call this number FLOPs; the number of floating-point operations
    is twice as high.

    Args:
        model: A `Localizer`, or a functional model with inputs of fixed size. Models
            inside of it count, and a layer that is called twice counts twice.

    Returns:
        Integer: the exact number.

    Raises:
        TypeError: A layer with a kernel, or a product of matrices, cannot be counted.
        ValueError: The model is not functional, or a size is unknown.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(5, 3)(images)  # 6 x 4 cells of 5 x 27 products
    >>> multiply_adds(keras.Model(images, x))
    3240
    """
    return sum(_count(*call) for call in calls_of(_functional(model)))


class _Table(str):
    """A text whose columns a notebook keeps in line."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self)}</pre>"


def describe(model: keras.Model) -> str:
    """Describes a classifier: what is inserted where, and what it costs.

    Args:
        model: A `Localizer`, or a functional model with one input and one output.

    Returns:
        A text, to be printed, or the value of a notebook's cell: the method that has
        losses or heads of its own; a row for each inserted layer, with its arguments
        that differ from the defaults; and one for the whole model. Parameters include
        moving statistics; multiply-adds are for one image at inference, and "unknown"
        where a layer of your own has kernels.

    Raises:
        ValueError: The model is not functional, or has several inputs or outputs.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = layers.ADL(drop_rate=0.5)(keras.layers.Conv2D(5, 3, name="conv")(images))
    >>> x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    >>> print(describe(keras.Model(images, x, name="small")))
    small: images of 8 x 6 x 3, 2 classes
    layer  after  options        parameters  multiply-adds
    ADL    conv   drop_rate=0.5           0              0
    all 5  -      152 trained           152          3,250
    """
    model = _functional(model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one input and one output. Received: "
            f"{len(model.inputs)} input(s), {len(model.outputs)} output(s)."
        )
    blocks = {name for spec in BACKBONES.values() for name in spec.inserted_blocks}
    rows = [("layer", "after", "options", "parameters", "multiply-adds")]
    inserted = {layer.name for layer in inserted_layers(model)} - blocks
    for layer in model.layers:
        if layer.name in inserted or isinstance(layer, keras.layers.SpatialDropout2D):
            rows.append(_row(layer))
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    whole = (f"{model.count_params():,}", _said(multiply_adds, model))
    rows.append((f"all {len(model.layers)}", "-", f"{trained:,} trained", *whole))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    size = " x ".join(map(str, model.input_shape[1:]))
    lines = [f"{model.name}: images of {size}, {model.output_shape[-1]} classes"]
    if isinstance(model, MethodModel):
        lines.append(f"trained by {model.method}")
    for row in rows:
        cells = zip(row, "<<<>>", widths, strict=True)
        lines.append("  ".join(f"{text:{side}{n}}" for text, side, n in cells))
    return _Table("\n".join(lines))


# What every layer has, and what does not change what a layer does.
_NOT_OPTIONS = {"name", "trainable", "dtype", "data_format", "seed"}


def _row(layer: keras.layers.Layer) -> tuple[str, ...]:
    parameters = inspect.signature(type(layer)).parameters
    config: dict[str, Any] = {}
    with suppress(NotImplementedError):  # of a user's layer
        config = layer.get_config()
    options = [
        f"{name}={value!r}"
        for name, value in config.items()
        if name in parameters and name not in _NOT_OPTIONS
        if value != parameters[name].default
    ]
    shapes = [tuple(layer.input.shape)], tuple(layer.output.shape)
    return (
        type(layer).__name__,
        node_of(layer.input).operation.name,
        ", ".join(options) or "-",
        f"{layer.count_params():,}",
        _said(_count, layer, *shapes),
    )


def _said(counted: Callable[..., int], *arguments: Any) -> str:
    try:
        return f"{counted(*arguments):,}"
    except TypeError:
        return "unknown"


def _functional(model: Any) -> keras.Model:
    """The model itself, or that of a `Localizer`, if it is functional."""
    model = model.model if isinstance(model, Localizer) else model
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional Keras model, or a Localizer of one. "
            f"Received: {type(model).__name__}."
        )
    return model


# Layers whose kernels meet every cell of the output, or of the input.
_PER_OUTPUT_CELL = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
_PER_INPUT_CELL = (
    keras.layers.Dense,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
# Layers and functions of Keras that multiply and add without a kernel of their own,
# or that cannot be looked into.
_UNCOUNTED = {
    *("AdditiveAttention", "Attention", "Conv", "ConvTranspose", "Correlate", "Dot"),
    *("DepthwiseConv", "Einsum", "Inner", "Lambda", "Matmul", "Outer"),
    *("SeparableConv", "Tensordot", "Vdot", "Vecdot"),
}


def _count(operation: Any, given: list[tuple], made: tuple) -> int:
    """Multiply-adds of one call."""
    if isinstance(operation, keras.Model):
        return multiply_adds(operation)
    kernels = _kernels(operation)
    # A kernel of `groups` holds the input channels of one group only.
    products = sum(math.prod(kernel.shape) for kernel in kernels)
    if isinstance(operation, _PER_OUTPUT_CELL):
        return products * _cells(operation, made)
    if isinstance(operation, _PER_INPUT_CELL):
        return products * _cells(operation, given[0])
    for kind, count in _OWN_COUNTS.items():
        if isinstance(operation, kind):
            return count(operation, given, made)
    if type(operation).__name__ == "DotProductAttention":
        # Of queries with keys, and of their scores with values.
        queries, keys = (_cells(operation, (*x[:2], 1)) for x in (made, given[1]))
        return 2 * queries * keys * math.prod(made[2:])
    if kernels or type(operation).__name__ in _UNCOUNTED:
        raise TypeError(
            "Multiply-adds can be counted of convolutions, dense layers and attention. "
            f"Received: {operation.name!r} of type {type(operation).__name__}, with "
            f"kernels {[kernel.path for kernel in kernels]}."
        )
    return 0


def _kernels(operation: Any) -> list[Any]:
    return [x for x in getattr(operation, "weights", ()) if len(x.shape) > 1]


def _of_cbam(layer: layers.CBAM, given: list[tuple], made: tuple) -> int:
    # The mean and the maximum both pass the dense layers.
    times = {2: 2, 4: _cells(layer, made) if layer.spatial else 0}
    return sum(times[len(x.shape)] * math.prod(x.shape) for x in _kernels(layer))


def _of_einsum(layer: keras.layers.EinsumDense, given: list, made: tuple) -> int:
    shape = layer.kernel.shape
    if len(shape) < 2:  # weighs channels
        return 0
    factors, kept = layer.equation.split("->")
    letters = zip(factors.split(",")[1].strip(), shape, strict=True)
    summed = math.prod(size for letter, size in letters if letter not in kept)
    return summed * _cells(layer, (*made, 1))


def _of_heads(layer: keras.layers.MultiHeadAttention, given: list, made: tuple) -> int:
    # Keys and values have a number of their own; inputs come in no certain order.
    queries = _cells(layer, made)
    keys = next((n for x in given if (n := _cells(layer, x)) != queries), queries)
    kernels = [x for x in layer.weights if len(x.shape) > 2]
    of_keys = {x.kernel.path for x in (layer.key_dense, layer.value_dense)}
    products = sum(
        math.prod(x.shape) * (keys if x.path in of_keys else queries) for x in kernels
    )
    scores = layer.num_heads * (layer.key_dim + layer.value_dim)
    return products + scores * queries * keys


_OWN_COUNTS: dict[type, Callable[..., int]] = {
    layers.SqueezeExcite: lambda layer, *_: sum(
        math.prod(x.shape) for x in _kernels(layer)
    ),
    layers.CBAM: _of_cbam,
    keras.layers.EinsumDense: _of_einsum,
    keras.layers.MultiHeadAttention: _of_heads,
    TokenEmbedding: lambda *_: 0,  # adds alone
}


def _cells(layer: Any, shape: tuple) -> int:
    """Positions of a map, without batch and channels."""
    last = getattr(layer, "data_format", "channels_last") == "channels_last"
    sizes = shape[1:-1] if last else shape[2:]
    if None in sizes:
        raise ValueError(
            "The inputs of `model` must have a fixed size. Received: the map of "
            f"{layer.name!r} has the size {sizes}."
        )
    return math.prod(sizes)
