"""What a classifier is built on: the backbone, its weights, and what is trained."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_wsol.arguments import check_choice, check_integer, check_layout, check_number
from keras_wsol.cam.by_class import class_names_of
from keras_wsol.cam.split import graph_of, inner_layers, node_of
from keras_wsol.files import reading
from keras_wsol.models import splice
from keras_wsol.models.backbone_spec import NORMALIZATION, BackboneSpec
from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.hub_transformers import TRANSFORMERS, plain
from keras_wsol.models.parts import MODES
from keras_wsol.models.transformers import TokenEmbedding

_DEFAULT_SHAPE = (224, 224, 3)
_LAYER_NORM = keras.layers.LayerNormalization


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a classifier is built on; `trained` has weights that carry over instead."""

    name: str
    spec: BackboneSpec
    source: keras.Model
    trained: keras.Model | None
    input_shape: tuple[int, int, int]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head_convolutions: int = 0
    # Of a custom backbone: the names of its layers to the stable names.
    names: Mapping[str, str] = field(default_factory=dict)


def base_of_row(
    name: str, features: Any, weights: Any, input_shape: Any, given: Mapping[str, Any]
) -> Base:
    """Builds the backbone of a row of the table."""
    spec = BACKBONES[check_choice("backbone", name, list(BACKBONES))]
    if features is not None:
        raise ValueError(
            "`features` can only be given for your own model. Received: "
            f"features={features!r} with backbone={name!r}."
        )
    options = _checked_options(name, spec, given)
    input_shape = _checked_shape(input_shape, _DEFAULT_SHAPE)
    head_convolutions = options.pop("head_convolutions", 0)
    changes = spec.map_sizes.get(options.pop("map_size", None), {})
    trained = None
    if weights not in (None, "imagenet"):
        weights = _existing_file(weights)
        if Path(weights).suffix == ".keras":
            trained, weights = _load_classifier(weights), None
    return Base(
        name=name,
        spec=spec,
        source=_built(name, spec, weights, input_shape, options),
        trained=trained,
        input_shape=input_shape,
        changes=changes,
        head_convolutions=head_convolutions,
    )


def _built(
    name: str, spec: BackboneSpec, weights: Any, shape: Any, options: Mapping[str, Any]
) -> keras.Model:
    """Builds a backbone with its weights, or says in a line what to pass instead."""
    given = {"weights": weights, "input_shape": shape, **options}
    try:
        with warnings.catch_warnings():
            # Keras says this of every layer of a file that Keras 3 has saved.
            warnings.filterwarnings("ignore", "Skipping nested container")
            return spec.build(include_top=False, **given)
    except Exception as error:
        failed = {type(error), type(error.__context__)}
        if weights == "imagenet" and any(issubclass(x, OSError) for x in failed):
            way_out = "the path of a file as `weights` (`--weights FILE`)"
            if name in TRANSFORMERS:
                way_out = (
                    "as `backbone` what KerasHub's `from_preset` makes of a folder"
                )
            raise OSError(
                f"The ImageNet weights of {name!r} cannot be downloaded: "
                f"{str(error).rstrip('.')}. Without a network, pass {way_out}."
            ) from error
        if weights in (None, "imagenet") or not isinstance(error, ValueError | OSError):
            raise
        said = str(error).splitlines()[0].split(" Example error")[0]
        width = "".join(f" of alpha={options[x]}" for x in ("alpha",) if x in options)
        raise ValueError(
            f"{weights} must hold weights of {name!r}{width} without top. If they are "
            "of another width, pass it: `backbone_options={'alpha': 0.75}`, or --alpha "
            f"0.75; if of another backbone, pass that. Keras says: {said}"
        ) from error


