"""SPG: sure pixels of one map are the labels of the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam import score_maps
from keras_wsol.cam.score_map import resized
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth
from keras_wsol.models.splice import derive_seed

# With fewer object pixels, the threshold is a share of the map's maximum [code].
_LEAST_PIXELS, _SHARE = 30, 0.7


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class SPG(Method):
    """Self-produced guidance: masks of the object that learn from one another.

    The head makes a map for each class, whose means are the logits. Three branches make
    a mask each: of early features, of late ones, and of the last ones. Pixels where the
    true class's map is high are object to the late mask, those where it is low are
    background, the rest is ignored. So the late mask teaches the early one, and the
    mean of both the last one. Branches are for training alone: the score map is the
    map of the class.

    `drop_after` names two layers, of early and of late features. All is resized to the
    size of the images. The authors have maps of 28x28, here
    `backbone_options={"map_size": 28}`. The loss of a mask is the binary cross
    entropy over all pixels of the batch that are not ignored; 0 if there are none.
    At a rate that is too high it grows without end: the authors train at 0.001, new
    layers at 0.01.

    Args:
        filters: Integer. Channels of the convolutions of the branches; at most 512 of
            the last one. Default 512 [paper, InceptionV3].
        high: Tuple of three floats in [0, 1]: above which a pixel is object, in the
            map, the late mask, and the mean of masks. Default (0.7, 0.5, 0.7)
            [authors' code].
        low: Tuple of three floats in [0, 1]: below which a pixel is background. Default
            (0.05, 0.05, 0.1) [authors' code].

    Example:
    >>> SPG().high, SPG().low
    ((0.7, 0.5, 0.7), (0.05, 0.05, 0.1))

    Reference:
        - [Zhang et al., 2018](https://arxiv.org/abs/1807.08902)
    """

    filters: int = 512
    high: tuple[float, float, float] = (0.7, 0.5, 0.7)
    low: tuple[float, float, float] = (0.05, 0.05, 0.1)
    reads = ("class_maps", "early", "late", "last")

    def __post_init__(self) -> None:
        check_integer("filters", self.filters)
        for name in ("high", "low"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list) or len(value) != 3:
                raise ValueError(
                    f"`{name}` must be a tuple of three numbers. Received: "
                    f"{name}={value!r}."
                )
            checked = tuple(check_number(name, each) for each in value)
            object.__setattr__(self, name, checked)

    def head(self, trunk: Trunk, features: Any) -> Any:
        places = trunk.exact_places("two layers, the earlier one first,", 2)
        relu, mask = {"activation": "relu"}, {"size": 1, "dtype": "float32"}
        shared = _conv(trunk, "head_side_conv", self.filters, **relu)
        side_mask = _conv(trunk, "head_side_mask", 1, **mask)
        for name, place in zip(("early", "late"), places, strict=True):
            own = _conv(trunk, f"head_{name}_conv", self.filters, **relu)
            trunk.sides[name] = side_mask(shared(own(trunk.outputs[place])))
        own = _conv(trunk, "head_last_conv", min(self.filters, 512), **relu)
        last = _conv(trunk, "head_last_mask", 1, **mask)(own(features))
        maps = trunk.logits()(features)
        trunk.sides.update(last=last, class_maps=maps)
        return trunk.pooled(maps)

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        size = tuple(model.input_shape[1:3])
        maps = score_maps(truth.channel(sides["class_maps"])[:, None], size)
        masks = {
            name: resized(sides[name], size)[..., 0]
            for name in ("early", "late", "last")
        }
        early, late = ops.sigmoid(masks["early"]), ops.sigmoid(masks["late"])
        guides = {"late": maps[:, 0], "early": late, "last": 0.5 * (early + late)}
        return sum(
            guided_cross_entropy(masks[name], guide, high, low)
            for (name, guide), high, low in zip(
                guides.items(), self.high, self.low, strict=True
            )
        )


def _conv(trunk: Trunk, name: str, filters: int, **arguments: Any) -> Any:
    """A convolution that starts as the authors' do."""
    initializer = keras.initializers.GlorotUniform(derive_seed(trunk.seed, name))
    return trunk.conv(name, filters, kernel_initializer=initializer, **arguments)


def guided_cross_entropy(logits: Any, guide: Any, high: float, low: float) -> Any:
    """Loss of logits `(B, h, w)` by a map in [0, 1], a number for each image.

    The mean of the numbers is the mean over the sure pixels of the batch.
    """
    guide = ops.stop_gradient(guide)
    is_object, is_sure = sure_pixels(guide, high, low)
    is_object, is_sure = (ops.cast(x, "float32") for x in (is_object, is_sure))
    pixels = (ops.softplus(logits) - is_object * logits) * is_sure
    share = ops.mean(ops.sum(is_sure, axis=(1, 2)))
    share = ops.where(share > 0, share, ops.ones_like(share))
    return ops.sum(pixels, axis=(1, 2)) / share


def sure_pixels(guide: Any, high: float, low: float) -> tuple[Any, Any]:
    """Which pixels of maps `(B, h, w)` are object, and which that or background."""
    axes = (1, 2)
    count = ops.sum(ops.cast(guide > high, "float32"), axis=axes, keepdims=True)
    share = _SHARE * ops.max(guide, axis=axes, keepdims=True)
    above = guide > ops.where(count < _LEAST_PIXELS, share, high)
    background = guide < low  # wins where thresholds cross
    is_object = ops.logical_and(above, ops.logical_not(background))
    return is_object, ops.logical_or(is_object, background)
