"""What a row of the table of backbones is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_wsol.models.parts import NORMALIZED_MEANS

# The layer that images go through first; a place for layers that hide image parts.
NORMALIZATION = "normalization"

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone and its presets.

    Unnamed layers go by type and number: `conv2d_29`.

    Attributes:
        build: Function of `keras.applications`, called with `include_top`, `weights`,
            `input_shape` and the row's `options`.
        normalization: Mode of the normalization layer; `None` leaves images alone.
        features: Name of the layer whose output the head reads.
        drop_after: Layers after which a method's layer is inserted.
        source: Where places and options come from, in one line.
        map_sizes: Side of the last map at 224 pixels to the changed configuration
            entries by layer. The first is the default.
        inserted_blocks: Name of a block of the backbone to the layer that it follows.
        block: Function of `name` and `seed` that makes these blocks.
        head_convolutions: Default number of 3x3x1024 convolutions after `features`.
        method_drop_after: Method to its places, where they are not `drop_after`.
        method_map_size: Method to its default of the `map_size`.
        presets: Method to the layer options that differ from the defaults.
        place_presets: Method to place to options of that place alone.
        options: Options of `build` that the caller may set, with their defaults.
        extra: Name of the extra of this package that `build` needs, or `None`.
    """

    build: Callable[..., keras.Model]
    normalization: str | None
    features: str
    drop_after: tuple[str, ...]
    source: str
    map_sizes: Mapping[int, Mapping[str, Options]] = field(default_factory=dict)
    inserted_blocks: Mapping[str, str] = field(default_factory=dict)
    block: Callable[..., keras.layers.Layer] | None = None
    head_convolutions: int = 0
    method_drop_after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method_map_size: Mapping[str, int] = field(default_factory=dict)
    presets: Mapping[str, Options] = field(default_factory=dict)
    place_presets: Mapping[str, Mapping[str, Options]] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    extra: str | None = None

    def places(self, method: str) -> tuple[str, ...]:
        """Returns the layers after which `method` inserts its layer."""
        # Cutout's default fill, 0, is the mean colour of a normalized image (mid-grey
        # where images are scaled to [-1, 1]).
        image = dict.fromkeys(("cutout", "has"), (NORMALIZATION,))
        nowhere = dict.fromkeys(("acol", "cutmix", "trilite"), ())
        own = {**image, **nowhere, **self.method_drop_after}
        return own.get(method, self.drop_after)

    def preset(
        self, method: str, place: str, input_shape: Sequence[int]
    ) -> dict[str, Any]:
        """Returns the options of `method` at `place` that the tables set."""
        # The rate is ours: Keras has no default, and the papers name none.
        everywhere = {
            "spatial_dropout": {"rate": 0.2},
            "cutout": {"size": min(input_shape[:2]) // 2},
            "has": {"fill_value": NORMALIZED_MEANS[self.normalization]},
        }
        return {
            **everywhere.get(method, {}),
            **self.presets.get(method, {}),
            **self.place_presets.get(method, {}).get(place, {}),
        }


def models_of(extra: str, needs: str) -> Any:
    """The models of KerasCV or KerasHub, or an error that says how to install it."""
    try:
        return import_module(f"{extra.replace('-', '_')}.models")
    except ImportError as error:
        package = {"keras-cv": "KerasCV", "keras-hub": "KerasHub"}[extra]
        raise ImportError(
            f'{needs} {package}: pip install "keras-wsol[{extra}]". (Importing it '
            f"failed: {error}.)"
        ) from error


# Of the paper, for CUB; narrow backbones are ours.
BAS_RESNET = {"area_weight": 1.2, "foreground_weight": 0.5}
BAS_VGG = {"area_weight": 0.7, "foreground_weight": 0.0, "top_k": 80}
BAS_NARROW = {**BAS_RESNET, "convolutions": 0}
# What a study of the MobileNets chose.
GROWN = {name: {"grow_background": True} for name in ("sagd", "dgdm")}
# Of the methods with several heads, in narrow backbones, and of SPG in ResNets: from
# the evaluation code of Choe et al., 2020.
NARROW: Mapping[str, Options] = {
    "acol": {"convolutions": 0},
    "spg": {"filters": 256},
    "danet": {"convolutions": 0},
}


def row_of(
    adl: float,
    drop_after: tuple[str, ...],
    bas: Options = BAS_RESNET,
    presets: Mapping[str, Options] = MappingProxyType({}),
    **entries: Any,
) -> BackboneSpec:
    """A row with ADL's threshold, SAGD's background share in the middle, and BAS."""
    background = {place: {"low_threshold": 0.2} for place in drop_after[:-1]}
    return BackboneSpec(
        drop_after=drop_after,
        presets={"adl": {"drop_threshold": adl}, "bas": bas, **presets},
        place_presets={"sagd": background, "dgdm": background},
        **entries,
    )


STRIDE_1: Options = {"strides": (1, 1)}
# MobileNets pad before a strided convolution; with stride 1, this keeps the size: of
# windows of 3, 5 and 7 cells.
PAD_3, PAD_5, PAD_7 = ({"padding": ((n, n), (n, n))} for n in (1, 2, 3))
# A pool of one cell is none.
NO_POOL = {"pool_size": (1, 1), **STRIDE_1}


def map_sizes(last: Options, before: Options) -> dict[int, Mapping[str, Options]]:
    """Maps of 14, 28 and, as Keras has them, 7 cells a side."""
    return {14: last, 28: {**before, **last}, 7: {}}


def resnet(
    stages: tuple[str, str] = ("conv4", "conv5"),
    blocks: tuple[str, str, str] = ("block1", "block6", "block3"),
    normalization: str = "caffe",
    root: str = "conv3_block4_out",
    presets: Mapping[str, Options] = MappingProxyType({"spg": {"filters": 1024}}),
    features: str | None = None,
    strides: Sequence[Sequence[str]] = (),
    **entries: Any,
) -> BackboneSpec:
    """A ResNet by the names of its last two stages and of their first and last blocks.

    They stride in their first convolutions, unless `strides` says where.
    """
    first, *ends = blocks
    strides = strides or [[f"{x}_{first}_{n}_conv" for n in (0, 1)] for x in stages]
    before, last = (dict.fromkeys(names, STRIDE_1) for names in strides)
    middle = [f"{stage}_{first}_out" for stage in stages]
    end, last_end = (f"{x}_{n}_out" for x, n in zip(stages, ends, strict=True))
    features = features or last_end
    return row_of(
        adl=0.9,
        drop_after=(*middle, features),
        bas={**BAS_RESNET, "pool": 2},
        method_map_size={"bas": 28},  # which the pooling halves
        normalization=normalization,
        features=features,
        map_sizes=map_sizes(last, before),
        method_drop_after={
            "dfm": (middle[0], features),
            "bas": (end,),
            "spg": (middle[0], end),
            "danet": (root, end),
            "abn": (end,),
        },
        presets=presets,
        **entries,
    )


def vgg(convolutions: int, **entries: Any) -> BackboneSpec:
    """A VGG with so many convolutions in its last blocks, without its last pooling."""
    features = f"block5_conv{convolutions}"
    return row_of(
        adl=0.8,
        drop_after=("block3_pool", "block4_pool", features),
        method_drop_after={
            "bas": (f"block4_conv{convolutions}",),
            "abn": ("block4_pool",),
            "spg": ("block4_pool", features),
            "danet": ("block3_pool", "block4_pool"),
        },
        bas=BAS_VGG,
        normalization="caffe",
        features=features,
        map_sizes={14: {}, 28: {"block4_pool": NO_POOL}},  # Choe et al., 2020
        head_convolutions=1,
        **entries,
    )


def hub_resnet18(
    *,
    include_top: bool,
    weights: str | Path | None = None,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
) -> keras.Model:
    """Builds ResNet18, which Keras does not have, with KerasHub."""
    _refuse_top("KerasHub", "resnet18", include_top)
    made = models_of("keras-hub", "The backbone 'resnet18' needs").ResNetBackbone
    shape = tuple(input_shape)
    if weights == "imagenet":
        backbone = made.from_preset("resnet_18_imagenet", image_shape=shape)
    else:
        backbone = made(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 128, 256, 512],
            stackwise_num_blocks=[2, 2, 2, 2],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type="basic_block",
            image_shape=shape,
        )
    return _loaded(backbone, "resnet18", None if weights == "imagenet" else weights)


def keras_cv_resnet34(
    *,
    include_top: bool,
    weights: str | Path | None = None,
    input_shape: tuple[int | None, int | None, int] = (224, 224, 3),
) -> keras.Model:
    """Builds ResNet34, which neither Keras nor KerasHub has, with KerasCV."""
    _refuse_top("KerasCV", "resnet34", include_top)
    if weights == "imagenet":
        raise ValueError(
            "`weights` of 'resnet34' must be None (random) or the path of a file: "
            "KerasCV has published none for it. Received: weights='imagenet'."
        )
    made = models_of("keras-cv", "The backbone 'resnet34' needs").ResNetBackbone
    backbone = made(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=False,
        input_shape=tuple(input_shape),
        name="resnet34",
    )
    return _loaded(backbone, "resnet34", weights)


def _refuse_top(package: str, name: str, include_top: bool) -> None:
    if include_top:
        raise ValueError(f"{package}'s {name} has no top. Received: include_top=True.")


def _loaded(backbone: keras.Model, name: str, path: str | Path | None) -> keras.Model:
    """A functional model of the backbone, with the weights of a file if there is."""
    if path is not None:
        backbone.load_weights(str(path))
    return keras.Model(backbone.inputs[0], backbone.output, name=name)
