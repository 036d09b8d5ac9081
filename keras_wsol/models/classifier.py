"""A backbone, a method and a head: the model that `fit` trains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras

from keras_wsol.models.backbones import BACKBONES, BackboneSpec
from keras_wsol.models.logits import Logits
from keras_wsol.models.methods import METHOD_PLACES, METHODS, NORMALIZATION
from keras_wsol.models.normalization import ImageNetNormalization
from keras_wsol.models.splice import changed_layer, derive_seed, stable_names
from keras_wsol.models.weights import carry_over, freeze_layers, source_model

HEAD_FILTERS = 1024


def build_classifier(
    backbone: str,
    method: str = "cam",
    num_classes: int = 1000,
    *,
    weights: str | Path | None = "imagenet",
    input_shape: tuple[int, int, int] = (224, 224, 3),
    drop_after: Sequence[str] | None = None,
    method_options: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    freeze: str | Sequence[str] | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds a classifier that learns to attend to whole objects.

    The backbone is spliced, not rewritten: the graph of `keras.applications` with
    the stride of its last strided convolution set to 1 where the papers do so
    (14x14 maps at 224 pixels), the method's layers inserted, and a head of global
    average pooling and one `Dense` layer, which class activation maps can be read
    from. Preprocessing is inside.

    Args:
        backbone: A row of `models.BACKBONES`: `"mobilenet"`, `"mobilenet_v2"`,
            `"vgg16"` (VGG16-GAP), `"resnet50"`, `"inception_v3"`.
        method: A row of `models.METHODS`: `"cam"` (plain), `"adl"`, `"dfm"`,
            `"dgdm"`, `"cagd"`, `"sagd"`, or what the papers compare these with:
            `"se"`, `"cbam"`, `"spatial_dropout"`, `"dropblock"`, `"maxdrop"`,
            `"targeted_dropout"`, and `"cutout"`, which acts on the image.
        num_classes: Integer, number of classes.
        weights: `None` (random), `"imagenet"` (downloaded by
            `keras.applications`), or a path: an `.h5` file that the function of
            `keras.applications` loads (without top), or a `.keras` file of a
            classifier or `Localizer` of this package on the same backbone, whose
            head carries over too if it has the same shape and class names.
        input_shape: Height, width and 3. Images of any size are resized to it by
            `Localizer` and by the data pipelines.
        drop_after: Names of the layers after which the method's layer goes;
            `None` for the places of the backbone's row. `"normalization"` is the
            image as the backbone takes it.
        method_options: Constructor arguments of the method's layers, on top of
            those of the backbone's row.
        backbone_options: Options of the backbone: `{"alpha": 0.75}` for the
            MobileNets, `{"head_convolutions": 2}` for those with convolutions in
            the head (`"vgg16"`, `"inception_v3"`).
        class_names: Optional names by class id. They stay with the model when it
            is saved and exported.
        freeze: What is not trained: `"batch_norm"` (statistics stay, too),
            `"backbone"`, the name of a layer (it and all before it), or a
            sequence of these. `None` trains everything.
        seed: Integer. Fixes every weight that is drawn, and the draws of the
            inserted layers.

    Returns:
        A functional `keras.Model` named `"{backbone}_{method}"`: images
        `(B, height, width, 3)` in [0, 255] to logits `(B, num_classes)`, float32
        under every dtype policy.

    Raises:
        ValueError: An unknown backbone, method, layer or option, each with the
            list of what exists, or a wrong shape.
        FileNotFoundError: `weights` is a path that does not exist.

    Example:
    >>> model = build_classifier("mobilenet", "dgdm", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.name, model.output_shape
    ('mobilenet_dgdm', (None, 5))
    """
    spec = _row(BACKBONES, "backbone", backbone)
    _row(METHODS, "method", method)
    options = _checked_options(backbone, spec, backbone_options)
    _check_shape(num_classes, input_shape)
    head_convolutions = options.pop("head_convolutions", 0)
    source, trained = source_model(spec, weights, input_shape, options)

    images = keras.Input(input_shape, name="images")
    normalization = ImageNetNormalization(spec.normalization, name=NORMALIZATION)
    if drop_after is None:
        drop_after = _default_places(spec, method, head_convolutions)
    factories = _factories(spec, method, drop_after, method_options, seed)
    outputs: dict[str, Any] = {}
    names = stable_names(source)

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        changes = spec.layer_changes.get(layer.name, {})
        return changed_layer(layer, names[layer.name], changes, seed)

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        args = tuple(normalized if arg is images else arg for arg in args)
        return call_and_insert(layer, *args, **kwargs)

    def call_and_insert(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        if layer.name in factories:
            result = factories[layer.name]()(result)
        outputs[layer.name] = result
        return result

    normalized = call_and_insert(normalization, images)
    keras.models.clone_model(
        source, input_tensors=images, clone_function=copy, call_function=call
    )
    features = outputs[spec.features]
    for layer in _head_convolutions(head_convolutions, seed):
        features = call(layer, features)
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool", dtype="float32")(
        features
    )
    logits = Logits(
        int(num_classes),
        class_names=class_names,
        kernel_initializer=keras.initializers.GlorotUniform(derive_seed(seed, "head")),
        dtype="float32",
        name="head_logits",
    )(pooled)
    model = keras.Model(images, logits, name=f"{backbone}_{method}")
    _check_inserted(model, factories, outputs, backbone)
    if weights is not None:
        carry_over(source if trained is None else trained, model)
    freeze_layers(model, freeze, spec.features)
    return model


def _check_inserted(
    model: keras.Model,
    factories: Mapping[str, Callable[[], keras.layers.Layer]],
    present: Iterable[str],
    backbone: str,
) -> None:
    """Raises if a place was not met, or lies behind the features that are used."""
    made = {layer.name for layer in model.layers}
    missing = [
        place for place in factories if place not in present or place not in made
    ]
    if missing:
        known = [name for name in present if name in made]
        raise ValueError(
            f"Cannot insert after layers that `{backbone}` does not have. Received: "
            f"{missing}. Its last layers are: {known[-20:]}."
        )


def _row(table: Mapping[str, Any], name: str, key: Any) -> Any:
    if key not in table:
        raise ValueError(
            f"`{name}` must be one of {list(table)}. Received: {name}={key!r}."
        )
    return table[key]


def _check_shape(num_classes: Any, input_shape: Any) -> None:
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


def _checked_options(
    backbone: str, spec: BackboneSpec, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    known = dict(spec.options)
    if spec.head_convolutions:
        known["head_convolutions"] = spec.head_convolutions
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
    return options


def _default_places(
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


def _factories(
    spec: BackboneSpec,
    method: str,
    drop_after: Sequence[str] | None,
    method_options: Mapping[str, Any] | None,
    seed: int,
) -> dict[str, Callable[[], keras.layers.Layer]]:
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
            **spec.preset(method, place),
            **(method_options or {}),
        }
        return lambda: layer_class(name=f"{method}_{place}", **arguments)

    return {place: factory(place) for place in places}


def _head_convolutions(count: int, seed: int) -> list[keras.layers.Layer]:
    return [
        keras.layers.Conv2D(
            HEAD_FILTERS,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(derive_seed(seed, name)),
            name=name,
        )
        for name in (f"head_conv{index + 1}" for index in range(count))
    ]
