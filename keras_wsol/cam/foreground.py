"""The foreground map: what speaks for the object, whatever its class."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.boxes import label_components
from keras_wsol.cam.ddt import (
    NOTHING,
    Features,
    FittedMap,
    check_varies,
    joined,
    principal_directions,
)
from keras_wsol.cam.split import split_at

# Directions that `Foreground.fit` tries: the first may be the edge of the images.
_GUESSES = 3
# How much likelier an outermost cell may be the object than one inside.
_MOST_AT_EDGE = 0.75
# Directions with a smaller share of the variance are rounding.
_LEAST_SHARE = 1e-6


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Foreground(FittedMap):
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
    """

    weights: tuple[float, ...] = field(repr=False)
    bias: float = field(repr=False)
    layer: str | None = None
    relu: bool = True
    share: float | None = None
    default_threshold = 0.2

    def _sum(self, features: Any, weights: Any) -> Any:
        return ops.einsum("bhwc,c->bhw", features, weights) + self.bias

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

        DDT's map is the first guess: in each image, the largest connected component of
        its positive cells is taken for the object. The discriminant between object and
        background makes the next guess, `rounds` times. If what is found lies mostly
        along the edge of the images, DDT's second direction is tried, then the third.
        If all lead there, it warns and returns the map of the first.

        Args:
            model: A classifier, as in `Localizer`.
            images: As in `DDT.fit`, but no iterator: they are read `1 + rounds` times,
                and `rounds` times more for each further direction.
            layer: As in the class.
            rounds: Integer. Default 2 [ours].
            shrinkage: Number above 0. As in `from_cells`. Default 0.1 [ours].
            relu: As in the class.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.
        """
        if isinstance(images, Iterator):
            raise TypeError(
                "`images` must be batches that can be read several times, such as a "
                f"list, or an `ImageDataset`. Received an iterator: {images!r}."
            )
        features = Features(split_at(model, layer), images, verbose)
        found, tried = foreground_of(features, layer, rounds, shrinkage, relu)
        if tried:
            warnings.warn(
                "No principal direction of the features led to an object inside the "
                f"images ({tried} tried, layer={layer!r}): what was found lies along "
                "their edge. Look at the maps; another layer may do.",
                stacklevel=2,
            )
        return found

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
        `-w (m1 + m0) / 2 + log(p1 / p0)`.

        Args:
            batches: Pairs of features `(B, h, w, C)` and booleans `(B, h, w)`, true
                where the object is. They are read once and may differ in shape.
            shrinkage: Number above 0. This times the mean variance is added to the
                diagonal of `S`, so that channels that are nearly the same do no harm.
            layer: As in the class.
            relu: As in the class.

        Returns:
            The map, its numbers rounded to float32.
        """
        above_0 = sys.float_info.min
        check_number("shrinkage", shrinkage, above_0, None, expected="above 0")
        kinds = [NOTHING, NOTHING]  # of the others and of the object
        for features, is_object in batches:
            cells = np.asarray(ops.convert_to_numpy(features), "float64")
            is_object = np.asarray(ops.convert_to_numpy(is_object), "bool")
            if is_object.shape != cells.shape[:-1]:
                raise ValueError(
                    "`batches` must hold features (B, h, w, C) and booleans (B, h, w). "
                    f"Received: {cells.shape} and {is_object.shape}."
                )
            parts = cells[~is_object], cells[is_object]
            kinds = [joined(*pair) for pair in zip(kinds, parts, strict=True)]
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


def foreground_of(
    features: Iterable[Any],
    layer: str | None,
    rounds: int = 2,
    shrinkage: float = 0.1,
    relu: bool = True,
) -> tuple[Foreground, int]:
    """Fits a `Foreground` to features that can be read several times.

    Also returns 0, or the number of directions if all led to the edge.
    """
    check_integer("rounds", rounds)
    directions = principal_directions(features, _GUESSES)
    guesses = [each for each in directions if each.share > _LEAST_SHARE]
    first: Foreground | None = None
    for guess in guesses:
        found = guess
        for _ in range(rounds):
            counts = np.zeros((2, 2))  # outermost, inside; of the object, all
            pairs = _with_object(features, found, counts)
            found = Foreground.from_cells(pairs, shrinkage, layer=layer, relu=relu)
        first = first or found
        if _edge_preference(counts) <= _MOST_AT_EDGE:
            return found, 0
    return first, len(guesses)


def _with_object(
    features: Iterable[Any], guess: FittedMap, counts: np.ndarray
) -> Iterator[tuple[Any, np.ndarray]]:
    """Features, and where the guess has the object; adds the cells to `counts`."""
    for each in features:
        is_object = _largest(guess.project(each)[:, 0] > 0)
        inside = is_object[:, 1:-1, 1:-1]
        counts[1] += inside.sum(), inside.size
        counts[0] += is_object.sum() - inside.sum(), is_object.size - inside.size
        yield each, is_object


def _edge_preference(counts: np.ndarray) -> float:
    """How much likelier an outermost cell is to be the object than one inside."""
    if not counts[:, 1].all():  # of maps of two rows, all cells are outermost
        return 0.0
    outermost, inside = counts[:, 0] / counts[:, 1]
    return float("inf") if inside == 0 else outermost / inside


def _largest(masks: Any) -> np.ndarray:
    """Keeps the largest connected component of each mask, boolean `(B, h, w)`."""
    labels = ops.convert_to_numpy(label_components(masks))
    kept = np.zeros(labels.shape, "bool")
    for keep, of_image in zip(kept, labels, strict=True):
        sizes = np.bincount(of_image.ravel())
        sizes[0] = 0  # around them; of equal components the first, as for boxes
        keep[:] = (of_image == sizes.argmax()) & (of_image > 0)
    return kept
