"""A backbone, a method and a head: the model that `fit` trains."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_wsol.models.backbone_spec import BackboneSpec
from keras_wsol.models.backbones import BACKBONES
from keras_wsol.models.classifier_arguments import (
    backbone_blocks,
    check_shape,
    checked_options,
    default_places,
    method_layers,
    row,
)
from keras_wsol.models.copied_graph import CallAndInsert, copy_graph
from keras_wsol.models.device_check import check_devices
from keras_wsol.models.logits import Logits
from keras_wsol.models.methods import METHODS, NORMALIZATION
from keras_wsol.models.normalization import ImageNetNormalization
from keras_wsol.models.own_backbone import (
    own_backbone,
    own_drop_after,
    own_freeze,
    own_weights,
)
from keras_wsol.models.splice import derive_seed
from keras_wsol.models.weights import (
    carry_over,
    freeze_layers,
    set_batch_norm_momentum,
    source_model,
)

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
