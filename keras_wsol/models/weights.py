"""Weights that carry over, and models of one's own."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_wsol.arguments import check_number
from keras_wsol.cam.split import check_layer_names
from keras_wsol.models.backbones import NORMALIZATION, BackboneSpec
from keras_wsol.models.parts import MODES, class_names_of
from keras_wsol.models.splice import (
    flat_layers,
    set_layer_weights,
    stable_names,
)


def own_backbone(
    model: keras.Model, features: str | None, options: Mapping[str, Any] | None
) -> tuple[keras.Model, BackboneSpec]:
    """Makes a row of the table for a model that is not in it."""
    if not getattr(model, "inputs", None):
        raise TypeError(
            "`backbone` must be a functional Keras model, or a Sequential one that "
            f"has been built. Received: type {type(model).__name__}."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = [tuple(each.shape) for each in model.inputs]
        raise ValueError(
            "`backbone` must have one input, images (batch, height, width, 3). "
            f"Received: {model.name!r} with the inputs {shapes}."
        )
    # A plain functional model of the same layers, whatever its class and whether its
    # input is a tensor, a list or a dictionary.
    model = keras.Model(model.inputs[0], model.outputs, name=model.name)
    _refuse_models_inside(model)
    unknown = sorted(set(options or {}) - {"normalization"})
    mode = (options or {}).get("normalization")
    if unknown or mode not in (None, *MODES):
        raise ValueError(
            "`backbone_options` of a model of one's own may have 'normalization', "
            f"one of {[None, *MODES]}. Received: {dict(options)}."
        )
    if features is None:
        features = _last_map(model)
    (features,) = own_places(model, [features], "features")
    spec = BackboneSpec(
        build=lambda **_: model,
        normalization=mode,
        features=features,
        drop_after=(features,),
        source="The last map of a model of one's own.",
    )
    return model, spec


def own_places(
    model: keras.Model, names: Sequence[str], argument: str
) -> tuple[str, ...]:
    """Returns the stable names of layers that are named as the model names them."""
    stable = stable_names(model)
    unknown = [name for name in names if name not in stable]
    if unknown:
        raise ValueError(
            f"`{argument}` must name layers of `{model.name}`. Received: {unknown}. "
            f"Its last layers are: {list(stable)[-20:]}."
        )
    return tuple(stable[name] for name in names)


def own_drop_after(
    model: keras.Model, drop_after: Sequence[str] | None
) -> Sequence[str] | None:
    """Returns the places for a method by their stable names."""
    if drop_after is None or isinstance(drop_after, str):
        return drop_after
    return tuple(
        place if place == NORMALIZATION else own_places(model, [place], "drop_after")[0]
        for place in drop_after
    )


def own_freeze(
    model: keras.Model, classifier: keras.Model, freeze: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Returns what is not trained, with layers by their stable names."""
    added = {each.name for each in classifier.operations}
    as_given = added - set(stable_names(model).values()) | {"batch_norm", "backbone"}
    parts = [freeze] if isinstance(freeze, str) else freeze or ()
    try:
        return tuple(
            part if part in as_given else own_places(model, [part], "freeze")[0]
            for part in parts
        )
    except ValueError as error:
        raise ValueError(
            f'{error} `freeze` may also be "batch_norm" or "backbone".'
        ) from None


def own_weights(weights: str | Path | None) -> keras.Model | None:
    """Returns the trained classifier whose weights replace those of the model."""
    if weights in (None, "imagenet"):
        return None
    path = Path(weights)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(
            "`weights` of a model of one's own must be None (random), "
            '"imagenet" (those that it has), or a .keras file of a classifier '
            f"that is there. Received: weights={str(weights)!r}."
        )
    trained = keras.saving.load_model(path, compile=False)
    return getattr(trained, "model", trained)  # of a saved `Localizer`


def _refuse_models_inside(model: keras.Model) -> None:
    for layer in flat_layers(model):
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"`backbone` must have no models as layers: {layer.name!r} of "
                f"{model.name!r} is one, and nothing can be inserted inside. Pass the "
                f"inner model: backbone=model.get_layer({layer.name!r})."
            )


