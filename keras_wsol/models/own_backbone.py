"""A functional model that the user brings, as a backbone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.methods import NORMALIZATION
from keras_wsol.models.normalization import MODES
from keras_wsol.models.splice import flat_layers, stable_names


def own_backbone(
    model: keras.Model, features: str | None, options: Mapping[str, Any] | None
) -> tuple[keras.Model, BackboneSpec]:
    """Makes a row of the table for a model that is not in it.

    Args:
        model: A functional or `Sequential` model with one input of images. What
            follows the features, such as its own pooling and head, is left out.
        features: Name of the layer whose map the new head pools. Default: the last
            map on the way to the output.
        options: `{"normalization": mode}`, a mode of `ImageNetNormalization`.
            Default: images reach the model as they are, in [0, 255].

    Returns:
        The model, functional, and its row. Its one place is behind the features.

    Raises:
        TypeError: The model has no graph.
        ValueError: It has models inside, or several inputs, or no such layer.
    """
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
    """Returns what is not trained, with layers by their stable names.

    Args:
        model: The user's model.
        classifier: What was built on it. The layers that it adds, such as
            `"adl_conv2d_1"`, are named as it names them.
        freeze: As in `build_classifier`, with layers as `model` names them.

    Raises:
        ValueError: Neither has a layer of that name.
    """
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
