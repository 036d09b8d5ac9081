"""What a classifier costs: multiply-adds, and the operations that a layer adds."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_wsol.layers import ADL, CAGD, CBAM, DFM, DGDM, SAGD, SqueezeExcite

# Layers and functions of Keras that multiply and add without a kernel of their own,
# or that cannot be looked into.
_UNCOUNTED = {
    *("AdditiveAttention", "Attention", "Conv", "ConvTranspose", "Correlate", "Dot"),
    *("DepthwiseConv", "DotProductAttention", "Einsum", "Inner", "Lambda", "Matmul"),
    *("Outer", "SeparableConv", "Tensordot", "Vdot", "Vecdot"),
}


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiply-adds of a model for one image, from its shapes.

    Counted are the products of convolutions and dense layers with their kernels, a
    product and the addition that follows as one, and zero padding like any other
    value. By the convention of the papers, whose tables call this number FLOPs,
    nothing else counts: biases, activations, normalization, pooling and the modules
    of `keras_wsol.layers` without weights are zero. `2 * multiply_adds(model)` is the
    number of floating-point operations.

    Args:
        model: A functional or `Sequential` model with inputs of fixed size. Models
            that are layers of it are counted, and a layer that is called twice is
            counted twice. A layer of one's own without weights counts as zero.

    Returns:
        Integer: the exact number.

    Raises:
        TypeError: A layer has a kernel and is not of a kind that can be counted, or
            multiplies matrices without one. None is left out in silence.
        ValueError: The model is not functional, or a size is unknown.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(5, 3)(images)  # 6 x 4 cells of 5 x 27 products
    >>> x = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(images, keras.layers.Dense(2)(x))  # 10 products
    >>> multiply_adds(model)
    3250
    """
    return sum(multiply_adds_by_layer(model).values())


