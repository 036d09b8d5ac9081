"""What a model is made of, and what it costs."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol import layers
from keras_wsol.layers import ADL, CAGD, CBAM, DFM, DGDM, SAGD, SqueezeExcite
from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.localizer import Localizer, resize_to_input

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
    """Computes what each inserted layer is given at inference, in one forward pass."""
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
    """Counts the multiply-adds of each layer of a model, as `multiply_adds` does."""
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


Table = list[list[str]]  # the first row has the titles


def stage_table(stages: Sequence["Stage"]) -> Table:
    """A row for each size of the maps."""
    rows = [
        [
            "pooled" if stage.size is None else "{} x {}".format(*stage.size),
            f"{stage.channels:,}",
            f"{stage.layers:,}",
            f"{stage.first} ... {stage.last}",
            f"{stage.parameters:,}",
            f"{stage.multiply_adds:,}",
        ]
        for stage in stages
    ]
    title = ["map", "channels", "layers", "from ... to", "parameters", "multiply-adds"]
    return [title, *rows]


def place_table(places: Sequence["Place"]) -> Table:
    """A row for each inserted layer."""
    rows = [
        [
            place.layer,
            place.after,
            " x ".join(map(str, place.shape)),
            ", ".join(f"{name}={value!r}" for name, value in place.options.items())
            or "-",
            f"{place.parameters:,}",
            f"{place.multiply_adds:,}",
            "-" if place.training_flops is None else f"{place.training_flops:,}",
        ]
        for place in places
    ]
    title = ["inserted", "after", "map", "options", "parameters", "multiply-adds"]
    return [[*title, "operations in training"], *rows]


def cost_table(
    multiply_adds: int,
    parameters: int,
    trainable_parameters: int,
    overheads: Sequence[float | None],
) -> Table:
    """One row, with the columns of the papers' tables."""
    titles = ["multiply-adds (G)", "parameters (M)", "trained (M)"]
    titles += ["overhead: computation (%)", "parameters (%)", "in training (%)"]
    figures = [
        f"{multiply_adds / 1e9:.2f}",
        f"{parameters / 1e6:.2f}",
        f"{trainable_parameters / 1e6:.2f}",
    ]
    return [titles, [*figures, *map(_percent, overheads)]]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3f}"


