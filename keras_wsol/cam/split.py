"""A classifier split at a layer: images to features, features to logits."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import keras

from keras_wsol.arguments import check_layout

_HEAD = (
    "Without a `layer`, score maps are read from a functional model that ends in "
    "GlobalAveragePooling2D and one Dense layer, or in the pooling of class maps"
)


class Node(NamedTuple):
    """A symbolic tensor of a graph, the operation that gave it, and its inputs."""

    tensor: Any
    operation: Any
    parents: list[Any]
    arguments: tuple[Any, ...]  # the call's, numbers among them


def node_of(tensor: Any) -> Node:
    """Returns where a symbolic tensor comes from; an input has no parents."""
    # Keras has no public way: `layer.input` is that of the first call alone, and a
    # layer that a second model shares is called again.
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return Node(tensor, history.operation, node.input_tensors, node.arguments.args)


def graph_of(tensor: Any) -> list[Node]:
    """Returns every tensor that a symbolic tensor is made of, parents first."""
    graph: dict[int, Node] = {}
    waiting = [tensor]
    while waiting:
        node = node_of(waiting[-1])
        unseen = [parent for parent in node.parents if id(parent) not in graph]
        if unseen and id(node.tensor) not in graph:
            waiting.extend(unseen)
        else:
            graph.setdefault(id(waiting.pop()), node)
    return list(graph.values())


def inner_layers(layer: Any) -> Iterator[keras.layers.Layer]:
    """Gives a layer or model and every layer that it holds, however deep, once."""
    seen = set()
    waiting: list[Any] = [layer]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple | dict):
            waiting.extend(each.values() if isinstance(each, dict) else each)
        elif isinstance(each, keras.layers.Layer) and id(each) not in seen:
            seen.add(id(each))
            waiting.extend(vars(each).values())
            yield each


@dataclass(frozen=True)
class SplitModel:
    """A classifier that can be run up to a layer, and on from there."""

    network: keras.Model  # from images to a list: features, logits, *around
    features: Any
    logits: Any  # before a softmax
    # Other branches of skip connections around the layer; or features of more layers.
    around: tuple[Any, ...]
    # The head's, if the features are what its pooling reads; None, too, where they are
    # class maps, whose means are the logits.
    dense: keras.layers.Dense | None
    # What else comes of the features, beside the way to the logits.
    aside: Any = None

    @cached_property
    def onward(self) -> keras.Model:
        """Model from features to `aside`."""
        return keras.Model(self.features, self.aside)

    @cached_property
    def tail(self) -> keras.Model:
        """Model from features and `around` to logits."""
        return keras.Model([self.features, *self.around], self.logits)

    @property
    def num_classes(self) -> int:
        return self.logits.shape[-1]

    @property
    def input_size(self) -> tuple[int, int]:
        return tuple(self.network.inputs[0].shape[1:3])


def split_at(
    model: keras.Model,
    layer: str | None = None,
    *more: str | None,
    aside: str | None = None,
) -> SplitModel:
    """Splits a classifier at the output of a layer; layers and weights are shared.

    Inside a skip connection, what goes around the layer is a further input of the tail:
    the gradient by the features holds it fixed. The layer may lie inside a model that
    is itself a layer. Without a `layer`, the pooling of the head is what reads them.
    With `more` layers, the features of these, of the same pass, are what is `around`.
    The output of the layer `aside` can be made anew from features, by `onward`.
    """
    check_layout(inner_layers(model))
    layers = (layer, *more, *([aside] if aside else []))
    if not getattr(model, "inputs", None) or len(model.outputs) != 1:
        raise ValueError(
            "The model must be functional, called on a `keras.Input`, with one output. "
            f"Received: {model.name!r} of type {type(model).__name__}."
        )
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(
            "The model must have one input of fixed height and width. Received: "
            f"input_shape={model.input_shape}."
        )
    outside = {None, *(each.name for each in model.layers)}
    inside = [each for each in layers if each not in outside]
    for each in inside:
        if not _holds(model, each):
            check_layer_names(model, [each], action="read maps from")
    model = _unfolded(model, inside) if inside else model
    pooled, dense = _head(model) if None in layers else (None, None)
    logits = _logits(model)
    graph, whole = graph_of(logits), graph_of(model.outputs[0])
    every = [_output_of(each, whole) if each else pooled for each in layers]
    off = every.pop() if aside else None
    features, around = every[0], tuple(every[1:] or _around(every[0], graph))
    network = keras.Model(model.inputs[0], [features, logits, *around])
    return SplitModel(network, features, logits, around, dense, off)


def _head(model: keras.Model) -> tuple[Any, Any]:
    """Reads the end of a model backwards: what the pooling averages, and the Dense.

    Operation by operation, so that nothing lies between that the map would not show.
    """
    node = node_of(model.outputs[0])
    while _is_softmax(node.operation) or _is_identity(node) or _is_temperature(node):
        node = _before(node)
    dense = None
    if _calls_as(keras.layers.Dense, node.operation):
        dense, node = node.operation, _before(node)
        while isinstance(node.operation, keras.layers.Dropout):
            node = _before(node)
    pool = node.operation
    if not _calls_as(keras.layers.GlobalAveragePooling2D, pool):
        graph = graph_of(model.outputs[0])
        ends = [type(each.operation).__name__ for each in graph[-4:]]
        raise ValueError(f"{_HEAD}. Received a model that ends in: {ends}.")
    if pool.keepdims:
        raise ValueError(
            f"{_HEAD}, the pooling with keepdims=False. Received: {pool.name!r} with "
            "keepdims=True."
        )
    return node.parents[0], dense


def _before(node: Node) -> Node:
    return node_of(node.parents[0]) if node.parents else node


def _calls_as(layer: type[keras.layers.Layer], operation: Any) -> bool:
    """Whether an operation is a layer of this class, called as the class itself."""
    return isinstance(operation, layer) and type(operation).call is layer.call


def _activation(operation: Any) -> str:
    """Name of the function that an operation ends in, `"linear"` if there is none."""
    function = getattr(operation, "activation", None)
    if function is not None:  # a function, or a layer that is used as one
        return getattr(function, "__name__", type(function).__name__)
    name = type(operation).__name__.lower()  # the operation, or layer, of a function
    known = {each.replace("_", "") for each in dir(keras.activations)}
    return name if name in known else "linear"


def _is_softmax(operation: Any) -> bool:
    over_classes = getattr(operation, "axis", -1) in (-1, 1)
    is_dense = isinstance(operation, keras.layers.Dense)
    return over_classes and not is_dense and _activation(operation) == "softmax"


def _is_identity(node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, keras.layers.Activation):
        return _activation(operation) == "linear"
    passes = getattr(operation, "passes_logits", False)  # the first of its inputs
    return passes or isinstance(operation, keras.layers.Identity)


def _is_temperature(node: Node) -> bool:
    """Whether an operation multiplies by, or divides by, one number above 0."""
    name, factors = type(node.operation).__name__, node.arguments[1:]
    if name == "Multiply":  # the number may come first
        factors = [each for each in node.arguments if each is not node.parents[0]]
    elif name == "Rescaling":
        factors = [node.operation.scale]
    elif name not in ("Divide", "TrueDivide"):
        return False
    above_0 = [isinstance(each, int | float) and each > 0 for each in factors]
    return bool(above_0) and all(above_0)


def _holds(model: Any, layer: str) -> bool:
    """Whether a layer lies inside a functional model, however deep."""
    # A model that is not functional has no `inputs`, and stays one layer.
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return False
    return any(each.name == layer or _holds(each, layer) for each in model.layers)


def _unfolded(model: keras.Model, layers: list[str]) -> keras.Model:
    """The model with the models that layers lie inside of taken apart."""

    def call(each: Any, *args: Any, **kwargs: Any) -> Any:
        holds = any(_holds(each, layer) for layer in layers)
        return run(each, args[0]) if holds else each(*args, **kwargs)

    def run(inner: keras.Model, inputs: Any) -> Any:
        # `keras.models.clone_model` has the same hook, but cuts the tensors it
        # returns off from those of the outer model.
        function = keras.Function(inner.inputs, inner.outputs)
        return function._run_through_graph(inputs, call_fn=call)

    (given,) = model.inputs
    images = keras.Input(batch_shape=given.shape, dtype=given.dtype)
    return keras.Model(images, run(model, [images]), name=model.name)


def _logits(model: keras.Model) -> Any:
    """The symbolic logits, before a softmax if the model ends in one."""
    (output,) = model.outputs
    while _is_identity(node_of(output)):
        output = _before(node_of(output)).tensor
    softened = _is_softmax(node_of(output).operation)
    if softened:
        output = _before(node_of(output)).tensor
    end = node_of(output)
    while _is_identity(end) or _is_temperature(end):
        end = _before(end)
    operation, name = end.operation, _activation(end.operation)
    alone = end.tensor is output and not softened  # a second softmax is refused
    if name == "softmax" and alone and hasattr(operation, "kernel"):
        output = keras.ops.matmul(end.parents[0], operation.kernel)
        output = output if operation.bias is None else output + operation.bias
    elif name != "linear":
        raise ValueError(
            "The model must end in logits or in their softmax. Received a model that "
            f"ends in {operation.name!r} with activation={name!r}."
        )
    if len(output.shape) != 2 or output.shape[-1] is None:
        raise ValueError(
            "The model must have an output of shape (batch, num_classes). Received: "
            f"{model.name!r} with output shape {tuple(output.shape)}."
        )
    return output


def _output_of(layer: str, graph: list[Node]) -> Any:
    """The output of the layer in this graph, if there is one and it is 4D."""
    outputs = [node.tensor for node in graph if node.operation.name == layer]
    if len(outputs) != 1:
        raise ValueError(
            "`layer` must be called once on the way from the images to the logits. "
            f"Received: layer={layer!r}, called {len(outputs)} times."
        )
    if len(outputs[0].shape) != 4:
        raise ValueError(
            "`layer` must have an output of shape (batch, height, width, channels). "
            f"Received: layer={layer!r} with output shape {tuple(outputs[0].shape)}."
        )
    return outputs[0]


def _around(features: Any, graph: list[Node]) -> list[Any]:
    """Tensors that meet the features, or what comes of them, further on."""
    reached = {id(features)}
    around = {}
    for tensor, _, parents, _ in graph:
        if tensor is not features and any(id(each) in reached for each in parents):
            reached.add(id(tensor))
            around |= {id(each): each for each in parents if id(each) not in reached}
    return list(around.values())


def check_layer_names(
    model: keras.Model, names: Iterable[str], action: str = "insert after"
) -> None:
    """Raises unless `model` has layers of all these names, inputs apart."""
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