def multiply_adds_by_layer(model: keras.Model) -> dict[str, int]:
    """Counts the multiply-adds of each layer of a model, as `multiply_adds` does.

    Args:
        model: As for `multiply_adds`.

    Returns:
        Name of each layer and function in the graph to its number, for all its calls
        together, from the end of the model to its beginning.

    Raises:
        TypeError: As for `multiply_adds`.
        ValueError: As for `multiply_adds`.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise ValueError(
            "`model` must be a functional or Sequential Keras model. Received: "
            f"{getattr(model, 'name', model)!r} of type {type(model).__name__}."
        )
    counts: dict[str, int] = {}
    for operation, given, made in _calls(model):
        count = _count(operation, given, made)
        counts[operation.name] = counts.get(operation.name, 0) + count
    return counts


def _calls(model: keras.Model) -> Iterator[tuple[Any, tuple, tuple]]:
    """Each call in the graph: the layer or function, input shape, output shape."""
    seen = set()
    waiting = keras.tree.flatten(model.outputs)
    inputs = {id(tensor) for tensor in keras.tree.flatten(model.inputs)}
    while waiting:
        tensor = waiting.pop()
        operation, node_index, _ = tensor._keras_history
        if id(tensor) in inputs or (id(operation), node_index) in seen:
            continue
        seen.add((id(operation), node_index))
        node = operation._inbound_nodes[node_index]
        waiting.extend(node.input_tensors)
        given = tuple(node.input_tensors[0].shape) if node.input_tensors else ()
        yield operation, given, tuple(tensor.shape)


def _count(operation: Any, given: tuple, made: tuple) -> int:
    """Multiply-adds of one call."""
    if isinstance(operation, keras.Model):
        return multiply_adds(operation)
    for classes, rule in _RULES.items():
        if isinstance(operation, classes):
            return rule(operation, given, made)
    kernels = [
        weight.path
        for weight in getattr(operation, "weights", ())
        if len(weight.shape) > 1
    ]
    if kernels or type(operation).__name__ in _UNCOUNTED:
        counted = [each.__name__ for classes in _RULES for each in classes]
        raise TypeError(
            f"The multiply-adds of {operation.name!r} must be those of one of "
            f"{counted}. Received: type {type(operation).__name__}, with kernels "
            f"{kernels}."
        )
    return 0


def _convolution(layer: Any, given: tuple, made: tuple) -> int:
    # A kernel of `groups` holds the input channels of one group only.
    return math.prod(layer.kernel.shape) * _cells(layer, made)


def _transposed(layer: Any, given: tuple, made: tuple) -> int:
    return math.prod(layer.kernel.shape) * _cells(layer, given)


def _separable(layer: Any, given: tuple, made: tuple) -> int:
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return sum(math.prod(kernel.shape) for kernel in kernels) * _cells(layer, made)


def _dense(layer: Any, given: tuple, made: tuple) -> int:
    return math.prod(layer.kernel.shape) * _product(layer, given[1:-1])


def _squeeze_excite(layer: Any, given: tuple, made: tuple) -> int:
    return sum(math.prod(part.kernel.shape) for part in (layer.squeeze, layer.excite))


def _cbam(layer: Any, given: tuple, made: tuple) -> int:
    # The mean and the maximum both pass the dense layers.
    channel = 2 * _squeeze_excite(layer, given, made) if layer.channel else 0
    if not layer.spatial:
        return channel
    kernel = math.prod(layer.convolution.kernel.shape)
    return channel + kernel * _product(layer, given[1:3])


_RULES: Mapping[tuple[type, ...], Callable[[Any, tuple, tuple], int]] = {
    (
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        keras.layers.DepthwiseConv1D,
        keras.layers.DepthwiseConv2D,
    ): _convolution,
    (
        keras.layers.Conv1DTranspose,
        keras.layers.Conv2DTranspose,
        keras.layers.Conv3DTranspose,
    ): _transposed,
    (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D): _separable,
    (keras.layers.Dense,): _dense,
    (SqueezeExcite,): _squeeze_excite,
    (CBAM,): _cbam,
}


def _cells(layer: Any, shape: tuple) -> int:
    """Positions of a map, without batch and channels."""
    last = layer.data_format == "channels_last"
    return _product(layer, shape[1:-1] if last else shape[2:])


def _product(layer: Any, sizes: tuple) -> int:
    if None in sizes:
        raise ValueError(
            "The inputs of `model` must have a fixed size. Received: the map of "
            f"{layer.name!r} has the size {sizes}."
        )
    return math.prod(sizes)


def layer_flops(layer: keras.layers.Layer, input_shape: tuple) -> int:
    r"""Counts the operations that a module adds in training, for one image.

    It is the forward pass; the backward pass costs about as much again. At inference
    a module is the identity and adds nothing (but for `DFM(inference="expected")`).
    Each addition, product, division, comparison, minimum, absolute value, sigmoid and
    tanh is one operation, and a sum or maximum of \(k\) numbers \(k - 1\) of them;
    random numbers, casts, selections and logical functions are none. With
    \(N = H W\) cells and \(n = N C\) features, by default:

    - `ADL`: \(2 n + 3 N + 2\). Mean over channels \(n\); `mask(N)`; sigmoid \(N\); the
      draw 1; product with the input \(n\). Here `mask(k)` is a drop mask of \(k\)
      values: the maximum \(k - 1\), its share 1, \(k + 1\) comparisons, so
      \(2 k + 1\).
    - `CAGD`: \(2 n + 5 C\). Mean over cells \(n\); magnitude \(C\); the live
      channels \(C\), their minimum \(C - 1\) and its multiple 1; \(C\) comparisons with
      it and \(C\) with draws; product \(n\). With `"top_k"` live channels and
      minimum give way to a sort, \(C \lceil \log_2 C \rceil\).
    - `SAGD`: \(2 n + 22 N + 3\). As `ADL`; the block around each cell,
      \((b^2 - 1) N\) for `block_size` \(b\) (for `"adaptive"` running sums along two
      axes, their differences and a comparison, \(5 N\)); the background `mask(N)`, also
      with its blocks if it grows; the product of both masks \(N\).
    - `DGDM`: \(4 n + 22 N + 5 C + 3\), the sum of `CAGD` and `SAGD`.
    - `DFM`: \(4 n + 17 N + 5 C + 3\). Two means \(2 n\); `mask(N)` and `mask(C)`; tanh
      and weight \(2 N + 2 C\); focus \(11 N\), which is 8 for the maximum of the
      neighbours (4 for their count), then weight, 1 and product; the draw 1, made
      on the small maps; 1 plus the map \(N\), the half \(N + C\); the sum of both
      branches \(n\), and the product with the input \(n\).

    What the arguments switch off is not counted.

    Args:
        layer: An `ADL`, `CAGD`, `SAGD`, `DGDM` or `DFM`.
        input_shape: `(batch, height, width, channels)`; the batch is not read.

    Returns:
        Integer: operations for one image.

    Raises:
        TypeError: `layer` is another.
        ValueError: A size is unknown.

    Example:
    >>> layer_flops(ADL(), (None, 2, 3, 10))  # 2 * 60 + 3 * 6 + 2
    140
    """
    rules = [rule for kind, rule in _FLOPS.items() if isinstance(layer, kind)]
    if not rules:
        raise TypeError(
            f"`layer` must be one of {[kind.__name__ for kind in _FLOPS]}. "
            f"Received: type {type(layer).__name__}."
        )
    if len(input_shape) != 4 or None in input_shape[1:]:
        raise ValueError(
            "`input_shape` must be (batch, height, width, channels), all but the batch "
            f"known. Received: input_shape={tuple(input_shape)}."
        )
    _, height, width, channels = input_shape
    return rules[0](layer, height * width, channels)


def _mask_flops(values: int) -> int:
    return 2 * values + 1


def _attend_flops(layer: ADL | SAGD, cells: int, channels: int, mask: int) -> int:
    """Mean, draw between mask and importance map, product."""
    sides = (mask if layer.drop_mask else 0) + (cells if layer.importance_map else 0)
    return 2 * cells * channels + sides + 1


def _adl_flops(layer: ADL, cells: int, channels: int) -> int:
    return _attend_flops(layer, cells, channels, _mask_flops(cells))


def _cagd_flops(layer: CAGD, cells: int, channels: int) -> int:
    live_minimum = 2 * channels
    sort = channels * math.ceil(math.log2(channels))
    selection = sort if layer.selection == "top_k" else live_minimum
    return 2 * cells * channels + selection + 3 * channels


def _sagd_flops(layer: SAGD, cells: int, channels: int) -> int:
    size = layer.block_size
    blocks = (5 if size == "adaptive" else size**2 - 1) * cells
    mask = _mask_flops(cells) + blocks
    if layer.low_threshold is not None:
        mask += _mask_flops(cells) + cells + (blocks if layer.grow_background else 0)
    return _attend_flops(layer, cells, channels, mask)


def _dgdm_flops(layer: DGDM, cells: int, channels: int) -> int:
    cagd = _cagd_flops(layer.cagd, cells, channels)
    return cagd + _sagd_flops(layer.sagd, cells, channels)


def _dfm_flops(layer: DFM, cells: int, channels: int) -> int:
    # A branch that is alone, or not fused, adds its own enhancement to its mask.
    parts = {"position": [cells], "channel": [channels]}
    sizes = parts.get(layer.branches, [cells, channels])
    flops = sum(cells * channels + 2 * k + _mask_flops(k) for k in sizes)
    if layer.branches == "fused" and layer.focus:
        flops += (7 if layer.accumulate_focus else 11) * cells
    if layer.branches != "fused":
        flops += sum(sizes)
    if len(sizes) == 2:
        flops += 1 + cells * channels
    if layer.feedback == "residual":
        flops += sizes[0] + (sum(sizes) if layer.rescale else 0)
    return flops + cells * channels


_FLOPS: Mapping[type, Callable[[Any, int, int], int]] = {
    ADL: _adl_flops,
    CAGD: _cagd_flops,
    SAGD: _sagd_flops,
    DGDM: _dgdm_flops,
    DFM: _dfm_flops,
}
