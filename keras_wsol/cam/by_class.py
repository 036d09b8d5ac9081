"""A score map for each class."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer
from keras_wsol.cam import ddt, foreground
from keras_wsol.cam.ddt import DDT, FittedMap, Scatter
from keras_wsol.cam.foreground import Foreground
from keras_wsol.cam.score_map import Evidence, ScoreMap
from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.data import ImageDataset


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
        features = ddt.read(features, first.root)
        maps = ops.einsum("bhwc,bkc->bkhw", features, weights) + biases
        return ops.relu(maps) if first.relu else maps

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

        It begins with `Foreground.fit` to all images. Then, `rounds` times, what is
        found in an image by the map of its class makes the next guess. Background,
        covariance and share of the object are those of all images. The mean of the
        objects of a class, over its images, is drawn towards that of all object cells.
        The pull is stronger with fewer images, and where classes differ little compared
        with images of one class (empirical Bayes, by the analysis of variance). A class
        without an object has the mean of all; a warning names those that have images.

        `DDT` of each class, of which each needs images: `ByClass([DDT.fit(model,
        data.take(data.class_ids == k, "train")) for k in range(data.num_classes)])`.

        Args:
            model: A classifier, as in `Localizer`.
            images: An `ImageDataset`, whose labels say the class; or batches: tuples of
                images and class ids, or dictionaries with `"images"` and `"class_ids"`;
                no iterator: they are read `1 + 2 * rounds` times, and `rounds` times
                more for each further direction of `Foreground.fit`.
            layer: As in `Foreground`.
            rounds: Integer above 0. Default 2 [ours].
            shrinkage: As in `Foreground.fit`.
            relu: As in `Foreground`.
            root: As in `Foreground`.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Raises:
            ValueError: The classes are not those of the model, or the features do not
                vary.
            TypeError: `images` is an iterator.
        """
        check_integer("rounds", rounds)
        foreground.check_shrinkage(shrinkage)
        ddt.check_read_again(images)
        split = split_at(model, layer)
        count = split.num_classes
        check_classes(images, model, count)
        pairs = ddt.Features(split, images, verbose, labelled=True)
        scatter, seen = ddt.NOTHING, np.zeros(count, int)
        for features, class_ids in pairs:
            class_ids = checked_class_ids(class_ids, len(features))
            check_class_ids(class_ids, count)
            np.add.at(seen, class_ids, 1)
            scatter = ddt.joined(scatter, ddt.cells_of(features, root))
        directions = foreground.directions_of(scatter, layer, root)
        every = ddt.Features(split, images, verbose)
        options = (rounds, shrinkage, relu, (scatter, directions))
        general, tried = foreground.foreground_of(every, *options)
        if tried:
            foreground.warn_of_edge(tried, layer)
        found = cls((general,) * count)
        for _ in range(rounds):
            found, objects = next_by_class(pairs, found, scatter, shrinkage)
        empty = np.flatnonzero((seen > 0) & (objects == 0)).tolist()
        if empty:
            warnings.warn(
                f"No object was found in the images of {len(empty)} classes, which "
                f"have the mean of all: {empty[:20]}. Look at their maps.",
                stacklevel=2,
            )
        return found


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


