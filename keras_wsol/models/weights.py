"""Where the weights of a classifier come from, and which of them are trained."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_wsol.layers.arguments import check_number
from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.layer_weights import set_layer_weights
from keras_wsol.models.logits import class_names_of
from keras_wsol.models.splice import check_layer_names, flat_layers, stable_names


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
    """Copies the weights of the backbone, and of the head where it fits.

    Args:
        source: Backbone or classifier that has the weights.
        model: Classifier that gets them.
        new: Names of inserted layers: what the source lacks of these stays as drawn.

    Returns:
        The names of those inserted layers that stay as drawn.

    Raises:
        ValueError: The source lacks another layer, or the shapes do not fit.
    """
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
    """Excludes layers from training.

    Args:
        model: A classifier.
        freeze: `"batch_norm"`, `"backbone"`, the name of a layer (it and all before
            it), a sequence of these, or `None`.
        features: Name of the last layer, or function, of the backbone.
        drawn: Names of layers that stay trainable under `"backbone"`: theirs are new
            weights among those that carried over.

    Raises:
        ValueError: A name is none of these.
    """
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
    """Sets how much of their old statistics batch normalizations keep a step.

    Args:
        model: A classifier.
        momentum: Number in [0, 1].

    Raises:
        TypeError: `momentum` is no number.
        ValueError: `momentum` is out of range.
    """
    momentum = check_number("batch_norm_momentum", momentum)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