def base_of_model(
    model: keras.Model,
    features: str | None,
    weights: Any,
    input_shape: Any,
    given: Mapping[str, Any],
) -> Base:
    """Makes a row of the table for a custom backbone."""
    source = _plain_functional(plain(model))
    mode = given.get("normalization")
    if set(given) - {"normalization"} or mode not in (None, *MODES):
        raise ValueError(
            "`backbone_options` of a custom backbone may have 'normalization', one of "
            f"{[None, *MODES]}. Received: {dict(given)}."
        )
    if weights not in (None, "imagenet") and Path(weights).suffix != ".keras":
        raise ValueError(
            '`weights` of a custom backbone must be None, "imagenet" (those that it '
            "has) or the path of a .keras file of a classifier. Received: "
            f"weights={str(weights)!r}."
        )
    features = _last_map(source) if features is None else features
    _check_one_map(source, features)
    (features,) = own_places(source, [features], "features")
    names = splice.stable_names(source)
    own_shape = tuple(source.input_shape[1:])
    default = _DEFAULT_SHAPE if None in own_shape else own_shape
    input_shape = _checked_shape(input_shape, default)
    has_positions = any(isinstance(x, TokenEmbedding) for x in source.layers)
    if has_positions and input_shape != own_shape:
        raise ValueError(
            "`input_shape` of a transformer must be that of its positions, "
            f"{own_shape}. Received: input_shape={input_shape}."
        )
    return Base(
        name=source.name,
        spec=BackboneSpec(
            build=lambda **_: source,
            normalization=mode,
            features=features,
            drop_after=(_before_norm(source, names, features),),
            source="The last map of a custom backbone.",
        ),
        source=source,
        trained=None if weights in (None, "imagenet") else _load_classifier(weights),
        input_shape=input_shape,
        names=names,
    )


def _checked_shape(input_shape: Any, default: tuple) -> tuple[int, int, int]:
    input_shape = default if input_shape is None else input_shape
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if len(shape) != 3 or shape[2] != 3 or None in shape:
        raise ValueError(
            "`input_shape` must be (height, width, 3) with a fixed height and "
            f"width. Received: input_shape={input_shape!r}."
        )
    return shape


def own_places(
    model: keras.Model, names: Sequence[str], argument: str
) -> tuple[str, ...]:
    """Returns the stable names of layers that are named as the model names them."""
    stable = {**splice.stable_names(model), NORMALIZATION: NORMALIZATION}
    splice.check_names(argument, names, f"`{model.name}`", stable)
    return tuple(stable[name] for name in names)


def carry_over(
    source: keras.Model,
    model: keras.Model,
    inserted: Collection[str],
    copies: Mapping[str, str],
) -> set[str]:
    """Copies weights by layer name; returns the inserted layers that found none.

    Those that are copies of other layers start as these do, unless they were trained.
    """
    names = splice.stable_names(source)
    saved = {
        names[layer.name]: layer.get_weights()
        for layer in splice.flat_layers(source)
        if getattr(layer, "weights", None)
    }
    if class_names_of(source) != class_names_of(model):
        # The head is of other classes, but for the convolutions in front of it.
        of_classes = [x for x in saved if re.match(r"head_(?!conv\d)", x)]
        saved = {x: v for x, v in saved.items() if x not in of_classes}
    saved = {**{x: saved[y] for x, y in copies.items() if y in saved}, **saved}
    layers = [layer for layer in model.layers if layer.weights]
    optional = {x.name for x in layers if x.name.startswith("head_")} | {*copies}
    missing = [x.name for x in layers if x.name not in {*saved, *inserted, *optional}]
    if missing:
        raise ValueError(
            f"The weights are of another backbone: `{source.name}` lacks the layers "
            f"{missing[:8]} of `{model.name}`."
        )
    for layer in layers:
        if layer.name not in saved:
            continue
        expected = [tuple(weight.shape) for weight in layer.weights]
        received = [weight.shape for weight in saved[layer.name]]
        if received == expected:
            splice.set_layer_weights(layer, saved[layer.name])
        elif layer.name not in optional:
            raise ValueError(
                f"The weights of layer {layer.name!r} must have the shapes {expected}; "
                f"check `backbone_options`. Received: {received}."
            )
    return {x.name for x in layers if x.name in {*inserted, *optional}} - set(saved)


def freeze_layers(
    model: keras.Model, freeze: Any, base: Base, new: Collection[str]
) -> None:
    """Excludes layers from training; `"backbone"` leaves the `new` ones."""
    graph = graph_of(model.outputs[0])
    made = {node.operation.name: node.tensor for node in graph}
    renamed = {*base.names.values(), "images"}
    last_of = {name: name for name in made if name not in renamed}
    last_of |= {name: at for name, at in base.names.items() if at in made}
    owner = f'`{model.name}`, or be "batch_norm" or "backbone"'

    def up_to(name: str) -> set[str]:
        return {node.operation.name for node in graph_of(made[name])}

    for part in [freeze] if isinstance(freeze, str) else freeze or ():
        if part == "batch_norm":
            frozen = set()
            for layer in _batch_norms(model):
                layer.trainable = False
        elif part == "backbone":
            # What a method adds is named `head_`; a custom backbone may name so, too.
            own = {x for x in made if x.startswith("head_")} - {*base.names.values()}
            frozen = up_to(base.spec.features) - {*new} - own
        else:
            splice.check_names("freeze", [part], owner, last_of)
            frozen = up_to(last_of[part])
        for name in frozen & {x.name for x in model.layers}:
            model.get_layer(name).trainable = False


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> None:
    """Sets the share of their old statistics that batch normalizations keep a step."""
    momentum = check_number("batch_norm_momentum", momentum)
    for layer in _batch_norms(model):
        layer.momentum = momentum


