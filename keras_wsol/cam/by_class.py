"""A score map for each class, fitted to the images of that class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.cam.ddt import (
    DDT,
    NOTHING,
    Features,
    FittedMap,
    Scatter,
    cells_of,
    joined,
    labelled_features,
    read,
)
from keras_wsol.cam.foreground import (
    Foreground,
    foreground_of,
    largest_components,
    warn_of_edge,
    within,
)
from keras_wsol.cam.score_map import Evidence, ScoreMap
from keras_wsol.cam.split import SplitModel, split_at


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False, repr=False)
class ByClass(ScoreMap):
    """A fitted map for each class: for images of several kinds of objects.

    One map for all classes, as `DDT` and `Foreground` are, finds what all images have
    in common. `ByClass.fit` fits one for each class; labels are needed, boxes are not.

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
        return self.project(evidence.features, evidence.class_ids)

    def project(self, features: Any, class_ids: Any) -> Any:
        """Returns the maps `(B, K, h, w)` of classes `(B, K)`."""
        weights, biases = (
            ops.take(ops.convert_to_tensor(each), class_ids, axis=0)
            for each in self._stacked
        )
        first = self.score_maps[0]
        features = read(features, first.root)
        maps = ops.einsum("bhwc,bkc->bkhw", features, weights) + biases
        return ops.relu(maps) if first.relu else maps

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ByClass":
        return cls(map(keras.saving.deserialize_keras_object, config["score_maps"]))

    @classmethod
    def fit(
        cls,
        model: keras.Model,
        images: Any,
        layer: str | None = None,
        *,
        rounds: int = 2,
        shrinkage: float = 0.1,
        relu: bool = True,
        root: bool = True,
        verbose: bool | str = "auto",
    ) -> "ByClass":
        """Fits a `Foreground` for each class, with one background for all [ours].

        It begins with `Foreground.fit` to all images; then `rounds` times, what is
        found in an image by the map of its class makes the next guess. Background and
        covariance are those of all images. The mean of the objects of a class, over its
        images, is drawn towards that of all objects: the more, the fewer images it has
        and the less the classes differ beside the images of one class (empirical Bayes,
        by the analysis of variance). A class without images has the mean of all.

        `DDT` of each class: `ByClass([DDT.fit(model, data.take(data.class_ids == k,
        "train")) for k in range(data.num_classes)])`.

        Args:
            model: A classifier, as in `Localizer`.
            images: An `ImageDataset`, whose labels say the class; or batches: tuples of
                images and class ids, or dictionaries with `"images"` and `"class_ids"`;
                no iterator: they are read several times.
            layer: As in `Foreground`.
            rounds: Integer. Of `Foreground.fit`, and then by class. Default 2 [ours].
            shrinkage: As in `Foreground.fit`.
            relu: As in `Foreground`.
            root: As in `Foreground`.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.
        """
        if isinstance(images, Iterator):
            raise TypeError(
                "`images` must be batches that can be read several times, such as a "
                f"list, or an `ImageDataset`. Received an iterator: {images!r}."
            )
        split = split_at(model, layer)
        count, pairs = split.num_classes, _Labelled(split, images, verbose)
        scatter = NOTHING
        for features, class_ids in pairs:
            _check(class_ids, len(features), count)
            scatter = joined(scatter, cells_of(features, root))
        every, options = Features(split, images, verbose), (shrinkage, relu, root)
        general, tried = foreground_of(every, layer, rounds, *options, scatter)
        if tried:
            warn_of_edge(tried, layer)
        found = cls((general,) * count)
        for _ in range(rounds):
            found = next_by_class(pairs, found, scatter, shrinkage)
        return found


