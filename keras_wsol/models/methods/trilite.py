"""TriLite: foreground, background and the rest share out the cells of a map."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_number
from keras_wsol.cam import ChannelMean
from keras_wsol.cam.split import node_of
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth
from keras_wsol.models.splice import derive_seed

_EPSILON, _LOG_EPSILON = 1e-6, 1e-7  # [code]


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class TriLite(Method):
    """Foreground, background and what is neither, on a frozen transformer.

    A 3x3 convolution, batch normalization and a softmax over three channels share out
    each cell between foreground, background and the rest. The means of the features,
    weighed by the first two, go through one shared `Dense` layer. The class comes from
    another, on the class token of the transformer, or where there is none on the mean
    of the features [ours]. To the compiled loss is added the one of the foreground's
    logits, and, times `background_weight`, `-log(1 - p)` of the share `p` that the
    background's logits give to the true class. The foreground is the score map, for
    every class alike.

    The paper trains this head alone: pass `freeze="backbone"`. Its learning rate on CUB
    is 5e-5, and ten times that for the layer of the class token, `head_logits`.

    Args:
        background_weight: Float >= 0. Default 100 [paper: CUB; 500 on ILSVRC].
        dropout: Float in [0, 1). Share of the numbers that are dropped in front of each
            `Dense` layer. Default 0.5 [paper: CUB; 0.25 on ILSVRC].

    Example:
    >>> from keras_wsol.models import Localizer, build_classifier
    >>> model = build_classifier("mobilenet", "trilite", 5, weights=None,
    ...                          input_shape=(64, 96, 3), freeze="backbone",
    ...                          backbone_options={"alpha": 0.25})
    >>> Localizer(model).score_map
    ChannelMean(layer='head_foreground')

    Reference:
        - [TriLite, 2026](https://arxiv.org/abs/2602.23120); [code]: `model.py` and
          `train.py` in `TriLite`.
    """

    background_weight: float = 100.0
    dropout: float = 0.5
    reads = ("foreground_logits", "background_logits")
    keeps = ("foreground",)
    head_convolutions = 0

    def __post_init__(self) -> None:
        check_number("background_weight", self.background_weight, high=None)
        most = math.nextafter(1, 0)
        check_number("dropout", self.dropout, 0, most, "a number in [0, 1)")

    def head(self, trunk: Trunk, features: Any) -> Any:
        trunk.exact_places("no layer", 0)
        layers, float32 = keras.layers, {"dtype": "float32"}
        maps = trunk.conv("head_regions_conv", 3, use_bias=False)(features)
        maps = layers.BatchNormalization(name="head_regions_bn", **float32)(maps)
        regions = layers.Softmax(name="head_regions", **float32)(maps)
        foreground, background, _ = ops.split(regions, 3, axis=-1)
        foreground = layers.Identity(name="head_foreground", **float32)(foreground)
        dense = trunk.logits("head_regions_logits")
        trunk.sides["foreground"] = foreground
        whole = self._dropout(trunk, "head_dropout")(_whole(trunk, features))
        for name, part in (("foreground", foreground), ("background", background)):
            mean = WeighedMean(name=f"head_{name}_mean", **float32)(features, part)
            mean = self._dropout(trunk, f"head_{name}_dropout")(mean)
            trunk.sides[f"{name}_logits"] = dense(mean)
        return trunk.logits()(whole)

    def _dropout(self, trunk: Trunk, name: str) -> keras.layers.Layer:
        seed = derive_seed(trunk.seed, name)
        return keras.layers.Dropout(self.dropout, seed=seed, name=name, dtype="float32")

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        shares = ops.softmax(sides["background_logits"])
        adverse = -ops.log(1 - truth.channel(shares) + _LOG_EPSILON)
        seen = truth.cross_entropy(sides["foreground_logits"])
        return seen + self.background_weight * adverse

    def score_map(self) -> ChannelMean:
        return ChannelMean("head_foreground")


@keras.saving.register_keras_serializable(package="keras_wsol")
class WeighedMean(keras.layers.Layer):
    """Mean of features over the cells, weighed by a map.

    A layer, since Keras counts `add`, `multiply` and the like, as copies of a backbone
    may be named.
    """

    def call(self, features: Any, weights: Any) -> Any:
        total = ops.sum(weights, axis=(1, 2)) + _EPSILON
        return ops.sum(weights * features, axis=(1, 2)) / total


def _whole(trunk: Trunk, features: Any) -> Any:
    """The class token `(B, C)` beside the features, or else their mean."""
    tokens = trunk.outputs.get(f"{node_of(features).operation.name}_class")
    if tokens is None:
        return trunk.pooled(features)
    _, count, width = tokens.shape
    layers = keras.layers
    first = layers.Cropping1D((0, count - 1), name="head_class_token")(tokens)
    return layers.Reshape((width,), name="head_class", dtype="float32")(first)
