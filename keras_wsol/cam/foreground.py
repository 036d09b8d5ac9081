"""The foreground map: what speaks for the object, whatever its class."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.boxes import label_components
from keras_wsol.cam.ddt import (
    DDT,
    NOTHING,
    check_channels,
    check_varies,
    joined,
    principal_directions,
)
from keras_wsol.cam.image_features import check_repeatable, feature_batches
from keras_wsol.cam.score_map import Evidence, ScoreMap, check_layer_and_relu
from keras_wsol.cam.split import SplitModel, split_at

# Directions that `Foreground.fit` tries: the first may be the edge of the images.
_GUESSES = 3
# How much likelier an outermost cell may be the object than one inside.
_MOST_AT_EDGE = 0.75
# Directions with a smaller share of the variance are rounding.
_LEAST_SHARE = 1e-6


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Foreground(ScoreMap):
    """How much each cell speaks for the object, whatever its class.

    `map_ij = w A_ij + b` [ours]: Fisher's linear discriminant between the cells of the
    object and those around it. For normal features it is the logarithm of the odds; 0
    is halfway. One map an image, for every class alike. `Foreground.fit` finds the
    weights without labels or boxes.

    Args:
        weights: `C` numbers.
        bias: Number.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.
        relu: Boolean. Whether negative values of the map become 0. Default True. If
            the tuned threshold is near 0, False lets it fall below halfway.
        share: Number or None. Share of the cells taken for the object; not used.

    Example:
    >>> foreground = Foreground(weights=(1.0, -1.0), bias=0.5)
    >>> features = np.array([[[[2.0, 0.0], [0.0, 2.0]]]], "float32")
    >>> ops.convert_to_numpy(foreground.project(features))[0, 0, 0].tolist()
    [2.5, 0.0]
    """

    weights: tuple[float, ...] = field(repr=False)
    bias: float = field(repr=False)
    layer: str | None = None
    relu: bool = True
    share: float | None = None

    def __post_init__(self) -> None:
        check_layer_and_relu(self)

    def check(self, split: SplitModel) -> None:
        check_channels(split.features, self.weights)

    def maps(self, evidence: Evidence) -> Any:
        return self.project(evidence.features)

    def project(self, features: Any) -> Any:
        """Returns the maps `(B, 1, h, w)` of features `(B, h, w, C)`."""
        check_channels(features, self.weights)
        weights = ops.convert_to_tensor(self.weights, dtype="float32")
        maps = ops.einsum("bhwc,c->bhw", ops.cast(features, "float32"), weights)
        maps = (maps + self.bias)[:, None]
        return ops.relu(maps) if self.relu else maps

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
        verbose: bool | str = "auto",
    ) -> "Foreground":
        """Finds the weights from images of one kind of object, without labels.

        DDT's map is the first guess: in each image, the largest connected component
        of its positive cells is taken for the object and all else for the background.
        The discriminant between the two makes the next guess, `rounds` times.

        Where the cells found are more than 0.75 times as large a part of the outermost
        cells as of those inside, all is done again from DDT's second direction, then
        from the third: the first may be the edge of the images.

        The images are read `1 + rounds` times, `rounds` times more for each further
        guess, and not kept.

        Args:
            model: A classifier, as in `Localizer`.
            images: As in `DDT.fit`, but no iterator: they are read several times.
            layer: As in the class.
            rounds: Integer of at least 1. Default 2 [ours].
            shrinkage: Number above 0. See `from_cells`. Default 0.1 [ours].
            relu: As in the class.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Warns:
            UserWarning: From each direction, what was found lies along the edge of the
                images. The map is that of the first.

        Raises:
            TypeError: `images` can be read once only, or are no such thing.
            ValueError: The layer cannot be read, its features do not vary, or an
                argument is out of range.
        """
        check_integer("rounds", rounds)
        split = split_at(model, layer)
        check_repeatable(images)

        def features() -> Iterator[Any]:
            return feature_batches(split, images, verbose)

        most = min(_GUESSES, split.features.shape[-1])
        directions = principal_directions(features(), most)
        guesses = [each for each in directions if each.share > _LEAST_SHARE]
        first: Foreground | None = None
        for guess in guesses:
            found, preference = guess, 0.0
            for _ in range(rounds):
                edge = _EdgePreference()
                pairs = _with_object(features(), found, edge)
                found = cls.from_cells(pairs, shrinkage, layer=layer)
                preference = edge.result()
            first = first or found
            if preference <= _MOST_AT_EDGE:
                return replace(found, relu=relu)
        warnings.warn(
            "No principal direction of the features led to an object inside the images "
            f"({len(guesses)} tried, layer={layer!r}): what was found lies along their "
            "edge. Look at the maps; another layer may do.",
            stacklevel=2,
        )
        return replace(first, relu=relu)

    @classmethod
    def from_cells(
        cls,
        batches: Iterable[tuple[Any, Any]],
        shrinkage: float = 0.1,
        *,
        layer: str | None = None,
        relu: bool = True,
    ) -> "Foreground":
        """Finds the weights from cells that are known to be the object's or not.

        With the means `m1` of the object's cells and `m0` of the others, their common
        covariance `S` and the shares `p1`, `p0`: weights `w = S^-1 (m1 - m0)`, bias
        `-w (m1 + m0) / 2 + log(p1 / p0)`. Batches are read once and not kept.

        Args:
            batches: Pairs of features `(B, h, w, C)` and booleans `(B, h, w)`, true
                where the object is. Batches may differ in `B`, `h`, `w`.
            shrinkage: Number above 0. This times the mean variance is added to the
                diagonal of `S`, so that channels that are nearly the same do no harm.
            layer: As in the class.
            relu: As in the class.

        Returns:
            The map, its numbers rounded to float32.

        Raises:
            ValueError: All cells are of one kind, the features do not vary or are not
                finite, the shapes do not fit, or `shrinkage` is not above 0.
        """
        if not check_number("shrinkage", shrinkage, high=None) > 0:
            raise ValueError(f"`shrinkage` must be above 0. Received: {shrinkage!r}.")
        kinds = [NOTHING, NOTHING]  # of the others and of the object
        for features, is_object in batches:
            cells = np.asarray(ops.convert_to_numpy(features), "float64")
            is_object = np.asarray(ops.convert_to_numpy(is_object), "bool")
            if is_object.shape != cells.shape[:-1]:
                raise ValueError(
                    "`batches` must hold features (B, h, w, C) and booleans (B, h, w). "
                    f"Received: {cells.shape} and {is_object.shape}."
                )
            kinds = [
                joined(kind, cells[is_object == bool(number)])
                for number, kind in enumerate(kinds)
            ]
        (others, mean_others, scatter), (count, mean, scatter_object) = kinds
        total = others + count
        if not (others and count):
            raise ValueError(
                "`batches` must hold cells of the object and others. Received: "
                f"{count} and {others}."
            )
        covariance = (scatter + scatter_object) / total
        variance = np.trace(covariance) / len(covariance)
        check_varies(covariance, total)
        covariance += shrinkage * variance * np.eye(len(covariance))
        weights = np.linalg.solve(covariance, mean - mean_others)
        bias = np.log(count / others) - weights @ (mean + mean_others) / 2
        return cls(
            weights=tuple(np.float32(weights).tolist()),
            bias=float(np.float32(bias)),
            layer=layer,
            relu=relu,
            share=count / total,
        )


class _EdgePreference:
    """How much likelier an outermost cell is to be the object than one inside."""

    def __init__(self) -> None:
        self._object = np.zeros(2)  # outermost, inside
        self._cells = np.zeros(2)

    def add(self, is_object: np.ndarray) -> None:
        inside = is_object[:, 1:-1, 1:-1]
        for counts, all_of, part in (
            (self._object, is_object.sum(), inside.sum()),
            (self._cells, is_object.size, inside.size),
        ):
            counts += all_of - part, part

    def result(self) -> float:
        if not self._cells.all():  # of maps of two rows, all cells are outermost
            return 0.0
        outermost, inside = self._object / self._cells
        return float("inf") if inside == 0 else outermost / inside


def _with_object(
    features: Iterable[Any], guess: DDT | Foreground, edge: _EdgePreference
) -> Iterator[tuple[Any, np.ndarray]]:
    """Features, and where the guess has the object of each image."""
    for each in features:
        is_object = _largest(guess.project(each)[:, 0] > 0)
        edge.add(is_object)
        yield each, is_object


def _largest(masks: Any) -> np.ndarray:
    """Keeps the largest connected component of each mask, boolean `(B, h, w)`."""
    labels = ops.convert_to_numpy(label_components(masks))
    flat = labels.reshape(len(labels), -1)
    cells = flat.shape[1] + 1
    sizes = np.zeros((len(flat), cells), "int64")
    np.add.at(sizes, (np.arange(len(flat))[:, None], flat), 1)
    sizes[:, 0] = 0
    best = sizes.argmax(axis=1)  # of equal ones the first, as for boxes
    return (labels == best[:, None, None]) & (labels > 0)