def _last_map(model: keras.Model) -> str:
    """Name of the layer that makes the map that is nearest to the output."""
    waiting = list(model.outputs)
    inputs = [id(each) for each in model.inputs]
    while waiting:
        tensor = waiting.pop(0)
        layer, index, _ = tensor._keras_history
        if id(tensor) in inputs:
            continue
        if len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) != (1, 1):
            while isinstance(layer, keras.Sequential):
                layer = layer.layers[-1]
            return layer.name
        waiting.extend(layer._inbound_nodes[index].input_tensors)
    raise ValueError(
        f"`features` must name a layer of {model.name!r} with an output of shape "
        "(batch, height, width, channels). Received: features=None, and there is none "
        "on the way to its output."
    )


def source_model(
    spec: BackboneSpec,
    weights: str | Path | None,
    input_shape: tuple[int, int, int],
    options: Mapping[str, Any],
) -> tuple[keras.Model, keras.Model | None]:
    """Returns the backbone, and the trained classifier if `weights` is one."""
    if weights in (None, "imagenet"):
        loaded = weights
    else:
        loaded = Path(weights)
        if not loaded.is_file():
            raise FileNotFoundError(
                '`weights` must be None, "imagenet" or the path of an .h5 or .keras '
                f"file. No file is there: {loaded}."
            )
    trained = None
    if isinstance(loaded, Path) and loaded.suffix == ".keras":
        trained, loaded = keras.saving.load_model(loaded, compile=False), None
        trained = getattr(trained, "model", trained)  # of a saved `Localizer`
    source = spec.build(
        include_top=False,
        weights=str(loaded) if isinstance(loaded, Path) else loaded,
        input_shape=input_shape,
        **options,
    )
    return source, trained


def carry_over(
    source: keras.Model, model: keras.Model, new: Collection[str] = ()
) -> set[str]:
    """Copies the weights of the backbone, and of the head where it fits."""
    names = stable_names(source)
    saved = {
        names[layer.name]: layer
        for layer in flat_layers(source)
        if getattr(layer, "weights", None)
    }
    if class_names_of(source) != class_names_of(model):
        saved.pop("head_logits", None)  # the same rows would mean other classes
    own = [layer for layer in model.layers if layer.weights]
    missing = [
        layer.name
        for layer in own
        if layer.name not in saved
        and layer.name not in new
        and not layer.name.startswith("head_")
    ]
    if missing:
        raise ValueError(
            f"The weights are of another backbone: `{source.name}` lacks the layers "
            f"{missing[:8]} of `{model.name}`."
        )
    drawn = {layer.name for layer in own if layer.name in new} - set(saved)
    for layer in own:
        if layer.name in drawn:
            continue
        weights = saved[layer.name].get_weights() if layer.name in saved else []
        expected = [tuple(weight.shape) for weight in layer.weights]
        received = [weight.shape for weight in weights]
        if received == expected:
            set_layer_weights(layer, weights)
        elif not layer.name.startswith("head_"):
            raise ValueError(
                f"The weights of layer {layer.name!r} must have the shapes {expected}; "
                f"check `backbone_options`. Received: {received}."
            )
    return drawn


def freeze_layers(
    model: keras.Model,
    freeze: str | Sequence[str] | None,
    features: str,
    drawn: Collection[str] = (),
) -> None:
    """Excludes layers from training."""
    names = [layer.name for layer in model.operations]
    for part in [freeze] if isinstance(freeze, str) else freeze or ():
        if part == "batch_norm":
            frozen = [
                layer
                for layer in model.layers
                if isinstance(layer, keras.layers.BatchNormalization)
            ]
        else:
            last = features if part == "backbone" else part
            try:
                check_layer_names(model, [last], "freeze up to")
            except ValueError as error:
                raise ValueError(
                    f'{error} `freeze` may also be "batch_norm" or "backbone".'
                ) from None
            before = model.operations[: names.index(last) + 1]
            kept = drawn if part == "backbone" else ()
            frozen = [
                each
                for each in before
                if isinstance(each, keras.layers.Layer) and each.name not in kept
            ]
        for layer in frozen:
            layer.trainable = False


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> None:
    """Sets how much of their old statistics batch normalizations keep a step."""
    momentum = check_number("batch_norm_momentum", momentum)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
