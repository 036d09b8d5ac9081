"""DANet: coarser classes at earlier layers, and maps of a class that differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam import LevelMaps
from keras_wsol.cam.level_maps import by_map
from keras_wsol.cam.score_map import resized
from keras_wsol.models.methods.method import Method, MethodModel, Trunk, Truth
from keras_wsol.models.splice import derive_seed

_CHILD = "child"


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class DANet(Method):
    """Divergent activation network: several levels of classes, several maps a class.

    Each class has several maps, whose mean is its class map, whose mean is its logit.
    A loss pushes the maps of the true class apart: the absolute value of the mean
    cosine of pairs, among half of the maps, which are drawn anew each step for the
    whole batch. With a hierarchy of classes, such as species, families and orders of
    birds, two heads on earlier features learn the coarser classes, and their maps are
    among those that are pushed apart. The score map is `cam.LevelMaps`.

    The total is twice that of the authors' code, which halves all cross entropies.

    Args:
        parents: Sequence of integers, or None. The parent of each class, numbered from
            0 on without holes. Default None, without this level.
        roots: Sequence of integers, or None. The root of each class, as parents.
            Default None, without this level. With a hierarchy, `drop_after` names the
            layer of roots and that of parents; without, it is not read.
        maps_per_class: Integer above 1. Default 8 [authors' code, VGG16].
        cosine_weight: Float >= 0. Weight of the loss that pushes maps apart. Default
            0.02 [authors' code: 0.01 beside halves].
        convolutions: Integer. Number of 3x3 ReLU convolutions of each head, of 1024
            channels for the classes themselves. Default 2 [authors' code].
        widths: Two integers: channels of the convolutions for roots, and for parents.
            Default (512, 1024) [authors' code, VGG16].

    Example:
    >>> DANet(parents=[0, 0, 1, 2], roots=[0, 0, 1, 1]).keeps
    ('parent', 'root')

    Reference:
        - [Xue et al., 2019](https://github.com/xuehaolan/DANet), "DANet: Divergent
          Activation for Weakly Supervised Object Localization"
    """

    parents: tuple[int, ...] | None = None
    roots: tuple[int, ...] | None = None
    maps_per_class: int = 8
    cosine_weight: float = 0.02
    convolutions: int = 2
    widths: tuple[int, int] = (512, 1024)

    def __post_init__(self) -> None:
        for name in ("parents", "roots"):
            ids = getattr(self, name)
            if ids is not None:
                if not isinstance(ids, Iterable):
                    raise TypeError(
                        f"`{name}` must be a sequence of integers, one a class. "
                        f"Received: {name}={ids!r}."
                    )
                ids = tuple(check_integer(name, each, low=0) for each in ids)
                if not ids or {*ids} != {*range(max(ids) + 1)}:
                    raise ValueError(
                        f"`{name}` must be numbered from 0 on, without holes. "
                        f"Received: {name}={list(ids)}."
                    )
                object.__setattr__(self, name, ids)
        check_integer("maps_per_class", self.maps_per_class, low=2)
        check_number("cosine_weight", self.cosine_weight, high=None)
        check_integer("convolutions", self.convolutions, low=0)
        if not isinstance(self.widths, Sequence) or len(self.widths) != 2:
            raise ValueError(
                "`widths` must be two integers, for roots and for parents. Received: "
                f"widths={self.widths!r}."
            )
        widths = tuple(check_integer("widths", each) for each in self.widths)
        object.__setattr__(self, "widths", widths)

    @property
    def head_convolutions(self) -> int:
        return self.convolutions

    @property
    def reads(self) -> tuple[str, ...]:
        return (_CHILD, *self.keeps, "drawn")

    @property
    def keeps(self) -> tuple[str, ...]:
        return tuple(self._coarser)

    @property
    def _coarser(self) -> dict[str, tuple[int, ...]]:
        """Name of each coarser level to the class there of each class."""
        levels = {"parent": self.parents, "root": self.roots}
        return {name: ids for name, ids in levels.items() if ids is not None}

    def head(self, trunk: Trunk, features: Any) -> Any:
        if self._coarser:
            places = trunk.exact_places("two layers, for roots and for parents,", 2)
            taps = dict(zip(("root", "parent"), places, strict=True))
            widths = dict(zip(("root", "parent"), self.widths, strict=True))
        for level, ids in self._coarser.items():
            if len(ids) != trunk.num_classes:
                raise ValueError(
                    f"`{level}s` must have an integer for each of {trunk.num_classes} "
                    f"classes. Received: {len(ids)}."
                )
            maps = trunk.outputs[taps[level]]
            for number in range(1, 1 + self.convolutions):
                name = f"head_{level}_conv{number}"
                maps = trunk.conv(name, widths[level], activation="relu")(maps)
            trunk.sides[level] = self._maps(trunk, level, max(ids) + 1, maps)
        child = self._maps(trunk, _CHILD, trunk.num_classes, features)
        count = self.maps_per_class * (1 + len(self._coarser))
        draw = DrawnMaps(count, derive_seed(trunk.seed, "head_drawn"), "head_drawn")
        trunk.sides.update({_CHILD: child, "drawn": draw(child)})
        return trunk.pooled(MeanMaps(self.maps_per_class, "head_maps")(child))

    def _maps(self, trunk: Trunk, level: str, classes: int, maps: Any) -> Any:
        filters = classes * self.maps_per_class
        return trunk.conv(f"head_{level}", filters, size=1, dtype="float32")(maps)

    def loss(self, model: MethodModel, sides: Mapping[str, Any], truth: Truth) -> Any:
        loss, maps = 0.0, []
        for level in (_CHILD, *self._coarser):
            values, own = by_map(sides[level], self.maps_per_class), truth
            if level != _CHILD:
                ids = ops.convert_to_tensor(self._coarser[level], dtype="int32")
                own = replace(truth, class_ids=ops.take(ids, truth.class_ids))
                logits = ops.mean(values, axis=(1, 2, 3))
                loss = loss + keras.losses.sparse_categorical_crossentropy(
                    own.class_ids, logits, from_logits=True
                )
            maps.append(own.channel(values))
        size = max(tuple(each.shape[1:3]) for each in maps)
        maps = ops.concatenate([resized(each, size) for each in maps], axis=-1)
        return loss + self.cosine_weight * likeness(maps, sides["drawn"])

    def score_map(self) -> LevelMaps:
        layers = [f"head_{level}" for level in (_CHILD, *self._coarser)]
        return LevelMaps(tuple(layers), self.maps_per_class)


def likeness(maps: Any, drawn: Any) -> Any:
    """Absolute mean cosine of pairs of maps `(B, h, w, M)` that are drawn, `(B, M)`."""
    maps = ops.reshape(maps, (-1, maps.shape[1] * maps.shape[2], maps.shape[3]))
    squares = ops.sum(ops.square(maps), axis=1)
    lengths = ops.sqrt(squares[:, :, None] * squares[:, None] + 1e-8)
    cosines = ops.einsum("bpi,bpj->bij", maps, maps) / lengths
    pairs = drawn[:, :, None] * drawn[:, None] * (1 - ops.eye(maps.shape[2]))
    # Of the sum, not of each: cosines of opposite signs cancel.
    return ops.abs(ops.sum(cosines * pairs, axis=(1, 2))) / ops.sum(pairs, axis=(1, 2))


@keras.saving.register_keras_serializable(package="keras_wsol")
class DrawnMaps(keras.layers.Layer):
    """Draws half of `count` maps, the same for a batch: 1 where drawn, `(B, count)`."""

    def __init__(self, count: int, seed: int, name: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "name": name, "dtype": "float32"})
        self.count, self.seed = count, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        every = ops.zeros_like(inputs[:, 0, 0, :1]) + ops.ones((1, self.count))
        if not training:
            return every
        order = keras.random.shuffle(ops.arange(self.count), seed=self.seed_generator)
        return every * ops.cast(order < max(2, self.count // 2), "float32")

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        return keras.KerasTensor((inputs.shape[0], self.count), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_wsol")
class MeanMaps(keras.layers.Layer):
    """Averages the maps of each class."""

    def __init__(self, maps_per_class: int, name: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "name": name, "dtype": "float32"})
        self.maps_per_class = maps_per_class

    def call(self, inputs: Any) -> Any:
        return ops.mean(by_map(inputs, self.maps_per_class), axis=3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "maps_per_class": self.maps_per_class}