def check_class_ids(class_ids: np.ndarray, num_classes: int) -> None:
    """Raises for classes that a model does not have."""
    wrong = class_ids[(class_ids < 0) | (class_ids >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"`class_ids` must be in [0, {num_classes}), the classes of the model. "
            f"Received: {np.unique(wrong)[:8]}."
        )


def class_names_of(model: keras.Model) -> tuple[str, ...] | None:
    """Returns the class names that a model carries.

    Args:
        model: A classifier of `build_classifier`, or any other Keras model.

    Returns:
        The names by class id, or `None` if the model carries none.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", num_classes=2, weights=None,
    ...                          class_names=["cat", "dog"])
    >>> class_names_of(model)
    ('cat', 'dog')
    """
    layers = reversed(model.layers)
    return next((x.class_names for x in layers if hasattr(x, "class_names")), None)


def has_classes_of(images: ImageDataset, model: keras.Model, count: int) -> bool:
    """Whether the class ids of a data set are those of a model of so many classes."""
    names = tuple(images.class_names)
    return count == len(names) and tuple(class_names_of(model) or names) == names


def check_classes(images: Any, model: keras.Model, count: int) -> None:
    """Raises where the classes of a data set are not those of a model."""
    # A model of one logit knows no classes, and finds the object of each.
    if not isinstance(images, ImageDataset) or count == 1:
        return
    if not has_classes_of(images, model, count):
        names = class_names_of(model) or ()
        raise ValueError(
            f"The model must know the classes of {images.name!r} in their order. It "
            f"has {count} ({list(names)[:3]} ...), the split {images.num_classes} "
            f"({list(images.class_names)[:3]} ...)."
        )


def next_by_class(
    pairs: Iterable[tuple[Any, Any]],
    guess: ByClass,
    scatter: Scatter,
    shrinkage: float = 0.1,
) -> tuple[ByClass, np.ndarray]:
    """From a guess to the next one, and the number of objects found, by class."""
    first = guess.score_maps[0]
    found = _objects(pairs, guess)
    covariance, (mean, mean_others) = foreground.covariance_within(
        scatter, found.cells, shrinkage
    )
    trust = _trust(found, np.linalg.inv(covariance))
    seen = found.counts[:, None]
    apart = np.where(seen, found.sums / np.maximum(seen, 1) - mean, 0)
    # Towards the mean of all cells: without trust, the map is that of all images.
    means = mean + trust[:, None] * apart
    number = found.cells[0]
    counts = number, scatter[0] - number
    made = foreground.discriminants(covariance, counts, (means, mean_others))
    return ByClass(tuple(replace(first, **each) for each in made)), found.counts


@dataclass(frozen=True)
class _Objects:
    """What a guess takes for the objects: all their cells, and the mean of each."""

    cells: tuple[int, np.ndarray]  # number, sum
    counts: np.ndarray  # by class: images with an object
    sums: np.ndarray  # by class: of the means of these objects
    scatter: Scatter  # of these means


def _objects(pairs: Iterable[tuple[Any, Any]], guess: ByClass) -> _Objects:
    first, num_classes = guess.score_maps[0], len(guess.score_maps)
    number, total, scatter = 0, np.zeros(len(first.weights)), ddt.NOTHING
    counts, sums = np.zeros(num_classes, int), np.zeros((num_classes, len(total)))
    for features, class_ids in pairs:
        class_ids = ops.convert_to_numpy(class_ids).astype("int32")
        maps = guess.project(features, class_ids[:, None])[:, 0]
        is_object = foreground.largest_components(maps > 0)
        cells = ddt.cells_of(features, first.root).reshape(*features.shape)
        of_each = is_object.sum(axis=(1, 2))
        summed = np.einsum("bhwc,bhw->bc", cells, is_object, dtype="float64")
        number, total = number + of_each.sum(), total + summed.sum(axis=0)
        seen = of_each > 0
        means = summed[seen] / of_each[seen, None]
        np.add.at(counts, class_ids[seen], 1)
        np.add.at(sums, class_ids[seen], means)
        scatter = ddt.joined(scatter, means)
    return _Objects((number, total), counts, sums, scatter)


def _trust(found: _Objects, inverse: np.ndarray) -> np.ndarray:
    """How far the mean of the images of each class is to be trusted, in [0, 1]."""
    # `n b / (n b + w)` of `n` images, with the variances `b` between classes and `w`
    # between images of one; in the metric of the inverse covariance, all channels
    # summed.
    seen = found.counts > 0
    count, classes = found.counts.sum(), seen.sum()
    if classes < 2 or count == classes:  # nothing to compare
        return np.zeros(len(seen))
    number = found.counts[seen]
    apart = found.sums[seen] / number[:, None] - found.scatter[1]
    between = (apart @ inverse * apart).sum(axis=1) @ number
    every = (inverse * found.scatter[2]).sum()
    variance = max(every - between, 0) / (count - classes)
    images = (count - np.square(number).sum() / count) / (classes - 1)
    of_classes = max(between / (classes - 1) - variance, 0) / images
    strength = found.counts * of_classes
    whole, none = strength + variance, np.zeros(len(strength))
    return np.divide(strength, whole, out=none, where=strength > 0)
