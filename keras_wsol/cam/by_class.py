"""A score map for each class, fitted to the images of that class."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.cam.ddt import (
    DDT,
    Features,
    FittedMap,
    ddt_of,
    labelled_features,
    read,
)
from keras_wsol.cam.foreground import Foreground, foreground_of
from keras_wsol.cam.score_map import Evidence, ScoreMap
from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.data import ImageDataset

# A class with fewer images than this takes the map of all images.
_LEAST_IMAGES = 5


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False, repr=False)
class ByClass(ScoreMap):
    """A fitted map for each class: for images of several kinds of objects.

    One map for all classes, as `DDT` and `Foreground` are, finds what all images have
    in common. `ByClass.fit` fits one to the images of each class; labels are needed,
    boxes are not.

    Args:
        score_maps: Maps by class id, as many as the model has classes: all of them
            `DDT`, or all `Foreground`, of the same layer, `relu` and `root`.

    Example:
    >>> maps = ByClass((Foreground((1.0, 0.0), 0.0), Foreground((0.0, 2.0), -1.0)))
    >>> maps
    ByClass(2 x Foreground(layer=None, relu=True, root=True, share=None))
    """

    score_maps: tuple[FittedMap, ...]

    def __post_init__(self) -> None:
        # A frozen dataclass sets its fields like this.
        object.__setattr__(self, "score_maps", tuple(self.score_maps))
        kinds = {_kind(each) for each in self.score_maps}
        if len(kinds) != 1 or None in kinds:
            raise ValueError(
                "`score_maps` must hold a DDT or a Foreground for each class, all of "
                "one kind, layer, `relu`, `root` and number of channels. Received: "
                f"{sorted(map(str, kinds))}."
            )

    def __repr__(self) -> str:
        one = replace(self.score_maps[0], share=None)
        return f"ByClass({len(self.score_maps)} x {one!r})"

    @property
    def layer(self) -> str | None:
        return self.score_maps[0].layer

    @property
    def cam_threshold(self) -> float | None:
        return self.score_maps[0].cam_threshold

    def check(self, split: SplitModel) -> None:
        self.score_maps[0].check(split)
        if split.num_classes != len(self.score_maps):
            raise ValueError(
                f"`score_maps` must hold a map for each of the {split.num_classes} "
                f"classes of the model. Received: {len(self.score_maps)}."
            )

    @cached_property
    def _stacked(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights `(num_classes, C)` and biases `(num_classes, 1, 1)`."""
        biases = [each.bias for each in self.score_maps]
        weights = np.array([each.weights for each in self.score_maps], "float32")
        return weights, np.array(biases, "float32")[:, None, None]

    def maps(self, evidence: Evidence) -> Any:
        weights, biases = (
            ops.take(ops.convert_to_tensor(each), evidence.class_ids, axis=0)
            for each in self._stacked
        )
        first = self.score_maps[0]
        features = read(evidence.features, first.root)
        maps = ops.einsum("bhwc,bkc->bkhw", features, weights) + biases
        return ops.relu(maps) if first.relu else maps

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ByClass":
        return cls(map(keras.saving.deserialize_keras_object, config["score_maps"]))

    @classmethod
    def fit(
        cls,
        kind: type[FittedMap],
        model: keras.Model,
        images: Any,
        layer: str | None = None,
        *,
        verbose: bool | str = "auto",
        **options: Any,
    ) -> "ByClass":
        """Fits a map to the images of each class, as `kind.fit` does to all.

        The images are read once, and the features of one class at a time are held in
        memory. A class of less than five images, or whose features do not vary, has the
        map that is fitted to the images of all classes, for which they are read again;
        a warning names these classes. Another names classes whose `Foreground` lies
        along the edge of their images.

        Args:
            kind: `cam.Foreground` or `cam.DDT`.
            model: A classifier, as in `Localizer`.
            images: An `ImageDataset`, whose labels say the class; or batches: tuples of
                images and class ids, or dictionaries with `"images"` and `"class_ids"`,
                whose features are all held in memory.
            layer: As in `kind`.
            verbose: As in `DDT.fit`.
            **options: Passed on to `kind.fit`: `rounds`, `shrinkage`, `number`, `relu`,
                `root`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.
        """
        split = split_at(model, layer)
        everything: Iterable[Any]
        if isinstance(images, ImageDataset):
            everything, names = Features(split, images, verbose), images.class_names
            order = np.argsort(images.class_ids, kind="stable")
            images = images.take(order, images.split)
            groups = grouped(labelled_features(split, images, verbose), in_order=True)
        else:
            groups = list(grouped(labelled_features(split, images, verbose)))
            everything, names = [x for _, parts in groups for x in parts], None
        return by_class_of(
            kind, groups, everything, split.num_classes, layer, names, **options
        )


