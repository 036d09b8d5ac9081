"""Copies of a graph with layers inserted or changed."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import keras

from keras_wsol.arguments import check_integer, check_layout
from keras_wsol.cam.split import check_layer_names, graph_of, inner_layers
from keras_wsol.models.parts import FusedBatchNormalization

LayerFactory = Callable[[], keras.layers.Layer]


def set_layer_weights(layer: keras.layers.Layer, weights: Sequence[Any]) -> None:
    """Sets the weights of a layer or model, so that it computes with them."""
    layer.set_weights(weights)
    refresh_normalizations(layer)


def refresh_normalizations(layer: keras.layers.Layer) -> None:
    """Makes the constants of every inner `Normalization` anew from its weights."""
    for each in inner_layers(layer):
        if isinstance(each, keras.layers.Normalization):
            each.finalize_state()


@dataclass(frozen=True)
class CallAndInsert:
    """Calls layers, and after each the layers that are to follow it."""

    # Layer name to what makes the layers that follow it, which may be followed, too.
    following: dict[str, list[LayerFactory]]
    # Layer name to the output of the last layer that follows it.
    outputs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        for make in self.following.get(layer.name, ()):
            result = self(make(), result)
        self.outputs[layer.name] = result
        return result


def copy_graph(
    source: keras.Model,
    images: Any,
    normalized: Any,
    call: CallAndInsert,
    changes: Mapping[str, Mapping[str, Any]],
    seed: int,
    names: Mapping[str, str] | None = None,
    prefix: str = "",
) -> None:
    """Calls copies of a model's layers on `images`, under their stable names."""
    names = stable_names(source) if names is None else names
    check_names("map_sizes", changes, f"`{source.name}`", names.values())
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            return layer
        if id(layer) not in copies:
            name = names[layer.name]
            copies[id(layer)] = changed_layer(
                layer, prefix + name, changes.get(name, {}), seed
            )
        return copies[id(layer)]

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            (result,) = args
            for inner in layer.layers:
                result = run(copy(inner), result)
            return result
        args, kwargs = keras.tree.map_structure(
            lambda each: normalized if each is images else each, (args, kwargs)
        )
        return call(layer, *args, **kwargs)

    keras.models.clone_model(
        source, input_tensors=images, clone_function=copy, call_function=run
    )


def copy_stage(
    source: keras.Model,
    start: str,
    end: str,
    features: Any,
    call: CallAndInsert,
    changes: Mapping[str, Mapping[str, Any]],
    seed: int,
    prefix: str,
) -> Any:
    """Calls copies of the layers after `start`, up to `end`, on other features."""
    names = stable_names(source)
    tensors = {}
    for tensor, operation, *_ in graph_of(source.outputs[0]):
        while isinstance(operation, keras.Sequential):
            operation = operation.layers[-1]
        tensors[names.get(operation.name)] = tensor
    if start == end:
        return features
    try:
        stage = keras.Model(tensors[start], tensors[end])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"`drop_after` must name a layer of `{source.name}` through which all that "
            f"leads to {end!r} passes. Received: {start!r}."
        ) from error
    copy_graph(stage, features, features, call, changes, seed, names, prefix)
    return call.outputs[prefix + end]


def check_names(
    argument: str, names: Iterable[str], owner: str, present: Collection[str]
) -> None:
    """Raises unless all names that an argument gives are present."""
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(
            f"`{argument}` must name layers of {owner}. Received: {missing}. "
            f"Its last layers are: {list(present)[-20:]}."
        )


def derive_seed(seed: int, name: str) -> int:
    """Derives a seed from a name, the same in every process."""
    return crc32(f"{seed}/{name}".encode()) % 2**31


