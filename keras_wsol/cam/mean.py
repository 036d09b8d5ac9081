"""The mean of several score maps."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from keras_wsol.cam.class_activation import score_maps
from keras_wsol.cam.guided_filter import Guided
from keras_wsol.cam.score_map import Evidence, ScoreMap, score_map_of
from keras_wsol.cam.split import SplitModel, split_at


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Mean(ScoreMap):
    """Mean of several score maps, of the square roots of each, scaled to [0, 1].

    Independent maps err in different places. The classifier runs once, whatever layers
    the maps read. A map for every class alike counts for each class [ours].

    Args:
        score_maps: Two or more score maps, or their names. Each must need one forward
            pass: `CAM`, `ChannelMean`, `DDT`, `Foreground`, `C2AM`, `ByClass`, or
            `Guided` of one of these.

    Example:
    >>> from keras_wsol.cam import CAM, Foreground
    >>> Mean((Foreground((1.0, 2.0), 0.0, "deep"), CAM(negative_weights=False))).layer
    'deep'
    """

    score_maps: tuple[ScoreMap, ...]
    reads_several = True
    default_threshold = 0.5

    def __post_init__(self) -> None:
        found = self.score_maps
        several = isinstance(found, tuple | list) and len(found) > 1
        maps = tuple(map(score_map_of, found)) if several else ()
        # A frozen dataclass sets its fields like this.
        object.__setattr__(self, "score_maps", maps)
        if not maps or not all(each.forward_only for each in maps):
            raise ValueError(
                "`score_maps` must be a tuple of two or more score maps that need one "
                "forward pass: no gradients, no ScoreCAM. Received: "
                f"score_maps={found!r}."
            )
        several = [each for each in map(_unguided, maps) if each.reads_several]
        if any(not isinstance(each, Mean) for each in several):
            raise ValueError(
                "`score_maps` must hold maps that read one layer each. Received: "
                f"score_maps={found!r}."
            )
        if several:
            raise ValueError(
                "`score_maps` must hold no Mean: list its maps instead. Received: "
                f"score_maps={found!r}."
            )

    @property
    def layer(self) -> str | None:
        return self.score_maps[0].layer

    @property
    def needs_class(self) -> bool:
        return any(each.needs_class for each in self.score_maps)

    def cut(self, model: keras.Model) -> SplitModel:
        return split_at(model, *(each.layer for each in self.score_maps))

    def check(self, split: SplitModel) -> None:
        for each, features in self._with_features(split):
            each.check(replace(split, features=features))

    def maps(self, evidence: Evidence) -> Any:
        size = tuple(evidence.images.shape[1:3])
        roots = [
            ops.sqrt(score_maps(each.maps(replace(evidence, features=features)), size))
            for each, features in self._with_features(evidence)
        ]
        return sum(roots) / len(roots)

    def _with_features(self, found: Any) -> Iterator[tuple[ScoreMap, Any]]:
        """Each map and the features that it reads."""
        return zip(self.score_maps, [found.features, *found.around], strict=True)


def _unguided(score_map: ScoreMap) -> ScoreMap:
    """The map that is filtered, if it is."""
    return (
        _unguided(score_map.score_map) if isinstance(score_map, Guided) else score_map
    )