# From features, a layer and options to a map, and how many directions were tried if
# all led to the edge.
_FITS: dict[type, Callable[..., tuple[Any, int]]] = {
    DDT: lambda *args, **options: (ddt_of(*args, **options), 0),
    Foreground: foreground_of,
}


def _kind(score_map: Any) -> Any:
    """What the maps of all classes must have in common."""
    if type(score_map) not in _FITS:
        return type(score_map).__name__
    name, count = type(score_map).__name__, len(score_map.weights)
    return name, score_map.layer, score_map.relu, score_map.root, count


def grouped(
    batches: Iterable[tuple[Any, Any]], in_order: bool = False
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """From batches of features and class ids to each class and its features.

    `in_order`: class ids never fall, and a class is complete when the next begins.
    """
    waiting: dict[int, list[np.ndarray]] = {}
    for features, class_ids in batches:
        features = ops.convert_to_numpy(features)
        class_ids = checked_class_ids(class_ids, len(features))
        for class_id in np.unique(class_ids).tolist():
            part = features[class_ids == class_id]
            waiting.setdefault(class_id, []).append(part)
        while in_order and len(waiting) > 1:
            first = min(waiting)
            yield first, waiting.pop(first)
    yield from sorted(waiting.items())


def checked_class_ids(class_ids: Any, count: int) -> np.ndarray:
    """Class ids as integers `(B,)`, or an error."""
    if class_ids is not None:
        class_ids = np.asarray(ops.convert_to_numpy(class_ids))
        if class_ids.shape == (count,) and class_ids.dtype.kind in "iu":
            return class_ids
    received = "none" if class_ids is None else f"{class_ids.dtype} {class_ids.shape}"
    raise ValueError(
        f"`images` must come with integer class ids (B,). Received: {received} for "
        f"{count} images."
    )


def by_class_of(
    kind: type[FittedMap],
    groups: Iterable[tuple[int, Sequence[Any]]],
    everything: Iterable[Any],
    num_classes: int,
    layer: str | None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> ByClass:
    """Fits a `ByClass` to the features of each class; to `everything` where it must."""
    if kind not in _FITS:
        raise TypeError(
            f"`kind` must be cam.DDT or cam.Foreground. Received: kind={kind!r}."
        )
    found: dict[int, FittedMap] = {}
    at_edge = []
    for class_id, features in groups:
        if not 0 <= class_id < num_classes:
            raise ValueError(
                f"Class ids must be in [0, {num_classes}), the classes of the model. "
                f"Received: {class_id}."
            )
        if sum(map(len, features)) >= _LEAST_IMAGES:
            # If the features do not vary; wrong options fail below, too.
            with suppress(ValueError):
                found[class_id], tried = _FITS[kind](features, layer, **options)
                at_edge += [class_id] if tried else []
    missing = sorted(set(range(num_classes)) - set(found))
    if missing:
        general, tried = _FITS[kind](everything, layer, **options)
        found |= dict.fromkeys(missing, general)
        at_edge += missing if tried else []
        _warn(missing, names, "have the map of all images, for want of their own")
    if at_edge:
        _warn(at_edge, names, "have maps that lie along the edge of their images")
    return ByClass(tuple(found[class_id] for class_id in range(num_classes)))


def _warn(class_ids: Sequence[int], names: Sequence[str] | None, what: str) -> None:
    """Names classes whose maps may be bad."""
    which = [names[each] if names else each for each in class_ids]
    shown = f"{which[:20]}{' and others' if len(which) > 20 else ''}"
    warnings.warn(
        f"{len(which)} classes {what}: {shown}. Look at their maps.", stacklevel=4
    )
