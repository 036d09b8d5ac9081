"""The table of score maps: a name, how it is computed, and what can be set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_wsol.arguments import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
)
from keras_wsol.cam import (
    Discriminant,
    PrincipalComponent,
    channel_mean,
    class_activation_maps,
    class_gradients,
    ddt,
    eigen_cam,
    foreground,
    grad_cam,
    grad_cam_pp,
    hires_cam,
    layer_cam,
    score_cam,
    x_grad_cam,
)
from keras_wsol.cam.split import Head, SplitModel, find_head, split_at
from keras_wsol.cam.unsupervised import check_channels, check_weights

# What stands for the mean colour of the images where a mask hides them: ImageNet's,
# which the preprocessing of most backbones maps to 0.
MEAN_COLOUR = (123.675, 116.28, 103.53)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One batch on its way through the classifier, for a map to read.

    Attributes:
        source: The head, or the classifier split at a layer.
        images: float32 `(B, H, W, 3)` at the input size.
        features: `(B, h, w, C)`.
        around: What else the tail takes.
        class_ids: int32 `(B, K)`, each within range.
    """

    source: Head | SplitModel
    images: Any
    features: Any
    around: list[Any]
    class_ids: Any

    def gradients(self) -> Any:
        """Gradients `(B, K, h, w, C)` of the logits by the features."""

        def tail(features: Any) -> Any:
            return self.source.tail([features, *self.around], training=False)

        return class_gradients(tail, self.features, self.class_ids)

    def logits_of(self, images: Any) -> Any:
        """Logits `(N, num_classes)` of other images of the input size."""
        return self.source.network(images, training=False)[1]


@dataclass(frozen=True, kw_only=True)
class ScoreMap:
    """One way to make a map.

    Attributes:
        maps: From the evidence and options to raw maps `(B, K, h, w)`, or
            `(B, 1, h, w)` where the class does not matter.
        options: Name of each option to a function of its name and value that
            raises on a bad value.
        required: Names of options without a default.
        any_layer: Whether it can be read from any layer, or from the head alone.
    """

    maps: Callable[..., Any]
    options: Mapping[str, Callable[[str, Any], Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    any_layer: bool = True


def _by_class_weights(seen: Evidence, **options: Any) -> Any:
    return class_activation_maps(
        seen.features, seen.source.kernel, seen.class_ids, **options
    )


def _by_gradients(rule: Callable[..., Any]) -> Callable[..., Any]:
    def maps(seen: Evidence, **options: Any) -> Any:
        return rule(seen.features, seen.gradients(), **options)

    return maps


def _by_scores(seen: Evidence, **options: Any) -> Any:
    return score_cam(
        seen.logits_of,
        seen.images,
        seen.features,
        seen.class_ids,
        **{"baseline": MEAN_COLOUR, **options},
    )


def _by_features(rule: Callable[..., Any]) -> Callable[..., Any]:
    def maps(seen: Evidence, **options: Any) -> Any:
        return rule(seen.features, **options)

    return maps


def _check_colour(name: str, value: Any) -> None:
    values = value if isinstance(value, tuple | list) else [value]
    if len(values) not in (1, 3):
        raise ValueError(
            f"`{name}` must be one number or three. Received: {name}={value!r}."
        )
    for each in values:
        check_number(name, each, low=0.0, high=255.0)


def _check_component(name: str, value: Any) -> None:
    if not isinstance(value, PrincipalComponent):
        raise TypeError(
            f"`{name}` must be a `cam.PrincipalComponent`, as `models.fit_component` "
            f"returns it. Received: {name}={value!r} (of type {type(value).__name__})."
        )


def _check_discriminant(name: str, value: Any) -> None:
    if not isinstance(value, Discriminant):
        raise TypeError(
            f"`{name}` must be a `cam.Discriminant`, as `models.fit_foreground` "
            f"returns it. Received: {name}={value!r} (of type {type(value).__name__})."
        )


_RELU = {"relu": check_bool}

SCORE_MAPS: dict[str, ScoreMap] = {
    "cam": ScoreMap(
        maps=_by_class_weights,
        options={"negative_weights": check_bool},
        any_layer=False,
    ),
    "grad_cam": ScoreMap(maps=_by_gradients(grad_cam), options=_RELU),
    "grad_cam_pp": ScoreMap(maps=_by_gradients(grad_cam_pp), options=_RELU),
    "x_grad_cam": ScoreMap(maps=_by_gradients(x_grad_cam), options=_RELU),
    "layer_cam": ScoreMap(maps=_by_gradients(layer_cam), options=_RELU),
    "hires_cam": ScoreMap(maps=_by_gradients(hires_cam), options=_RELU),
    "score_cam": ScoreMap(
        maps=_by_scores,
        options={**_RELU, "batch_size": check_integer, "baseline": _check_colour},
    ),
    "eigen_cam": ScoreMap(maps=_by_features(eigen_cam)),
    "channel_mean": ScoreMap(maps=_by_features(channel_mean)),
    "ddt": ScoreMap(
        maps=_by_features(ddt),
        options={**_RELU, "component": _check_component},
        required=("component",),
    ),
    "foreground": ScoreMap(
        maps=_by_features(foreground),
        options={**_RELU, "discriminant": _check_discriminant},
        required=("discriminant",),
    ),
}


def find_source(
    model: keras.Model, score_map: str, layer: str | None, options: Mapping[str, Any]
) -> Head | SplitModel:
    """Finds what a map is read from, after checking that it can be."""
    check_choice("score_map", score_map, tuple(SCORE_MAPS))
    row = SCORE_MAPS[score_map]
    if layer is not None and not row.any_layer:
        raise ValueError(
            f"`layer` must be None for score_map={score_map!r}, which is read from the "
            f"head; 'grad_cam' is its like for any layer. Received: layer={layer!r}."
        )
    unknown = sorted(set(options) - set(row.options))
    missing = sorted(set(row.required) - set(options))
    if unknown or missing:
        raise ValueError(
            f"`map_options` of score_map={score_map!r} may hold {sorted(row.options)} "
            f"and must hold {sorted(row.required)}. Received: {sorted(options)}."
        )
    for name, value in options.items():
        row.options[name](name, value)
    source = split_at(model, layer) if row.any_layer else find_head(model)
    if source.num_classes == 1:
        raise ValueError(
            "The model needs one logit a class: for one class and the rest, train with "
            f"two outputs. Received: {model.name!r} with one logit, whose softmax is "
            "always 1."
        )
    if "component" in options:
        check_channels(source.network.outputs[0], options["component"])
    if "discriminant" in options:
        check_weights(source.network.outputs[0], options["discriminant"])
    return source
