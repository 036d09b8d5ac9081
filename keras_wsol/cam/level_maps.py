"""A map from several levels of classes, with several maps a class."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer
from keras_wsol.cam.class_activation import channels_of
from keras_wsol.cam.score_map import Evidence, ScoreMap, resized
from keras_wsol.cam.split import SplitModel, split_at


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class LevelMaps(ScoreMap):
    """The sum over levels of the mean of the ReLU of a class's maps.

    The first level is that of the classes themselves: its maps are those of the class
    that is asked for, by default the predicted one. At each further level, of coarser
    classes, they are those of the class which that level predicts. Maps are resized to
    the finest level before they are summed.

    Args:
        layers: Tuple of strings. A layer for each level, the classes' own first.
            The maps of a layer lie one behind another, each with all classes.
        maps_per_class: Integer. Default 8 [authors' code, for VGG16].

    Reference:
        - [Xue et al., 2019](https://github.com/xuehaolan/DANet), "DANet: Divergent
          Activation for Weakly Supervised Object Localization"
    """

    layers: tuple[str, ...]
    maps_per_class: int = 8
    reads_several = True
    default_threshold = 0.15  # [ours] inside of [0.05, 0.3], where the authors search

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        check_integer("maps_per_class", self.maps_per_class)

    @property
    def layer(self) -> str:
        return self.layers[0]

    def cut(self, model: keras.Model) -> SplitModel:
        return split_at(model, *self.layers)

    def check(self, split: SplitModel) -> None:
        found = split.features.shape[-1]
        if found != self.maps_per_class * split.num_classes:
            raise ValueError(
                f"`layers` must begin with one of {self.maps_per_class} maps for each "
                f"of {split.num_classes} classes. Received: {self.layer!r} with "
                f"{found} channels."
            )

    def maps(self, evidence: Evidence) -> Any:
        coarser = evidence.around[: len(self.layers) - 1]
        maps = [self._of_level(evidence.features, evidence.class_ids)]
        maps += [self._of_level(each) for each in coarser]
        size = max(tuple(each.shape[1:3]) for each in maps)
        total = sum(resized(each, size) for each in maps)
        return ops.transpose(total, (0, 3, 1, 2))

    def _of_level(self, features: Any, class_ids: Any = None) -> Any:
        """Maps `(B, h, w, K)` of the class asked for or, `K` being 1, predicted."""
        values = by_map(ops.cast(features, "float32"), self.maps_per_class)
        if class_ids is None:
            # Not by `argmax`, which LiteRT has no operation for.
            class_ids = ops.top_k(ops.mean(values, axis=(1, 2, 3)), 1)[1]
        maps = channels_of(ops.mean(ops.relu(values), axis=3), class_ids)
        return ops.transpose(maps, (0, 2, 3, 1))


def by_map(features: Any, count: int) -> Any:
    """Takes channels `(B, h, w, count * n)` apart: `(B, h, w, count, n)`."""
    _, height, width, channels = features.shape
    return ops.reshape(features, (-1, height, width, count, channels // count))
