"""Maps of two heads, of which the second reads what the first one leaves."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_number
from keras_wsol.cam.class_activation import channels_of, score_maps
from keras_wsol.cam.score_map import Evidence, ScoreMap
from keras_wsol.cam.split import SplitModel, split_at


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class ErasedMaps(ScoreMap):
    """The larger, in each cell, of the maps of two heads for the class.

    The map of the first head is scaled to [0, 1]. Where it reaches `erase_threshold`,
    the features are erased, for each class that is asked for. From the rest, the second
    head makes its own map, which is scaled to [0, 1], too. The second head runs once a
    class.

    Args:
        erased: String. Layer whose output is erased.
        first: String. Layer whose output has the first head's channel of each class.
        second: String. Layer whose output has the second head's, made from that.
        erase_threshold: Float in [0, 1]. Default 0.6 [paper].

    Reference:
        - [Zhang et al., 2018](https://arxiv.org/abs/1804.06962) (ACoL)
    """

    erased: str
    first: str
    second: str
    erase_threshold: float = 0.6
    reads_several = True
    default_threshold = 0.2  # of CAM, whose rule the paper keeps

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("erase_threshold", self.erase_threshold)

    @property
    def layer(self) -> str:
        return self.erased

    def cut(self, model: keras.Model) -> SplitModel:
        return split_at(model, self.layer, self.first, aside=self.second)

    def check(self, split: SplitModel) -> None:
        for name, maps in (("first", split.around[0]), ("second", split.aside)):
            if maps.shape[-1] != split.num_classes:
                raise ValueError(
                    f"`{name}` must have a channel for each of {split.num_classes} "
                    f"classes. Received: {getattr(self, name)!r} with "
                    f"{maps.shape[-1]} channels."
                )

    def maps(self, evidence: Evidence) -> Any:
        features, class_ids = evidence.features, evidence.class_ids
        first = channels_of(evidence.around[0], class_ids)
        rest = erase(features, first, self.erase_threshold)
        rest = ops.reshape(rest, (-1, *features.shape[1:]))
        second = evidence.split.onward(rest, training=False)
        second = channels_of(second, ops.reshape(class_ids, (-1, 1)))
        second = ops.reshape(second, ops.shape(first))
        size = tuple(first.shape[2:])
        return ops.maximum(score_maps(first, size), score_maps(second, size))


def erase(features: Any, maps: Any, threshold: float) -> Any:
    """Features `(B, K, h, w, C)` without the cells where maps `(B, K, h, w)` are high.

    Each map is scaled to [0, 1] first; one that is constant erases nothing. No gradient
    flows through the maps.
    """
    maps = ops.stop_gradient(score_maps(maps, tuple(maps.shape[2:])))
    # Never all cells: with a threshold of 0, a constant map would reach it.
    kept = ops.logical_or(maps < threshold, maps <= 0)
    return features[:, None] * ops.cast(kept, features.dtype)[..., None]
