"""A backbone, a method and a head: the model that `fit` trains."""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras

from keras_wsol.arguments import check_integer, check_layout, near_name
from keras_wsol.models import splice
from keras_wsol.models.backbone_spec import NORMALIZATION, BackboneSpec
from keras_wsol.models.backbones import BACKBONES, METHODS
from keras_wsol.models.methods.method import Method, MethodModel, Sides, Trunk
from keras_wsol.models.parts import ImageNetNormalization
from keras_wsol.models.weights import (
    Base,
    base_of_model,
    base_of_row,
    carry_over,
    freeze_layers,
    own_places,
    set_batch_norm_momentum,
)

_WAY_OUT = (
    "On TensorFlow, use `tf.distribute.MirroredStrategy` on one machine; for several, "
    "the JAX backend with `keras.distribution.DataParallel`."
)
# By name in `tf.distribute`, as seen with Keras 3.15 and TensorFlow 2.21.
_STRATEGIES = {
    "MultiWorkerMirroredStrategy": "`fit` fails on the first batch "
    "(keras-team/keras#20585)",
    "ParameterServerStrategy": "`fit` has no coordinator that hands data to workers",
    "experimental.CentralStorageStrategy": "it cannot update the statistics and seeds "
    "of Keras' layers",
}


def build_classifier(
    backbone: str | keras.Model,
    method: str | keras.layers.Layer | Method = "cam",
    num_classes: int = 1000,
    *,
    weights: str | Path | None = "imagenet",
    input_shape: tuple[int, int, int] | None = None,
    features: str | None = None,
    drop_after: Sequence[str] | Mapping[str, keras.layers.Layer] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    freeze: str | Sequence[str] | None = None,
    batch_norm_momentum: float | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds a classifier that learns to attend to whole objects.

    The graph of `keras.applications` is copied, with strides and padding changed so
    that 224 pixels give 14x14 maps, as in the papers. The method's layers are
    inserted. The head is global average pooling and one `Dense` layer, which class
    activation maps can be read from. Preprocessing is inside.

    Args:
        backbone: A row of `models.BACKBONES`: `"mobilenet"`, `"mobilenet_v2"`,
            `"mobilenet_v3_small"`, `"vgg16"` (VGG16-GAP), `"vgg19"`, `"resnet50"`,
            `"resnet50_se"`, `"resnet101"`, `"resnet50_v2"`, `"inception_v3"`,
            `"efficientnet_v2_b0"`, `"efficientnet_b0"`, `"convnext_tiny"`,
            `"densenet121"`, `"xception"`, `"nasnet_mobile"`; `"resnet18"` (needs
            `keras-wsol[keras-hub]`) and `"resnet34"` (needs `keras-wsol[keras-cv]`,
            and has no weights); the transformers `"vit_b16"`, `"deit_s16"`,
            `"dinov2_s14"` and `"siglip_b16"`, whose pretrained weights need
            `keras-wsol[keras-hub]`. Or your functional model of images in [0, 255], cut
            after `features`; or a ViT, DeiT, DINOv2 or SigLIP of KerasHub, whose blocks
            give the maps `"block1"` and so on, without class token and before the final
            normalization.
        method: A row of `models.METHODS`, with the presets of the backbone: `"cam"`
            (plain), `"adl"`, `"dfm"`, `"dgdm"`, `"cagd"`, `"sagd"`, `"se"`, `"cbam"`,
            `"spatial_dropout"`, `"dropblock"`, `"maxdrop"`, `"targeted_dropout"`,
            `"cutout"`, `"has"`; with losses or heads of their own, `"cutmix"`,
            `"acol"`, `"spg"`, `"danet"`, `"abn"`, `"bas"`, `"trilite"`. Or an object of
            `models.methods`, or a layer, such as `DGDM(block_size=5)` or your own,
            without presets: each place gets a copy with a seed derived from the
            layer's, else `seed`. A `name` that you give it is the method's:
            `DGDM(5, name="five")`.
        num_classes: Integer, number of classes.
        weights: `None` (random), `"imagenet"` (of your model, those that it has), or a
            path: an `.h5` file for `keras.applications` without top, or a `.keras`
            file of a classifier or `Localizer` on the same backbone. Its head carries
            over too if shape and class names are the same. The rest starts at random.
        input_shape: Height, width and 3. Default (224, 224, 3), or your model's.
        features: Only for your model: name of the layer whose output, a map, is
            pooled, such as `"block9"` of a transformer. Default: the last map on the
            way to its output.
        drop_after: Names of the layers after which the method's layers go;
            `"normalization"` is the normalized image. Or a dictionary of these names
            and the layer of the method that goes there, without presets. Default: the
            places of the row, or after the features of your model, in front of a layer
            normalization.
        backbone_options: `{"alpha": 0.75}` for the MobileNets (`--alpha`),
            `{"head_convolutions": 2}` for `"vgg16"` and `"inception_v3"`,
            `{"map_size": 28}` for the side of the last map at 224 pixels. For your
            model `{"normalization": "tf"}`, `"caffe"` or `"torch"`.
        class_names: Optional names by class id, saved and exported with the model.
        freeze: What is not trained: `"batch_norm"` (statistics stay, too),
            `"backbone"` (up to the features, without inserted layers that start at
            random beside carried weights), the name of a layer (it and all before
            it), or a sequence of these. Layers of your model go by its own names.
        batch_norm_momentum: Number in [0, 1]: share of its old statistics that each
            batch normalization keeps a step. Default: the backbone's, 0.99 in most
            and 0.999 in MobileNetV2. For a few hundred steps choose 0.9 there.
        seed: Integer. Fixes all initial weights and the seeds of inserted layers.

    Returns:
        A functional `keras.Model` named `"{backbone}_{method}"`: images
        `(B, height, width, 3)` in [0, 255] to float32 logits `(B, num_classes)`. With a
        method that has losses, `fit` adds them to the compiled one (not `evaluate`),
        and a call with `training=True` gives a dictionary, `"logits"` and what the
        losses read, for `model.compute_loss(x, y, outputs)` of a compiled model.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An unknown backbone, method, layer or option, or a way of using
            several devices that Keras cannot train with.

    Example:
    >>> from keras_wsol.layers import DGDM
    >>> model = build_classifier("mobilenet", DGDM(block_size=5), 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.name, model.output_shape
    ('mobilenet_dgdm', (None, 5))
    """
    check_devices()
    check_layout()
    method_name = _method_name(method)
    num_classes = check_integer("num_classes", num_classes)
    options = {**_map_size(backbone, method), **(backbone_options or {})}
    make_base = base_of_model if isinstance(backbone, keras.Model) else base_of_row
    base = make_base(backbone, features, weights, input_shape, options)
    places = _places(base, method, drop_after)
    call = splice.CallAndInsert({})
    copies: dict[str, str] = {}  # name of a layer to that which it is a copy of
    trunk = Trunk(
        outputs=call.outputs,
        places=places,
        num_classes=num_classes,
        class_names=class_names,
        seed=seed,
        copy_stage=partial(_copy_stage, base, seed, copies),
    )
    own = _method_object(base, method)
    call.following.update(_following(base, method, trunk, own, drop_after))
    images = keras.Input(base.input_shape, name="images")
    normalization = keras.layers.Identity(name=NORMALIZATION, dtype="float32")
    if mode := base.spec.normalization:
        normalization = ImageNetNormalization(mode, name=NORMALIZATION)
    normalized = own.images(trunk, call(normalization, images))
    splice.copy_graph(base.source, images, normalized, call, base.changes, seed)
    if type(own) is not Method:  # its head is made of what follows its places
        splice.check_names("drop_after", places, f"`{base.name}`", call.outputs)
    maps = call.outputs[base.spec.features]
    count = own.head_convolutions
    for number in range(1, 1 + (base.head_convolutions if count is None else count)):
        name = f"head_conv{number}"
        maps = call(trunk.conv(name, 1024, activation="relu"), maps)
    logits = own.head(trunk, maps)
    kind = keras.Model
    if type(own) is not Method:
        kind, sides = MethodModel, Sides(trunk.sides, own, class_names)
        logits = sides([logits, *trunk.sides.values()])
    model = kind(images, logits, name=f"{base.name}_{method_name}")
    used = {x.name for x in model.operations}
    present = [name for name in call.outputs if name in used]
    splice.check_names("drop_after", places, f"`{base.name}`", present)
    new = set()  # with random weights everywhere, none is new beside carried ones
    if weights is not None:
        names = {f"{method_name}_{place}" for place in places}
        source = base.source if base.trained is None else base.trained
        new = carry_over(source, model, {*base.spec.inserted_blocks, *names}, copies)
    for name in new & set(base.spec.inserted_blocks):
        model.get_layer(name).open_gates()  # pretrained branches keep their scale
    freeze_layers(model, freeze, base, new)
    if batch_norm_momentum is not None:
        set_batch_norm_momentum(model, batch_norm_momentum)
    return model


def _method_name(method: Any) -> str:
    """Name of a method for models and layers, or an error with what there is."""
    if isinstance(method, Method):
        return _row_of(method) or type(method).__name__.lower()
    if isinstance(method, keras.layers.Layer):
        kind = type(method).__name__.lower()
        # Keras names a layer after its class, and counts.
        if re.sub(r"_\d+$", "", method.name).replace("_", "") != kind:
            return method.name
        return _row_of(method) or kind
    if isinstance(method, str) and method in METHODS:
        return method
    kind = ValueError if isinstance(method, str) else TypeError
    raise kind(
        f"`method` must be one of {list(METHODS)}, a `Method`, or a layer, such as "
        f"keras_wsol.layers.ADL(). Received: method={method!r}."
        f"{near_name(method, METHODS)}"
    )


def _map_size(backbone: Any, method: Any) -> dict[str, int]:
    """The option that a row of `METHODS` sets in a row of `BACKBONES`."""
    row = BACKBONES.get(backbone) if isinstance(backbone, str) else None
    if row is None or not isinstance(method, str) or method not in row.method_map_size:
        return {}
    return {"map_size": row.method_map_size[method]}


def _row_of(method: Any) -> str | None:
    """The row of `METHODS` that a name or a layer is of."""
    rows = [x for x, kind in METHODS.items() if method == x or type(method) is kind]
    return rows[0] if rows else None


def _places(base: Base, method: Any, drop_after: Any) -> tuple[str, ...]:
    """Stable names of the layers after which the method's layers go."""
    if isinstance(method, str) and METHODS[method] is None:
        if drop_after:
            raise ValueError(
                f"The method {method!r} inserts no layer, so it takes no `drop_after`. "
                f"Received: drop_after={drop_after!r}."
            )
        return ()
    if drop_after is None:
        row = _row_of(method)
        places = base.spec.places(row) if row else base.spec.drop_after
        last = f"head_conv{base.head_convolutions}"
        return tuple(last if x.startswith("head_conv") else x for x in places)
    if isinstance(drop_after, Mapping):
        _check_layers(method, drop_after)
    if isinstance(drop_after, str) or not drop_after:
        raise ValueError(
            "`drop_after` must be a sequence of layer names, at least one. "
            f"Received: drop_after={drop_after!r}."
        )
    if base.names:
        return own_places(base.source, drop_after, "drop_after")
    return tuple(drop_after)


def _check_layers(method: Any, layers: Mapping[str, Any]) -> None:
    """Raises unless all are layers of the method, which has a name of the table."""
    kind = METHODS.get(method) if isinstance(method, str) else None
    wrong = [x for x in layers.values() if kind is None or type(x) is not kind]
    if wrong:
        raise TypeError(
            "With a dictionary as `drop_after`, `method` must be a name, and the "
            f"layers its own. Received: method={method!r} and {wrong[0]!r}."
        )


def _method_layer(
    base: Base, method: Any, given: Mapping[str, Any], place: str, seed: int
) -> keras.layers.Layer:
    """Makes the layer that a method inserts after a place."""
    name = f"{_method_name(method)}_{place}"
    method = given.get(place, method)
    if isinstance(method, str):
        options = base.spec.preset(method, place, base.input_shape)
        options = {"seed": splice.derive_seed(seed, place), **options}
        return METHODS[method](name=name, **options)
    config = {**method.get_config(), "name": name}
    if "seed" in config:
        own = config["seed"]
        config["seed"] = splice.derive_seed(seed if own is None else own, place)
    return type(method).from_config(config)


def _method_object(base: Base, method: Any) -> Method:
    """The method, with the presets of the backbone if it goes by its name."""
    if isinstance(method, Method):
        return method
    kind = METHODS.get(method) if isinstance(method, str) else None
    if kind is None or not issubclass(kind, Method):
        return Method()  # it inserts a layer, or nothing
    return kind(**base.spec.presets.get(method, {}))


def _following(
    base: Base, method: Any, trunk: Trunk, own: Method, drop_after: Any
) -> dict[str, list[Any]]:
    """Place to what makes the layers that follow it; the backbone's blocks go first."""
    following = _blocks(base.spec, trunk.seed)
    given = {}
    if isinstance(drop_after, Mapping):
        given = dict(zip(trunk.places, drop_after.values(), strict=True))
    for place in trunk.places:
        layers = own.following(trunk, place)
        if type(own) is Method:
            layers = [partial(_method_layer, base, method, given, place, trunk.seed)]
        following.setdefault(place, []).extend(layers)
    return following


def _blocks(spec: BackboneSpec, seed: int, prefix: str = "") -> dict[str, list[Any]]:
    """Place to what makes the backbone's inserted blocks that follow it."""
    following: dict[str, list[Any]] = {}
    for name, place in spec.inserted_blocks.items():
        name = prefix + name
        block = partial(spec.block, name=name, seed=splice.derive_seed(seed, name))
        following.setdefault(prefix + place, []).append(block)
    return following


def _copy_stage(
    base: Base,
    seed: int,
    copies: dict[str, str],
    place: str,
    features: Any,
    prefix: str,
) -> Any:
    """Runs copies of the layers from a place on, with the strides of the first maps."""
    spec, call = base.spec, splice.CallAndInsert(_blocks(base.spec, seed, prefix))
    changes = {**next(iter(spec.map_sizes.values()), {}), **base.changes}
    last = splice.copy_stage(
        base.source, place, spec.features, features, call, changes, seed, prefix
    )
    copies.update({name: name.removeprefix(prefix) for name in call.outputs})
    return last


def check_devices(strategy: Any = None) -> None:
    """Raises if a model that is made now could not be trained on all its devices."""
    backend, layout = keras.backend.backend(), keras.distribution.distribution()
    if layout is not None and backend != "jax":
        raise ValueError(
            f"`keras.distribution` works on the JAX backend alone: on {backend} Keras "
            f"ignores it. {_WAY_OUT} Received: {layout}."
        )
    if backend != "tensorflow":
        return
    tf = sys.modules["tensorflow"]  # Keras has loaded it
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    for name, reason in _STRATEGIES.items():
        if isinstance(strategy, attrgetter(name)(tf.distribute)):
            name = f"tf.distribute.{name}"
            raise ValueError(f"Keras cannot train under `{name}`: {reason}. {_WAY_OUT}")
