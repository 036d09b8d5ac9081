"""A backbone, a method and a head: the model that `fit` trains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import keras

from keras_wsol.models.backbones import (
    BACKBONES,
    METHOD_PLACES,
    METHODS,
    NORMALIZATION,
    BackboneSpec,
    options_of_size,
)
from keras_wsol.models.device_check import check_devices
from keras_wsol.models.parts import ImageNetNormalization, Logits
from keras_wsol.models.splice import (
    CallAndInsert,
    LayerFactory,
    copy_graph,
    derive_seed,
)
from keras_wsol.models.weights import (
    carry_over,
    freeze_layers,
    own_backbone,
    own_drop_after,
    own_freeze,
    own_weights,
    set_batch_norm_momentum,
    source_model,
)


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


HEAD_FILTERS = 1024
DEFAULT_SHAPE = (224, 224, 3)


def build_classifier(
    backbone: str | keras.Model,
    method: str = "cam",
    num_classes: int = 1000,
    *,
    weights: str | Path | None = "imagenet",
    input_shape: tuple[int, int, int] | None = None,
    features: str | None = None,
    drop_after: Sequence[str] | None = None,
    method_options: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    freeze: str | Sequence[str] | None = None,
    batch_norm_momentum: float | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds a classifier that learns to attend to whole objects.

    The backbone is spliced, not rewritten: the graph of `keras.applications` with
    strides and padding changed so that 224 pixels give 14x14 maps, as in the papers,
    the method's layers inserted, and a head of global average pooling and one
    `Dense` layer, which class activation maps can be read from. Preprocessing is
    inside.

    Args:
        backbone: A row of `models.BACKBONES`: `"mobilenet"`, `"mobilenet_v2"`,
            `"vgg16"` (VGG16-GAP), `"resnet50"`, `"resnet50_se"`, `"resnet101"`,
            `"resnet18"`, `"resnet34"` (both need `keras-wsol[keras-cv]`, and have no
            weights), `"inception_v3"`, `"efficientnet_v2_b0"`, `"convnext_tiny"`. Or a
            functional Keras model of one's own, of images in [0, 255] unless
            `backbone_options` say otherwise. It is not changed: a copy is cut behind
            `features`. Its strides stay as they are.
        method: A row of `models.METHODS`: `"cam"` (plain), `"adl"`, `"dfm"`,
            `"dgdm"`, `"cagd"`, `"sagd"`, or what the papers compare these with:
            `"se"`, `"cbam"`, `"spatial_dropout"`, `"dropblock"`, `"maxdrop"`,
            `"targeted_dropout"`, and `"cutout"`, which acts on the image.
        num_classes: Integer, number of classes.
        weights: `None` (random), `"imagenet"` (downloaded by
            `keras.applications`), or a path: an `.h5` file that the function of
            `keras.applications` loads (without top), or a `.keras` file of a
            classifier or `Localizer` of this package on the same backbone, whose
            head carries over too if it has the same shape and class names. Inserted
            layers that the file does not have, such as the SE blocks of
            `"resnet50_se"`, are drawn. For a model of one's own, `"imagenet"` are
            the weights that it has.
        input_shape: Height, width and 3. Images of any size are resized to it by
            `Localizer` and by the data pipelines. Default: (224, 224, 3), or the size
            of a model of one's own that has one.
        features: Only for a model of one's own: name of the layer whose output, a
            map, is pooled. Default: the last map on the way to its output.
        drop_after: Names of the layers after which the method's layer goes;
            `None` for the places of the backbone's row, or behind the features of a
            model of one's own. `"normalization"` is the image as the backbone takes
            it.
        method_options: Constructor arguments of the method's layers, on top of
            those of the backbone's row.
        backbone_options: Options of the backbone: `{"alpha": 0.75}` for the
            MobileNets, `{"head_convolutions": 2}` for those with convolutions in
            the head (`"vgg16"`, `"inception_v3"`), `{"map_size": 28}` for the side
            of the last map at 224 pixels: 14, unless given, or 28, and for most
            also what `keras.applications` has. For a model of one's own
            `{"normalization": "tf"}`, or another mode of `ImageNetNormalization`,
            if its preprocessing is not inside.
        class_names: Optional names by class id. They stay with the model when it
            is saved and exported.
        freeze: What is not trained: `"batch_norm"` (statistics stay, too),
            `"backbone"` (all up to the features whose weights carried over), the
            name of a layer (it and all before it, whatever their weights), or a
            sequence of these. `None` trains everything. Under `"backbone"`, inserted
            layers whose weights are drawn, such as the SE blocks of `"resnet50_se"`
            with those of ImageNet, are trained; with `weights=None` nothing carried
            over, and all up to the features is frozen. Layers of a model of one's own
            are named as it names them.
        batch_norm_momentum: Number in [0, 1]: how much of its old statistics each batch
            normalization keeps a step. Default: the backbone's own, 0.99 in most and
            0.999 in MobileNetV2, whose statistics then need thousands of steps: with
            fewer choose 0.9 [ours: its last blocks trained for 217 steps had 53.5 %
            accuracy on train-fullsup of CUB-40, and 70.5 % once the statistics of the
            same weights were counted anew with 0.9].
        seed: Integer. Fixes every weight that is drawn, and the draws of the
            inserted layers.

    Returns:
        A functional `keras.Model` named `"{backbone}_{method}"`: images
        `(B, height, width, 3)` in [0, 255] to logits `(B, num_classes)`, float32
        under every dtype policy.

    Raises:
        ImportError: The row needs KerasCV, which is missing.
        TypeError: `backbone` is a model without a graph.
        ValueError: An unknown backbone, method, layer or option, each with the
            list of what exists, a wrong shape, a model that has models inside, or
            a way of using several devices that Keras cannot train with.
        FileNotFoundError: `weights` is a path that does not exist.

    Example:
    >>> model = build_classifier("mobilenet", "dgdm", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.name, model.output_shape
    ('mobilenet_dgdm', (None, 5))
    """
    check_devices()
    row(METHODS, "method", method)
    if isinstance(backbone, keras.Model):
        base = _of_a_model(backbone, features, weights, input_shape, backbone_options)
        drop_after = own_drop_after(base.source, drop_after)
    else:
        if features is not None:
            raise ValueError(
                "`features` can only be given for a model of one's own. Received: "
                f"features={features!r} with backbone={backbone!r}."
            )
        base = _of_the_table(backbone, weights, input_shape, backbone_options)
    spec = base.spec
    check_shape(num_classes, base.input_shape)

    images = keras.Input(base.input_shape, name="images")
    if drop_after is None:
        drop_after = default_places(spec, method, base.head_convolutions)
    blocks = backbone_blocks(spec, seed)
    factories = method_layers(
        spec, method, drop_after, method_options, base.input_shape, seed
    )
    call = CallAndInsert(
        {
            place: [table[place] for table in (blocks, factories) if place in table]
            for place in {**blocks, **factories}
        }
    )
    normalized = call(_normalization(spec.normalization), images)
    copy_graph(base.source, images, normalized, call, base.changes, seed)
    maps = call.outputs[spec.features]
    for layer in _head_convolutions(base.head_convolutions, seed):
        maps = call(layer, maps)
    pooled = keras.layers.GlobalAveragePooling2D(name="head_pool", dtype="float32")(
        maps
    )
    logits = Logits(
        int(num_classes),
        class_names=class_names,
        kernel_initializer=keras.initializers.GlorotUniform(derive_seed(seed, "head")),
        dtype="float32",
        name="head_logits",
    )(pooled)
    model = keras.Model(images, logits, name=f"{base.name}_{method}")
    _check_inserted(model, factories, call.outputs, base.name)
    drawn = set()  # of all weights being drawn, none is told apart
    if weights is not None:
        new = {*spec.inserted_blocks, *(f"{method}_{place}" for place in factories)}
        source = base.source if base.trained is None else base.trained
        drawn = carry_over(source, model, new)
    if isinstance(backbone, keras.Model):
        freeze = own_freeze(base.source, model, freeze)
    freeze_layers(model, freeze, spec.features, drawn)
    if batch_norm_momentum is not None:
        set_batch_norm_momentum(model, batch_norm_momentum)
    return model


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What a classifier is built on."""

    name: str
    spec: BackboneSpec
    source: keras.Model
    trained: keras.Model | None
    input_shape: Any
    changes: Mapping[str, Mapping[str, Any]]
    head_convolutions: int


def _of_the_table(
    name: str, weights: Any, input_shape: Any, backbone_options: Any
) -> _Base:
    spec = row(BACKBONES, "backbone", name)
    options = checked_options(name, spec, backbone_options)
    input_shape = DEFAULT_SHAPE if input_shape is None else input_shape
    check_shape(1, input_shape)
    head_convolutions = options.pop("head_convolutions", 0)
    changes = spec.map_sizes.get(options.pop("map_size", None), {})
    source, trained = source_model(spec, weights, input_shape, options)
    return _Base(
        name=name,
        spec=spec,
        source=source,
        trained=trained,
        input_shape=input_shape,
        changes=changes,
        head_convolutions=head_convolutions,
    )


def _of_a_model(
    model: keras.Model, features: Any, weights: Any, input_shape: Any, options: Any
) -> _Base:
    source, spec = own_backbone(model, features, options)
    if input_shape is None:
        own = tuple(source.input_shape[1:])
        input_shape = DEFAULT_SHAPE if None in own else own
    return _Base(
        name=source.name,
        spec=spec,
        source=source,
        trained=own_weights(weights),
        input_shape=input_shape,
        changes={},
        head_convolutions=0,
    )


def _normalization(mode: str | None) -> keras.layers.Layer:
    if mode is None:
        return keras.layers.Identity(name=NORMALIZATION, dtype="float32")
    return ImageNetNormalization(mode, name=NORMALIZATION)


def _check_inserted(
    model: keras.Model,
    places: Iterable[str],
    present: Iterable[str],
    backbone: str,
) -> None:
    """Raises if a place was not met, or lies behind the features that are used."""
    made = {layer.name for layer in model.operations}
    missing = [place for place in places if place not in present or place not in made]
    if missing:
        known = [name for name in present if name in made]
        raise ValueError(
            f"Cannot insert after layers that `{backbone}` does not have. Received: "
            f"{missing}. Its last layers are: {known[-20:]}."
        )


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
