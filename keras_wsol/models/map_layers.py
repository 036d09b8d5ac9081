"""The layers that fitted score maps are read from, unless told."""

import keras
import numpy as np

from keras_wsol.cam.split import Node, graph_of, split_at
from keras_wsol.models.backbones import BACKBONES

_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)
_FUNCTIONS = ("Relu", "Relu6", "Silu", "Gelu", "HardSwish", "HardSilu")
# What is made of activations alone is one.
_PASSING = (
    keras.layers.Concatenate,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Dropout,
)


def map_layers(model: keras.Model) -> list[str]:
    """Names of up to three layers, from early to late.

    The last one in front of the last stride, where maps are finest for what they know;
    one behind it; and the last one. A stride that `build_classifier` has removed
    counts. Where there are activations, only they do: other maps have no sign that
    says object.
    """
    inner = _inner(model)
    graph = graph_of(split_at(model).features if inner is None else inner.outputs[0])
    active: dict[int, bool] = {}
    for node in graph:
        active[id(node.tensor)] = _is_active(node, active)
    removed = _strides_removed(inner or model)
    before, behind = _around_last_stride(graph, removed)
    if any(active[id(node.tensor)] for node in [*before, *behind]):
        before, behind = (
            [node for node in part if active[id(node.tensor)]]
            for part in (before, behind)
        )
    chosen = [*before[-1:], *behind[: len(behind) // 2][-1:], *behind[-1:]]
    return list(dict.fromkeys(node.operation.name for node in chosen))


def _inner(model: keras.Model) -> keras.Model | None:
    """The backbone, if it is a layer of this model."""
    models = [each for each in model.layers if getattr(each, "inputs", None)]
    # A part of a backbone that lies around it is smaller.
    models = [x for x in models if 2 * len(x.layers) > len(model.layers)]
    found = filter(_makes_smaller, models)
    return max(found, key=lambda each: len(each.layers), default=None)


def _makes_smaller(model: keras.Model) -> bool:
    """Whether maps are smaller than images: augmentation keeps their size."""
    images, features = model.inputs[0].shape, model.outputs[0].shape
    known = len(images) == len(features) == 4 and None not in images[1:3]
    return not known or features[1] is None or features[1] < images[1]


def _strides_removed(model: keras.Model) -> set[str]:
    """Layers that stride in `keras.applications`, and no more in some rows."""
    # `build_classifier` names a model after the row. Other models have layers of the
    # same names.
    rows = [name for name in BACKBONES if model.name.startswith(f"{name}_")]
    if not rows:
        return set()
    return {
        name
        for changes in BACKBONES[max(rows, key=len)].map_sizes.values()
        for name, entries in changes.items()
        if "strides" in entries
    }


def _around_last_stride(
    graph: list[Node], removed: set[str]
) -> tuple[list[Node], list[Node]]:
    """Maps between the last two strides, and behind the last; images are none.

    Only those that all that follows is made of: something goes around the maps inside
    of a residual block. The class token goes around every map of a transformer.
    """
    order = {id(node.tensor): place for place, node in enumerate(graph)}
    reach = [0] * len(graph)  # the last place where each is used
    for place, node in enumerate(graph):
        for parent in node.parents:
            reach[order[id(parent)]] = place
    used, before, behind = -1, [], []
    for place, node in enumerate(graph):
        strides = node.operation.name in removed or _strides(node)
        if strides and behind:  # a residual block strides twice
            before, behind = behind, []
        # What `+` and the like make has no name that lasts.
        lasts = isinstance(node.operation, keras.layers.Layer) and node.parents
        lasts = lasts and node.tensor.shape != graph[0].tensor.shape
        whole = used <= place or _is_of_tokens(node)
        if whole and len(node.tensor.shape) == 4 and lasts:
            behind.append(node)
        used = max(used, reach[place])
    return before, behind


def _is_of_tokens(node: Node) -> bool:
    """Whether a map is made of tokens in a row."""
    return len(node.tensor.shape) == 4 and len(node.parents[0].shape) == 3


def _strides(node: Node) -> bool:
    """Whether an operation makes the map smaller."""
    sides = [x.shape[1] for x in (node.tensor, *node.parents) if len(x.shape) == 4]
    if None in sides:
        return np.max(getattr(node.operation, "strides", 1)) > 1
    # To 1, it is the pooling of squeeze and excitation.
    return len(sides) > 1 and 1 < sides[0] < 0.75 * max(sides)


def _is_active(node: Node, active: dict[int, bool]) -> bool:
    """Whether an operation is an activation, or passes activations on."""
    operation = node.operation
    if isinstance(operation, _PASSING):
        return all(active[id(parent)] for parent in node.parents)
    function = getattr(operation, "activation", None)
    own = function not in (None, keras.activations.linear)
    kind = isinstance(operation, _ACTIVATIONS) or type(operation).__name__ in _FUNCTIONS
    return own or kind
