"""A classifier split at a layer: images to features, features to logits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

_EXPECTED = (
    "A class activation map is read from a functional model that ends in "
    "GlobalAveragePooling2D and one Dense layer"
)


@dataclass(frozen=True)
class Head:
    """The head of a classifier: pooled features and one `Dense` layer.

    Attributes:
        network: Model from images to `(features, logits)`, sharing the
            classifier's layers.
        dense: The `Dense` layer.
    """

    network: keras.Model
    dense: keras.layers.Dense

    @property
    def kernel(self) -> Any:
        """Class weights `(C, num_classes)`."""
        return self.dense.kernel

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.dense.units


def find_head(model: keras.Model) -> Head:
    """Finds the global average pooling and the `Dense` layer that ends a model."""
    pool, dense = _pool_and_dense(model)
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(
            "The model must have one input of fixed height and width. Received: "
            f"input_shape={model.input_shape}."
        )
    logits = dense.output
    if dense.activation is not keras.activations.linear:
        logits = keras.ops.matmul(dense.input, dense.kernel)
        logits = logits if dense.bias is None else logits + dense.bias
    network = keras.Model(model.inputs, [pool.input, logits], name="cam_network")
    return Head(network=network, dense=dense)


def activation_name(activation: Any) -> str:
    """Returns what an error calls an activation: a function, or a layer used as one."""
    return getattr(activation, "__name__", type(activation).__name__)


def _pool_and_dense(model: Any) -> tuple[Any, Any]:
    """Reads the end of a model backwards, and raises if it is another end."""
    layers = list(getattr(model, "layers", []))
    tail = list(layers)
    if tail and _is_softmax(tail[-1]):
        tail.pop()
    dense = tail.pop() if tail else None
    while tail and isinstance(tail[-1], keras.layers.Dropout):
        tail.pop()
    pool = tail.pop() if tail else None
    is_pool = isinstance(pool, keras.layers.GlobalAveragePooling2D)
    if not (is_pool and isinstance(dense, keras.layers.Dense)):
        ends = [type(layer).__name__ for layer in layers[-4:]]
        raise ValueError(f"{_EXPECTED}. Received a model that ends in: {ends}.")
    _check_pool_and_dense(model, pool, dense)
    return pool, dense


def _check_pool_and_dense(model: Any, pool: Any, dense: Any) -> None:
    """Raises unless the map that is read is what the model decides by."""
    linear, softmax = keras.activations.linear, keras.activations.softmax
    if dense.activation not in (linear, softmax):
        raise ValueError(
            f"{_EXPECTED}, which gives one logit a class or their softmax. Received: "
            f"{dense.name!r} with activation={activation_name(dense.activation)!r}."
        )
    if pool.keepdims:
        raise ValueError(
            f"{_EXPECTED}, the pooling with keepdims=False. Received: {pool.name!r} "
            "with keepdims=True."
        )
    # Only what has been called on a symbolic tensor has an input.
    if not (hasattr(pool, "input") and hasattr(dense, "input")):
        raise ValueError(
            f"{_EXPECTED}, called on a `keras.Input`. Received: {model.name!r} of type "
            f"{type(model).__name__}, which is subclassed or not built."
        )


def _is_softmax(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Softmax):
        return True
    is_activation = isinstance(layer, keras.layers.Activation)
    return is_activation and layer.activation is keras.activations.softmax


SOFTMAX = "Softmax"  # the class of the layer and of the operation


@dataclass(frozen=True)
class SplitModel:
    """A classifier that can be run up to a layer, and on from there.

    Attributes:
        network: Model from images to a list: features, logits and whatever else the
            tail takes.
        tail: Model from features, and whatever else goes around them (the other
            branches of skip connections that the layer lies inside of), to logits.
        num_classes: Number of classes.
    """

    network: keras.Model
    tail: keras.Model
    num_classes: int


def split_at(model: keras.Model, layer: str | None = None) -> SplitModel:
    """Splits a classifier at the output of a layer; layers and weights are shared.

    The layer may be anywhere in the graph, also inside a skip connection: what goes
    around it is a further input of the tail, so that a gradient by the features is
    the one with all else held fixed. It may lie inside a model that is itself a layer,
    such as the backbone of a fine-tuned classifier.

    Args:
        model: A functional or `Sequential` Keras model with one input of fixed size
            and logits or softmax probabilities `(batch, num_classes)` as output.
        layer: Name of a layer with a 4D output. Default: the layer that the
            global average pooling of the head reads.

    Returns:
        The parts. Their logits are those before a softmax.

    Raises:
        ValueError: There is no such layer, its output is not 4D, it is called more
            than once, the logits do not depend on it, or the model is another.

    Example:
    >>> images = keras.Input((8, 6, 3))
    >>> x = keras.layers.Conv2D(4, 3, name="last")(images)
    >>> x = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x))
    >>> split = split_at(keras.Model(images, x), "last")
    >>> features, logits = split.network(keras.ops.ones((1, 8, 6, 3)))
    >>> tuple(features.shape), tuple(split.tail([features]).shape)
    ((1, 6, 4, 4), (1, 2))
    """
    if not getattr(model, "inputs", None) or len(model.outputs) != 1:
        raise ValueError(
            "The model must be functional, with one output. Received: "
            f"{model.name!r} of type {type(model).__name__}."
        )
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        raise ValueError(
            "The model must have one input of fixed height and width. Received: "
            f"input_shape={model.input_shape}."
        )
    if layer is not None and layer not in [each.name for each in model.layers]:
        if not _holds(model, layer):
            check_layer_names(model, [layer], action="read maps from")
        model = _unfolded(model, layer)
    logits = _logits(model)
    graph = _graph_of(logits)
    features = _pooled(model) if layer is None else _output_of(layer, graph)
    around = _around(features, graph)
    return SplitModel(
        network=keras.Model(model.inputs[0], [features, logits, *around]),
        tail=keras.Model([features, *around], logits),
        num_classes=logits.shape[-1],
    )


def _holds(model: Any, layer: str) -> bool:
    """Whether a layer lies inside a functional model, however deep."""
    # A model that is not functional has no `inputs`, and stays one layer.
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return False
    return any(each.name == layer or _holds(each, layer) for each in model.layers)


def _unfolded(model: keras.Model, layer: str) -> keras.Model:
    """The model with the models that `layer` lies inside of taken apart."""

    def call(each: Any, *args: Any, **kwargs: Any) -> Any:
        return run(each, args[0]) if _holds(each, layer) else each(*args, **kwargs)

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
    operation = output._keras_history.operation
    if type(operation).__name__ == SOFTMAX or (
        isinstance(operation, keras.layers.Activation)
        and operation.activation is keras.activations.softmax
    ):
        (output,) = _parents(output)
        operation = output._keras_history.operation
    activation = getattr(operation, "activation", keras.activations.linear)
    is_dense = isinstance(operation, keras.layers.Dense)
    if is_dense and activation is keras.activations.softmax:
        (pooled,) = _parents(output)
        output = keras.ops.matmul(pooled, operation.kernel)
        output = output if operation.bias is None else output + operation.bias
    elif activation is not keras.activations.linear:
        raise ValueError(
            "The model must end in logits or in their softmax. Received a model that "
            f"ends in {operation.name!r} with activation="
            f"{activation_name(activation)!r}."
        )
    if len(output.shape) != 2 or output.shape[-1] is None:
        raise ValueError(
            "The model must have an output of shape (batch, num_classes). Received: "
            f"{model.name!r} with output shape {tuple(output.shape)}."
        )
    return output


def _parents(tensor: Any) -> list[Any]:
    """The symbolic tensors that one is made of; none for an input."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors


