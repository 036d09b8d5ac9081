"""BAS: a foreground that, hidden, takes the class with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

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
    """Background activation suppression.

    A convolution on early features makes a foreground map for each class. Hiding the
    foreground of the true class must take its score away; the map is to be small.
    """

    area_weight: float = 1.2
    foreground_weight: float = 0.5
    convolutions: int = 2
    top_k: int = 200
    reads = ("features", "foreground", "class_maps")
    keeps = ("foreground",)

    @property
    def head_convolutions(self) -> int:
        return self.convolutions

    def head(self, trunk: Trunk, features: Any) -> Any:
        place = trunk.only_place()
        early = trunk.outputs[place]
        generator = trunk.conv(
            "head_generator", trunk.num_classes, activation="sigmoid", dtype="float32"
        )
        maps = keras.layers.ReLU(name="head_maps", dtype="float32")(
            trunk.logits()(features)
        )
        trunk.sides.update(features=early, foreground=generator(early), class_maps=maps)
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
            step = foreground.shape[1] // maps.shape[1]
            pooled = ops.average_pool(foreground, step) if step > 1 else foreground
            seen = truth.cross_entropy(ops.mean(maps * pooled, axis=(1, 2)))
            loss = loss + self.foreground_weight * seen
        return loss

    def score_map(self) -> ClassMaps:
        return ClassMaps("head_generator", self.top_k)
