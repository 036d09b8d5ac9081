"""Inserting layers into a functional model, and changing layers of it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import keras

from keras_wsol.models.layer_weights import set_layer_weights

LayerFactory = Callable[[], keras.layers.Layer]


def derive_seed(seed: int, name: str) -> int:
    """Derives a seed of its own for each name, the same in every process.

    Args:
        seed: Integer, the seed of the whole.
        name: What the derived seed is for.

    Returns:
        An integer in [0, 2**31).

    Example:
    >>> derive_seed(0, "a") == derive_seed(0, "a") != derive_seed(0, "b")
    True
    """
    return crc32(f"{seed}/{name}".encode()) % 2**31


def check_layer_names(
    model: keras.Model, names: Iterable[str], action: str = "insert after"
) -> None:
    """Raises unless `model` has layers of all these names, inputs apart.

    Args:
        model: A Keras model.
        names: Names of layers.
        action: What was to be done with them, for the message.

    Raises:
        ValueError: The model lacks one; the message lists its last layers.
    """
    present = [
        layer.name
        for layer in getattr(model, "operations", model.layers)
        if not isinstance(layer, keras.layers.InputLayer)
    ]
    missing = sorted(set(names) - set(present))
    if missing:
        raise ValueError(
            f"Cannot {action} layers that `{model.name}` does not have. Received: "
            f"{missing}. Its last layers are: {present[-20:]}."
        )


def insert_after(model: keras.Model, layers: Mapping[str, LayerFactory]) -> keras.Model:
    """Copies a functional model with layers inserted; weights carry over.

    Args:
        model: A functional Keras model. It is not changed. A model that is a
            layer of it stays whole: nothing can be inserted inside.
        layers: Layer name to a function without arguments that makes the layer to
            insert after it.

    Returns:
        A new functional model. With layers that are the identity at inference, its
        inference is that of `model` to the bit.

    Raises:
        ValueError: The model has no layer of that name.

    Example:
    >>> inputs = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    >>> model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    >>> from keras_wsol.layers import ADL
    >>> spliced = insert_after(model, {"conv": ADL})
    >>> [type(layer).__name__ for layer in spliced.layers]
    ['InputLayer', 'Conv2D', 'ADL', 'GlobalAveragePooling2D']
    """
    check_layer_names(model, layers)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        return layers[layer.name]()(outputs) if layer.name in layers else outputs

    copy = keras.models.clone_model(model, call_function=call)
    copy_weights(model, copy)
    return copy


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of each layer of `source` to its namesake in `target`.

    Args:
        source: A built Keras model.
        target: A built Keras model with a layer of the same name and weight shapes
            for each layer of `source` that has weights.
    """
    for layer in source.layers:
        if layer.weights:
            set_layer_weights(target.get_layer(layer.name), layer.get_weights())


def flat_layers(model: keras.Model) -> Iterator[Any]:
    """Lists the layers of a model, with those of a `Sequential` in its place.

    Args:
        model: A Keras model.

    Yields:
        Layers, and functions of `keras.ops` that are part of its graph.
    """
    sequential = isinstance(model, keras.Sequential)
    for layer in model.layers if sequential else model.operations:
        if isinstance(layer, keras.Sequential):
            yield from flat_layers(layer)
        else:
            yield layer


def stable_names(model: keras.Model) -> dict[str, str]:
    """Names the layers that Keras named by counting, the same in every process.

    `keras.applications` leaves most layers of InceptionV3 unnamed, so that Keras
    calls them `conv2d_94` or `conv2d_188`, by what was built before. Weights that
    are carried over by name, and seeds, need names that stay.

    Args:
        model: A functional or `Sequential` Keras model.

    Returns:
        Name of each layer, and of each function of `keras.ops`, to its stable name:
        that of its author, or the layer's type and its number among those of its
        type in this model. Layers of a `Sequential` inside are among them.

    Example:
    >>> layers = [keras.layers.Dense(1), keras.layers.Dense(1, name="mine")]
    >>> list(stable_names(keras.Sequential(layers)).values())
    ['dense_1', 'mine']
    """
    counts: dict[str, int] = {}
    names = {}
    for layer in flat_layers(model):
        kind = re.sub(r"_\d+$", "", layer.name)
        names[layer.name] = layer.name
        if kind.replace("_", "") == type(layer).__name__.lower():
            counts[kind] = counts.get(kind, 0) + 1
            names[layer.name] = f"{kind}_{counts[kind]}"
    return names


def changed_layer(
    layer: keras.layers.Layer, name: str, changes: Mapping[str, Any], seed: int
) -> keras.layers.Layer:
    """Makes a fresh copy of a layer with another configuration, seeded.

    Args:
        layer: The layer to copy, or a function of `keras.ops` in a graph; its
            weights are not copied.
        name: Name of the copy.
        changes: Configuration entries to replace.
        seed: Integer. Every initializer, and a layer that draws, gets a seed derived
            from it and the layer's name, so that neither depends on the global seed.

    Returns:
        A layer of the same class.
    """
    config = layer.get_config()
    config.update(changes, name=name)
    if config.get("seed", 0) is None:
        config["seed"] = derive_seed(seed, name)
    for entry in config.values():
        inner = entry.get("config") if isinstance(entry, dict) else None
        if isinstance(inner, dict) and "seed" in inner:
            inner["seed"] = derive_seed(seed, name)
    return type(layer).from_config(config)
