"""The arguments of `build_classifier`: what is refused, and what is filled in."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import keras

from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.methods import METHOD_PLACES, METHODS, options_of_size
from keras_wsol.models.splice import LayerFactory, derive_seed


def row(table: Mapping[str, Any], name: str, key: Any) -> Any:
    """Returns `table[key]`, or raises with the keys that there are."""
    if not isinstance(key, str) or key not in table:
        raise ValueError(
            f"`{name}` must be one of {list(table)}. Received: {name}={key!r}."
        )
    return table[key]


def check_shape(num_classes: Any, input_shape: Any) -> None:
    """Raises unless both are what `build_classifier` takes."""
    if not isinstance(num_classes, Integral) or num_classes < 1:
        raise ValueError(
            "`num_classes` must be a positive integer. Received: "
            f"num_classes={num_classes!r}."
        )
    shape = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
    if len(shape) != 3 or shape[2] != 3 or None in shape:
        raise ValueError(
            "`input_shape` must be (height, width, 3) with a fixed height and "
            f"width. Received: input_shape={input_shape!r}."
        )


def checked_options(
    backbone: str, spec: BackboneSpec, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns `backbone_options` with what is not given filled in."""
    known = dict(spec.options)
    if spec.head_convolutions:
        known["head_convolutions"] = spec.head_convolutions
    if spec.map_sizes:
        known["map_size"] = next(iter(spec.map_sizes))
    unknown = sorted(set(given or {}) - set(known))
    if unknown:
        raise ValueError(
            f"`backbone_options` of {backbone!r} may have {sorted(known)}. "
            f"Received: {unknown}."
        )
    options = {**known, **(given or {})}
    count = options.get("head_convolutions", 1)
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(
            "`head_convolutions` must be an integer of at least 1. Received: "
            f"head_convolutions={count!r}."
        )
    size = options.get("map_size")
    if spec.map_sizes and size not in spec.map_sizes:
        raise ValueError(
            f"`map_size` of {backbone!r}, the side of its last map at 224 pixels, "
            f"must be one of {list(spec.map_sizes)}. Received: map_size={size!r}."
        )
    return options


def default_places(
    spec: BackboneSpec, method: str, head_convolutions: int
) -> tuple[str, ...] | None:
    """The places of the row; one after a head convolution means the last of them."""
    if METHODS[method] is None:
        return None
    if method in METHOD_PLACES:
        return METHOD_PLACES[method]
    last = f"head_conv{head_convolutions}"
    return tuple(
        last if place.startswith("head_conv") else place
        for place in spec.places(method)
    )


def method_layers(
    spec: BackboneSpec,
    method: str,
    drop_after: Sequence[str] | None,
    method_options: Mapping[str, Any] | None,
    input_shape: tuple[int, int, int],
    seed: int,
) -> dict[str, LayerFactory]:
    """Returns place to what makes the method's layer there."""
    layer_class = METHODS[method]
    if layer_class is None:
        if drop_after or method_options:
            raise ValueError(
                f"The method {method!r} inserts no layer, so it takes neither "
                "`drop_after` nor `method_options`."
            )
        return {}
    places = tuple(drop_after or ())
    if isinstance(drop_after, str) or not places:
        raise ValueError(
            "`drop_after` must be a sequence of layer names, at least one. "
            f"Received: drop_after={drop_after!r}."
        )
    known = set(layer_class().get_config()) - {"trainable", "dtype", "name"}
    unknown = sorted(set(method_options or {}) - known)
    if unknown:
        raise ValueError(
            f"`method_options` of {method!r} may have {sorted(known)}. "
            f"Received: {unknown}."
        )

    def factory(place: str) -> Callable[[], keras.layers.Layer]:
        arguments = {
            "seed": derive_seed(seed, place),
            **options_of_size(method, input_shape),
            **spec.preset(method, place),
            **(method_options or {}),
        }
        return lambda: layer_class(name=f"{method}_{place}", **arguments)

    return {place: factory(place) for place in places}


def backbone_blocks(spec: BackboneSpec, seed: int) -> dict[str, LayerFactory]:
    """Returns layer name to what makes the row's own block that follows the layer."""

    def factory(name: str) -> LayerFactory:
        return lambda: spec.block(name=name, seed=derive_seed(seed, name))

    return {place: factory(name) for name, place in spec.inserted_blocks.items()}
