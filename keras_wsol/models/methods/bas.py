"""BAS: a foreground that, hidden, takes the class with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam import ClassMaps
from keras_wsol.models.methods.method import (
    Method,
    MethodModel,
    Trunk,
    Truth,
    call_frozen,
)


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class BAS(Method):
    """Background activation suppression: a small map that, hidden, hides the class.

    A 3x3 convolution and a sigmoid make a foreground map of each class from the
    features after `drop_after`. Behind the foreground of the true class, the rest of
    the network, its weights held fixed, is to find nothing of the class: the loss adds
    that share of the score, 0 where it is no less than the score; the mean of the map
    times `area_weight`; and the cross entropy of what is seen through the map, times
    `foreground_weight`. The head pools class maps, which are not negative.

    At a rate that is too high the foreground vanishes, or fills the image: the paper
    trains at 0.001, new layers at 0.01.

    Args:
        area_weight: Float >= 0. Default 1.2 [paper: ResNet50 on CUB].
        foreground_weight: Float >= 0. Default 0.5 [paper: ResNet50 on CUB].
        convolutions: Integer >= 0. How many 3x3 convolutions to 1024 channels are in
            front of the class maps. Default 2 [paper].
        pool: Integer. Side of a max pooling after `drop_after`, behind the foreground.
            Default 1, none [paper: 2 in ResNet50, whose foreground has 28x28 cells].
        top_k: Integer. The score map is the mean of the maps of so many classes, those
            of the largest logits. Default 200 [paper: ResNet50 on CUB].

    Example:
    >>> from keras_wsol.models import Localizer, build_classifier
    >>> model = build_classifier("mobilenet", BAS(convolutions=0), 5, weights=None,
    ...                          drop_after=["conv_pw_11_relu"],
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> Localizer(model).score_map
    ClassMaps(layer='head_generator', top_k=200)

    Reference:
        - [Wu et al., 2022](https://arxiv.org/abs/2112.00580)
    """

    area_weight: float = 1.2
    foreground_weight: float = 0.5
    convolutions: int = 2
    pool: int = 1
    top_k: int = 200
    reads = ("features", "foreground", "class_maps")
    keeps = ("foreground",)

    def __post_init__(self) -> None:
        check_number("area_weight", self.area_weight, high=None)
        check_number("foreground_weight", self.foreground_weight, high=None)
        check_integer("convolutions", self.convolutions, low=0)
        check_integer("pool", self.pool)
        check_integer("top_k", self.top_k)

    @property
    def head_convolutions(self) -> int:
        return self.convolutions

    def following(self, trunk: Trunk, place: str) -> list[Any]:
        return [partial(_Pooling, self.pool, trunk)]

    def head(self, trunk: Trunk, features: Any) -> Any:
        trunk.only_place()
        early = trunk.sides["features"]
        generator = trunk.conv(
            "head_generator", trunk.num_classes, activation="sigmoid", dtype="float32"
        )
        maps = keras.layers.ReLU(name="head_maps", dtype="float32")(
            trunk.logits()(features)
        )
        trunk.sides.update(foreground=generator(early), class_maps=maps)
        return trunk.pooled(maps)

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        foreground = truth.channel(sides["foreground"])[..., None]
        early = ops.stop_gradient(sides["features"])
        hidden = early * ops.cast(1 - foreground, early.dtype)
        behind = truth.channel(call_frozen(model.part("features", "logits"), hidden))
        score = ops.stop_gradient(truth.channel(sides["logits"]))
        share = ops.where(behind < score, behind / (score + 1e-8), 0.0)
        loss = share + self.area_weight * ops.mean(foreground, axis=(1, 2, 3))
        if self.foreground_weight:
            maps = sides["class_maps"]
            high, low = foreground.shape[1], maps.shape[1]
            step = round(high / low)
            padding = "valid" if high // step == low else "same"
            # With its strides: without, Keras 3.15 fails on JAX.
            pooled = ops.average_pool(foreground, step, step, padding)
            seen = truth.cross_entropy(ops.mean(maps * pooled, axis=(1, 2)))
            loss = loss + self.foreground_weight * seen
        return loss

    def score_map(self) -> ClassMaps:
        return ClassMaps("head_generator", self.top_k)


@dataclass(frozen=True)
class _Pooling:
    """Called on features like a layer, keeps them for the head, and pools them."""

    size: int
    trunk: Trunk
    name: str = "head_features_pool"

    def __call__(self, features: Any) -> Any:
        self.trunk.sides["features"] = features
        if self.size == 1:
            return features
        return keras.layers.MaxPooling2D(self.size, name=self.name)(features)
