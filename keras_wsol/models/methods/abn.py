"""ABN: a second branch whose attention the features are weighed by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from keras_wsol.cam import ChannelMean
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth

_BRANCH = "attention_"


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class ABN(Method):
    """Attention branch network.

    The backbone is split at a place. The *attention branch* is a copy of what follows
    there, with weights of its own that start as those of the original do. It makes a
    map for each class and, of these, its own logits and one attention map `M`. The
    features of the place are multiplied by `1 + M`, and go on. The two branches have
    losses of equal weight. The attention map is the score map, for every class alike.

    The copy has the strides of the default map size, which leave the size as it is:
    the paper's stride of 1 [paper]. A map that is smaller all the same is enlarged
    [ours]. The convolution that makes `M` is 3x3 [code; the paper's text says 1x1].

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "abn", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.get_layer("head_attention").output.shape
    (None, 4, 6, 1)

    Reference:
        - [Fukui et al., 2019](https://arxiv.org/abs/1812.10025); [code]:
          `models/imagenet/resnet.py` in `attention_branch_network`.
    """

    reads = ("attention_logits",)

    def following(self, trunk: Trunk, place: str) -> list[Any]:
        return [partial(_Attention, trunk, trunk.only_place())]

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        return truth.cross_entropy(sides["attention_logits"])

    def score_map(self) -> ChannelMean:
        return ChannelMean("head_attention")


@dataclass(frozen=True)
class _Attention:
    """Called on features like a layer, returns them weighed by their attention."""

    trunk: Trunk
    place: str
    name: str = "head_attended"

    def __call__(self, features: Any) -> Any:
        trunk, layers = self.trunk, keras.layers
        maps = trunk.copy_stage(self.place, features, _BRANCH)
        # No offset: the next normalization would take it away again.
        maps = layers.BatchNormalization(center=False, name="head_attention_bn")(maps)
        count, kind = trunk.num_classes, {"use_bias": False}
        maps = trunk.conv("head_attention_classes", count, 1, **kind)(maps)
        maps = layers.BatchNormalization(name="head_attention_classes_bn")(maps)
        maps = layers.ReLU(name="head_attention_maps")(maps)
        kind = {**kind, "dtype": "float32"}  # of what is read outside the model
        scores = trunk.conv("head_attention_scores", count, 1, **kind)
        logits = trunk.pooled(scores(maps), "head_attention_logits")
        trunk.sides["attention_logits"] = logits
        attention = trunk.conv("head_attention_conv", 1, 3, **kind)(maps)
        normalization = layers.BatchNormalization(
            name="head_attention_conv_bn", dtype="float32"
        )
        attention = layers.Activation(
            "sigmoid", name="head_attention", dtype="float32"
        )(normalization(attention))
        size, small = features.shape[1:3], attention.shape[1:3]
        step = round(size[0] / small[0])
        if tuple(size) != tuple(step * side for side in small):
            raise ValueError(
                "The maps of the attention branch must be as large as the features of "
                "its place, or fit into them a whole number of times. Received: maps "
                f"of {small} in features of {size}: choose another `drop_after` or "
                "`input_shape`."
            )
        if step > 1:
            attention = layers.UpSampling2D(
                step, interpolation="bilinear", name="head_attention_enlarged"
            )(attention)
        weighed = layers.Multiply(name="head_weighed")([features, attention])
        return layers.Add(name=self.name)([features, weighed])
