"""What a classifier is made of and what it costs, as tables."""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.complexity import layer_flops, multiply_adds_by_layer
from keras_wsol.models.description_tables import (
    Table,
    cost_table,
    markdown,
    place_table,
    stage_table,
    text,
)
from keras_wsol.models.inserted import inserted_layers
from keras_wsol.models.localizer import Localizer

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
