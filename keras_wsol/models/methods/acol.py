"""ACoL: a second head that has to find what the first one does not need."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam import ErasedMaps
from keras_wsol.cam.erased_maps import erase
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth

_FEATURES, _FIRST, _SECOND = "head_features", "head_logits", "head_second_logits"


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class ACoL(Method):
    """Adversarial complementary learning: two heads on the same features.

    Each head makes a map for each class, whose means are its logits. In training, the
    first head's map of the true class erases features: where the map, scaled to [0, 1],
    reaches `erase_threshold`, the second head sees zeros. The losses of both heads
    count the same. The model's logits are those of the first head. Its score map is
    `cam.ErasedMaps`, for which the second head runs once a class.

    It acts on the last features alone: there is no `drop_after`. The authors' VGG16
    pools over 3x3 cells, and has maps of 28x28; here it is that of the row, which
    `backbone_options={"map_size": 28}` gives maps of this size.

    Args:
        erase_threshold: Float in [0, 1]. Share of the map's range from which on cells
            are erased; lower erases more. Default 0.6 [paper].
        convolutions: Integer. Number of 3x3x1024 ReLU convolutions in each head, in
            place of those of the backbone's row. Default 2 [paper].

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "acol", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> model.method
    ACoL(erase_threshold=0.6, convolutions=0)

    Reference:
        - [Zhang et al., 2018](https://arxiv.org/abs/1804.06962)
    """

    erase_threshold: float = 0.6
    convolutions: int = 2
    reads = ("features", "first_maps")
    keeps = ("second_maps",)
    head_convolutions = 0

    def __post_init__(self) -> None:
        check_number("erase_threshold", self.erase_threshold)
        check_integer("convolutions", self.convolutions, low=0)

    def head(self, trunk: Trunk, features: Any) -> Any:
        trunk.exact_places("no layer", 0)
        # Under a name of its own, for the score map.
        shared = keras.layers.Identity(name=_FEATURES)(features)
        first = self._class_maps(trunk, shared, "head", _FIRST)
        second = self._class_maps(trunk, shared, "head_second", _SECOND)
        trunk.sides.update(
            features=shared,
            first_maps=first,
            second_maps=second,
            second_logits=trunk.pooled(second, "head_second_pool"),
        )
        return trunk.pooled(first)

    def _class_maps(self, trunk: Trunk, maps: Any, prefix: str, name: str) -> Any:
        for number in range(1, 1 + self.convolutions):
            conv = trunk.conv(f"{prefix}_conv{number}", 1024, activation="relu")
            maps = conv(maps)
        return trunk.logits(name)(maps)

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        maps = truth.channel(sides["first_maps"])[:, None]
        rest = erase(sides["features"], maps, self.erase_threshold)[:, 0]
        logits = model.part("features", "second_logits")(rest, training=True)
        return truth.cross_entropy(logits)

    def score_map(self) -> ErasedMaps:
        return ErasedMaps(_FEATURES, _FIRST, _SECOND, self.erase_threshold)