def _graph_of(logits: Any) -> list[tuple[Any, list[Any]]]:
    """Every tensor that `logits` are made of with its parents, parents first."""
    graph: dict[int, tuple[Any, list[Any]]] = {}
    waiting = [logits]
    while waiting:
        tensor = waiting[-1]
        parents = _parents(tensor)
        unseen = [parent for parent in parents if id(parent) not in graph]
        if unseen and id(tensor) not in graph:
            waiting.extend(unseen)
        else:
            graph.setdefault(id(waiting.pop()), (tensor, parents))
    return list(graph.values())


def _pooled(model: keras.Model) -> Any:
    """The features that the pooling of the head reads."""
    try:
        return find_head(model).network.outputs[0]
    except ValueError as error:
        raise ValueError(
            "`layer` must name the layer whose features are read, unless the model "
            "ends in GlobalAveragePooling2D and one Dense layer. Received: layer=None."
        ) from error


def _output_of(layer: str, graph: list[tuple[Any, list[Any]]]) -> Any:
    """The output of the layer in this graph, if there is one and it is 4D."""
    outputs = [
        tensor for tensor, _ in graph if tensor._keras_history.operation.name == layer
    ]
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


def _around(features: Any, graph: list[tuple[Any, list[Any]]]) -> list[Any]:
    """Tensors that meet the features, or what comes of them, further on."""
    reached = {id(features)}
    around = {}
    for tensor, parents in graph:
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