def _batch_norms(model: keras.Model) -> list[keras.layers.Layer]:
    kind = keras.layers.BatchNormalization
    return [each for each in inner_layers(model) if isinstance(each, kind)]


def _checked_options(
    backbone: str, spec: BackboneSpec, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns `backbone_options` with the defaults filled in."""
    known = dict(spec.options)
    if spec.head_convolutions:
        known["head_convolutions"] = spec.head_convolutions
    if spec.map_sizes:
        known["map_size"] = next(iter(spec.map_sizes))
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"`backbone_options` of {backbone!r} may have {sorted(known)}. "
            f"Received: {unknown}."
        )
    options = {**known, **given}
    if spec.head_convolutions:
        check_integer("head_convolutions", options["head_convolutions"])
    if spec.map_sizes:
        check_choice("map_size", options["map_size"], list(spec.map_sizes))
    return options


def _existing_file(path: Any) -> str:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'`weights` must be None, "imagenet" or an existing file. Received: {path}.'
        )
    return str(path)


def _load_classifier(path: Any) -> keras.Model:
    """Loads a classifier, or that of a saved `Localizer`."""
    path = _existing_file(path)
    with reading(path, "make it anew, as by `train`"):
        trained = keras.saving.load_model(path, compile=False)
    return getattr(trained, "model", trained)


def _plain_functional(model: keras.Model) -> keras.Model:
    """A functional model of one tensor on the same layers, or raises."""
    if not getattr(model, "inputs", None):
        raise TypeError(
            "`backbone` must be a functional Keras model, or a built Sequential one. "
            f"Received: {model.name!r} of type {type(model).__name__}."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = [tuple(each.shape) for each in model.inputs]
        raise ValueError(
            "`backbone` must have one input, images (batch, height, width, 3). "
            f"Received: inputs {shapes}."
        )
    check_layout(inner_layers(model))
    model = keras.Model(model.inputs[0], model.outputs, name=model.name)
    for layer in splice.flat_layers(model):
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"`backbone` must have no models as layers: {layer.name!r} of "
                f"{model.name!r} is one. Pass the inner model: "
                f"backbone=model.get_layer({layer.name!r})."
            )
    return model


def _check_one_map(model: keras.Model, features: str) -> None:
    """Raises if a layer gives several tensors, as a pyramid does."""
    made = [x.output for x in splice.flat_layers(model) if x.name == features]
    if made and isinstance(made[0], list | tuple | dict):
        raise ValueError(
            f"`features` must name a layer that gives one map: {features!r} gives "
            f"{len(made[0])} tensors. Put a layer behind the one that you mean: "
            "keras.Model(model.inputs[0], keras.layers.Identity(name='map')"
            "(model.outputs[1])). It is named 'map' then."
        )


def _before_norm(model: keras.Model, names: Mapping[str, str], place: str) -> str:
    """What a layer normalization reads, or else the place itself.

    Behind it the channel mean, which the modules attend to, is the same in every cell.
    """
    for layer in splice.flat_layers(model):
        if names[layer.name] == place and isinstance(layer, _LAYER_NORM):
            return names[node_of(layer.input).operation.name]
    return place


def _last_map(model: keras.Model) -> str:
    """Name of the layer that makes the last map on the way to the output."""
    for operation, _, made in reversed(splice.calls_of(model)):
        if len(made) == 4 and tuple(made[1:3]) != (1, 1):
            while isinstance(operation, keras.Sequential):
                operation = operation.layers[-1]
            return operation.name
    raise ValueError(
        f"`features` must name a layer of {model.name!r} with an output of shape "
        "(batch, height, width, channels): none leads to its output."
    )