@dataclass(frozen=True)
class _Labelled(Features):
    """Batches of features and class ids, read anew by each loop over them."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return labelled_features(self.split, self.images, self.verbose)


def _kind(score_map: Any) -> Any:
    """What the maps of all classes must have in common."""
    if type(score_map) not in (DDT, Foreground):
        return type(score_map).__name__
    name, count = type(score_map).__name__, len(score_map.weights)
    return name, score_map.layer, score_map.relu, score_map.root, count


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


def _check(class_ids: Any, count: int, num_classes: int) -> None:
    """Raises for class ids that are not of so many images and classes."""
    found = checked_class_ids(class_ids, count)
    outside = found[(found < 0) | (found >= num_classes)]
    if len(outside):
        raise ValueError(
            f"Class ids must be in [0, {num_classes}), the classes of the model. "
            f"Received: {outside[0]}."
        )


def next_by_class(
    pairs: Iterable[tuple[Any, Any]],
    guess: ByClass,
    scatter: Scatter,
    shrinkage: float = 0.1,
) -> ByClass:
    """The discriminants between the object of each class and all that is around.

    `pairs` are features and class ids; `scatter` is that of the features.
    """
    first = guess.score_maps[0]
    found = _objects(pairs, guess)
    covariance, (mean, mean_others) = within(scatter, found.cells, shrinkage)
    trust = _trust(found, covariance)
    counts = np.maximum(found.counts, 1)[:, None]
    apart = np.where(found.counts[:, None] > 0, found.sums / counts - mean, 0)
    means = mean + trust[:, None] * apart
    weights = np.linalg.solve(covariance, (means - mean_others).T).T
    share = found.cells[0] / scatter[0]
    biases = np.log(share / (1 - share)) - (weights * (means + mean_others)).sum(1) / 2
    return ByClass(
        tuple(
            replace(
                first,
                weights=tuple(np.float32(each).tolist()),
                bias=float(np.float32(bias)),
                share=share,
            )
            for each, bias in zip(weights, biases, strict=True)
        )
    )


@dataclass(frozen=True)
class _Objects:
    """What a guess takes for the objects: all their cells, and the mean of each."""

    cells: tuple[int, np.ndarray]  # number, sum
    counts: np.ndarray  # by class: images with an object
    sums: np.ndarray  # by class: of the means of these objects
    scatter: Scatter  # of these means


def _objects(pairs: Iterable[tuple[Any, Any]], guess: ByClass) -> _Objects:
    first, num_classes = guess.score_maps[0], len(guess.score_maps)
    number, total, scatter = 0, np.zeros(len(first.weights)), NOTHING
    counts, sums = np.zeros(num_classes, int), np.zeros((num_classes, len(total)))
    for features, class_ids in pairs:
        class_ids = ops.convert_to_numpy(class_ids)
        maps = guess.project(features, class_ids[:, None])[:, 0]
        is_object = largest_components(maps > 0)
        cells = cells_of(features, first.root).reshape(*features.shape)
        of_each = is_object.sum(axis=(1, 2))
        summed = np.einsum("bhwc,bhw->bc", cells, is_object, dtype="float64")
        number, total = number + of_each.sum(), total + summed.sum(axis=0)
        seen = of_each > 0
        means = summed[seen] / of_each[seen, None]
        np.add.at(counts, class_ids[seen], 1)
        np.add.at(sums, class_ids[seen], means)
        scatter = joined(scatter, means)
    return _Objects((number, total), counts, sums, scatter)


def _trust(found: _Objects, covariance: np.ndarray) -> np.ndarray:
    """How far the mean of the images of each class is to be trusted, in [0, 1].

    `n b / (n b + w)` of `n` images, with the variances `b` between classes and `w`
    between images of one, by the analysis of variance; in the metric of the inverse
    covariance, summed over the channels.
    """
    seen = found.counts > 0
    count, classes = found.counts.sum(), seen.sum()
    if classes < 2 or count == classes:  # nothing to compare
        return np.zeros(len(seen))
    number = found.counts[seen]
    apart = found.sums[seen] / number[:, None] - found.scatter[1]
    scatter = (apart.T * number) @ apart
    between, within_classes = (
        np.trace(np.linalg.solve(covariance, each))
        for each in (scatter, found.scatter[2] - scatter)
    )
    variance = max(within_classes, 0) / (count - classes)
    images = (count - np.square(number).sum() / count) / (classes - 1)
    of_classes = max(between / (classes - 1) - variance, 0) / images
    if not of_classes:
        return np.zeros(len(seen))
    return found.counts * of_classes / (found.counts * of_classes + variance)
