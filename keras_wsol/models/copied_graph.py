"""The graph of a backbone on fresh copies of its layers, with layers inserted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_wsol.models.splice import LayerFactory, changed_layer, stable_names


@dataclass(frozen=True)
class CallAndInsert:
    """Calls layers, and after each what is to follow it.

    Attributes:
        following: Layer name to functions that make the layers that follow it, which
            may be followed themselves.
        outputs: Name of each layer that has been called to what comes of it, behind
            what follows it.
    """

    following: Mapping[str, Sequence[LayerFactory]]
    outputs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the layer's output, behind what follows the layer."""
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
) -> None:
    """Calls copies of a model's layers, under their stable names.

    A `Sequential` inside of the model is taken apart into its layers. What comes of
    the layers is in `call.outputs`.

    Args:
        source: A functional Keras model with one input. It is not changed.
        images: Symbolic input of the new graph.
        normalized: What the copies take in place of `images`.
        call: What calls the copies.
        changes: Stable layer name to configuration entries to replace.
        seed: Integer that fixes the weights of the copies.

    Raises:
        ValueError: The source lacks a layer of `changes`.
    """
    names = stable_names(source)
    unknown = sorted(set(changes) - set(names.values()))
    if unknown:
        raise ValueError(
            f"`changes` must be of layers of `{source.name}`. Received: {unknown}."
        )
    copies: dict[int, Any] = {}

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            return layer
        if id(layer) not in copies:
            name = names[layer.name]
            copies[id(layer)] = changed_layer(layer, name, changes.get(name, {}), seed)
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