def text(table: Table) -> str:
    """The table in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(table: Table) -> str:
    """The table in Markdown."""
    title, *rows = table
    lines = [title, ["---"] * len(title), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_BACKBONE_BLOCKS = {
    name for spec in BACKBONES.values() for name in spec.inserted_blocks
}
# What every layer has, and what is no choice of the method.
_NOT_OPTIONS = {"name", "trainable", "dtype", "data_format", "seed"}


@dataclass(frozen=True)
class Stage:
    """The layers whose output has the same height and width.

    Attributes:
        size: Height and width; `None` for vectors and what is pooled to one cell.
        channels: Of the last of them.
        layers: How many they are.
        first: Name of the first.
        last: Name of the last.
        parameters: Their weights.
        multiply_adds: Their multiply-adds for one image.
    """

    size: tuple[int, int] | None
    channels: int
    layers: int
    first: str
    last: str
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Place:
    """A layer that a method has inserted.

    Attributes:
        after: Name of the layer whose output it takes.
        layer: Its class.
        shape: Height, width and channels of what it takes.
        options: Its arguments that differ from the defaults.
        parameters: Its weights.
        multiply_adds: Its multiply-adds at inference.
        training_flops: Operations that it adds to the forward pass in training
            (`layer_flops`); `None` where they are not counted.
    """

    after: str
    layer: str
    shape: tuple[int, int, int]
    options: Mapping[str, Any]
    parameters: int
    multiply_adds: int
    training_flops: int | None


@dataclass(frozen=True)
class ModelDescription:
    """Layers, places and costs of a classifier; `str` and `to_markdown` print them.

    Attributes:
        name: Name of the model.
        input_shape: Height, width and channels of its images.
        outputs: Number of classes.
        stages: Its layers by the size of their maps.
        places: What a method has inserted, in the order of the model.
        parameters: All weights, moving statistics included.
        trainable_parameters: Those that are trained.
        multiply_adds: For one image, at inference.
    """

    name: str
    input_shape: tuple[int, int, int]
    outputs: int
    stages: tuple[Stage, ...]
    places: tuple[Place, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int

    @property
    def parameter_overhead(self) -> float:
        """Weights of the inserted layers, as a share of all others."""
        added = sum(place.parameters for place in self.places)
        return added / (self.parameters - added)

    @property
    def computation_overhead(self) -> float:
        """Multiply-adds of the inserted layers at inference, as a share of others."""
        added = sum(place.multiply_adds for place in self.places)
        return added / (self.multiply_adds - added)

    @property
    def training_overhead(self) -> float | None:
        """Operations that the inserted layers add to a forward pass in training.

        A share of two operations for each multiply-add of the other layers; `None`
        where a layer cannot be counted.
        """
        counts = [place.training_flops for place in self.places]
        if None in counts:
            return None
        added = sum(place.multiply_adds for place in self.places)
        return sum(counts) / (2 * (self.multiply_adds - added))

    def to_markdown(self) -> str:
        """Returns the tables in Markdown."""
        return "\n\n".join([self._title(), *map(markdown, self._tables())])

    def __str__(self) -> str:
        return "\n\n".join([self._title(), *map(text, self._tables())])

    def _title(self) -> str:
        height, width, channels = self.input_shape
        return (
            f"{self.name}: images of {height} x {width} x {channels}, "
            f"{self.outputs} classes"
        )

    def _tables(self) -> list[Table]:
        tables = [stage_table(self.stages), place_table(self.places)]
        costs = cost_table(
            self.multiply_adds,
            self.parameters,
            self.trainable_parameters,
            [
                self.computation_overhead,
                self.parameter_overhead,
                self.training_overhead,
            ],
        )
        return [table for table in tables if len(table) > 1] + [costs]


def describe(model: keras.Model) -> ModelDescription:
    """Describes a classifier: layers, what is inserted where, and what it costs.

    Multiply-adds and operations in training are those of `multiply_adds` and
    `layer_flops`. At 200 classes they are those of DGDM's Table 3, but for this:

    - Parameters include moving statistics, and for ResNets the biases that
      `keras.applications` has before batch normalization. VGG-GAP with two head
      convolutions has 29.08 M as printed, ResNet50 24.00 M (23.92 M without these),
      InceptionV3 25.70 M (25.69 M with PyTorch's batch normalization).
    - Multiply-adds leave out all but products with kernels: VGG-GAP has 18.12 G
      (18.20 printed), InceptionV3 with `map_size` 12 has 4.80 G (4.84 printed) and
      6.29 G with 14x14 maps, ResNet50 6.05 G (62.32 printed, which is none of its
      map sizes).

    The blocks of the row `"resnet50_se"` are part of the backbone and no overhead.

    Args:
        model: A classifier of `build_classifier`, a `Localizer`, or another functional
            model with one input of fixed size and one output.

    Returns:
        The description; `print` it, or write its `to_markdown()`.

    Raises:
        TypeError: A layer cannot be counted, as in `multiply_adds`.
        ValueError: The model is not functional, or a size is unknown.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "adl", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> described = describe(model)
    >>> described.parameters, described.places[0].after, described.places[0].shape
    (219829, 'conv_pw_12_relu', (4, 6, 256))
    """
    inserted = inserted_layers(model)
    model = model.model if isinstance(model, Localizer) else model
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`model` must have one input and one output. Received: "
            f"{len(model.inputs)} inputs and {len(model.outputs)} outputs."
        )
    counts = multiply_adds_by_layer(model)
    return ModelDescription(
        name=model.name,
        input_shape=tuple(model.input_shape[1:]),
        outputs=model.output_shape[-1],
        stages=_stages(model, counts),
        places=tuple(
            _place(layer, counts)
            for layer in model.layers
            if (layer in inserted or isinstance(layer, keras.layers.SpatialDropout2D))
            and layer.name not in _BACKBONE_BLOCKS
        ),
        parameters=model.count_params(),
        trainable_parameters=sum(
            math.prod(weight.shape) for weight in model.trainable_weights
        ),
        multiply_adds=sum(counts.values()),
    )


def _stages(model: keras.Model, counts: Mapping[str, int]) -> tuple[Stage, ...]:
    groups: dict[tuple[int, int] | None, list[Any]] = {}
    for layer in model.operations:
        if not isinstance(layer, keras.layers.InputLayer):
            shape = _made(layer)
            is_map = len(shape) == 4 and shape[1:3] != (1, 1)
            groups.setdefault(shape[1:3] if is_map else None, []).append(layer)
    return tuple(
        Stage(
            size=size,
            channels=_made(group[-1])[-1],
            layers=len(group),
            first=group[0].name,
            last=group[-1].name,
            parameters=sum(_parameters(layer) for layer in group),
            multiply_adds=sum(counts.get(layer.name, 0) for layer in group),
        )
        for size, group in groups.items()
    )


def _made(layer: Any) -> tuple:
    return tuple(keras.tree.flatten(layer._inbound_nodes[0].outputs)[0].shape)


def _parameters(layer: Any) -> int:
    return sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()))


def _place(layer: keras.layers.Layer, counts: Mapping[str, int]) -> Place:
    (given,) = layer._inbound_nodes[0].input_tensors
    shape = tuple(given.shape)
    try:
        flops = layer_flops(layer, shape)
    except TypeError:
        flops = None
    return Place(
        after=given._keras_history.operation.name,
        layer=type(layer).__name__,
        shape=shape[1:],
        options=_options(layer),
        parameters=_parameters(layer),
        multiply_adds=counts.get(layer.name, 0),
        training_flops=flops,
    )


def _options(layer: keras.layers.Layer) -> dict[str, Any]:
    defaults = {
        name: argument.default
        for name, argument in inspect.signature(type(layer)).parameters.items()
    }
    return {
        name: value
        for name, value in layer.get_config().items()
        if name in defaults and name not in _NOT_OPTIONS and value != defaults[name]
    }