def insert_after(model: keras.Model, layers: Mapping[str, LayerFactory]) -> keras.Model:
    """Copies a functional model with layers inserted; weights carry over.

    Args:
        model: A functional Keras model. It is not changed. Nothing can be inserted
            inside of a model that is a layer of it.
        layers: Layer name to a function that makes the layer to insert after it, of
            this package or your own.

    Returns:
        A new functional model. With layers that are the identity at inference, its
        inference is that of `model` to the bit.

    Raises:
        ValueError: The model has no layer of that name.

    Example:
    >>> from keras_wsol.layers import ADL
    >>> inputs = keras.Input((8, 6, 3))
    >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="conv")(inputs))
    >>> spliced = insert_after(model, {"conv": ADL})
    >>> [type(layer).__name__ for layer in spliced.layers]
    ['InputLayer', 'Conv2D', 'ADL']
    """
    check_layer_names(model, layers)
    check_layout(inner_layers(model))
    call = CallAndInsert({name: [make] for name, make in layers.items()})
    copy = keras.models.clone_model(model, call_function=call)
    copy_weights(model, copy)
    return copy


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of each layer of `source` to its namesake in `target`."""
    for layer in source.layers:
        if layer.weights:
            set_layer_weights(target.get_layer(layer.name), layer.get_weights())


def flat_layers(model: keras.Model) -> Iterator[Any]:
    """Layers and operations in order, with `Sequential` models taken apart."""
    sequential = isinstance(model, keras.Sequential)
    for layer in model.layers if sequential else model.operations:
        if isinstance(layer, keras.Sequential):
            yield from flat_layers(layer)
        else:
            yield layer


def stable_names(model: keras.Model) -> dict[str, str]:
    """Names the layers that Keras named by counting, the same in every process."""
    counts: dict[str, int] = {}
    names = {}
    for layer in flat_layers(model):
        kind = re.sub(r"_\d+$", "", layer.name)
        names[layer.name] = layer.name
        # A batch normalization keeps the name that Keras gave it before it was ours.
        made = type(layer).__name__.lower().removeprefix("fused")
        if kind.replace("_", "") == made:
            counts[kind] = counts.get(kind, 0) + 1
            names[layer.name] = f"{kind}_{counts[kind]}"
    return names


def changed_layer(
    layer: keras.layers.Layer, name: str, changes: Mapping[str, Any], seed: int
) -> keras.layers.Layer:
    """Makes a new layer of a layer's configuration with changes, seeded."""
    kind = type(layer).__name__
    # Not its subclasses, whose calls are their own.
    is_norm = type(layer) is keras.layers.BatchNormalization
    make = FusedBatchNormalization if is_norm else type(layer)
    try:
        made = make.from_config(_changed(layer.get_config(), name, changes, seed))
    except Exception as error:
        said = str(error).split("Exception encountered: ")[-1][:200]
        raise ValueError(
            f"{layer.name!r}, a {kind}, cannot be copied, since it is not made from "
            f"its own configuration. Keras says: {said}"
        ) from error
    if made.name != name:
        raise ValueError(
            f"{layer.name!r}, a {kind}, cannot be copied, since its class names it "
            f"{made.name!r} when told {name!r}."
        )
    return made


def _changed(
    config: dict[str, Any], name: str, changes: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """A configuration under another name, with its seeds set."""
    config.update(changes, name=name)
    if config.get("seed", 0) is None:
        config["seed"] = derive_seed(seed, name)
    for entry in config.values():
        inner = entry.get("config") if isinstance(entry, dict) else None
        if isinstance(inner, dict) and "seed" in inner:
            inner["seed"] = derive_seed(seed, name)
    return config


def calls_of(model: keras.Model) -> list[tuple[Any, list[tuple], tuple]]:
    """Operation and shapes of inputs and first output of each call, in order.

    A call that makes several tensors counts once.
    """
    calls: dict[tuple[int, ...], tuple[Any, list[tuple], tuple]] = {}
    for output in keras.tree.flatten(model.outputs):
        for tensor, operation, parents, _ in graph_of(output):
            if parents:  # not an input
                call = (id(operation), *(id(each) for each in parents))
                shapes = [tuple(x.shape) for x in parents], tuple(tensor.shape)
                calls.setdefault(call, (operation, *shapes))
    return list(calls.values())


def with_input_size(model: keras.Model, input_size: Sequence[int]) -> keras.Model:
    """Copies a classifier, for images of another size; weights carry over.

    Training crops show objects larger than whole images do. A classifier that is
    read at 8/7 of its training size sees them as it was trained to (Touvron et al.,
    2019, "Fixing the train-test resolution discrepancy"), and its maps get finer.

    Args:
        model: A functional classifier whose weights do not depend on the size, as
            those of `build_classifier`. For a `Localizer`, give its `model`.
        input_size: Height and width, multiples of 32: the copy keeps settings that
            the backbone took from its own size, such as MobileNetV2's padding.

    Returns:
        A new functional model of the same name with copies of the weights, not
        compiled. What was not trained stays so. Random layers start from their seeds.

    Raises:
        TypeError: `model` is not functional, or a size is no integer.
        ValueError: `input_size` is not two positive integers, or the model cannot
            take images of this size.

    Example:
    >>> inputs = keras.Input((8, 6, 3))
    >>> model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    >>> with_input_size(model, (10, 7)).input_shape
    (None, 10, 7, 3)
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(
            "`model` must be a functional Keras model. Received: "
            f"{model!r} (of type {type(model).__name__})."
        )
    if not isinstance(input_size, tuple | list) or len(input_size) != 2:
        raise ValueError(
            "`input_size` must be a tuple or list of height and width. Received: "
            f"input_size={input_size!r}."
        )
    check_layout(inner_layers(model))
    size = tuple(check_integer("input_size", each) for each in input_size)
    shapes = [tuple(each.shape) for each in model.inputs]
    if len(shapes) != 1 or len(model.outputs) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "`model` must have one input, images, and one output. Received: inputs "
            f"{shapes}, {len(model.outputs)} output(s)."
        )
    (given,) = model.inputs
    # A clone would keep the loss, and a list or dictionary around the input.
    kind = type(model) if hasattr(model, "for_inference") else keras.Model
    plain = kind(given, model.outputs[0], name=model.name)
    images = keras.Input(
        batch_shape=(given.shape[0], *size, given.shape[3]),
        dtype=given.dtype,
        name=given.name,
    )
    try:
        copy = keras.models.clone_model(plain, input_tensors=images)
        copy_weights(plain, copy)
    except ValueError as error:
        raise ValueError(
            f"`{model.name}` cannot take images of {size[0]}x{size[1]}: its weights "
            f"or its graph are for {shapes[0][1:3]}. Keras says: {error}"
        ) from error
    return copy
