"""The foreground map: what speaks for the object, whatever its class."""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam import ddt
from keras_wsol.cam.ddt import DDT, FittedMap, Scatter
from keras_wsol.cam.split import split_at

# Directions that `Foreground.fit` tries: the first may be the edge of the images.
_GUESSES = 3
# How much likelier an outermost cell may be the object than one inside.
_MOST_AT_EDGE = 0.75
# Directions with a smaller share of the variance are rounding.
_LEAST_SHARE = 1e-6
# So much of the whole variance is taken to lie within object and background: less
# would drown in the rounding of the difference of two covariances.
_LEAST_WITHIN = 1e-4
# Of a cell, those around it in its own image.
_NEIGHBOURS = np.pad(np.ones((1, 3, 3), "bool"), ((1, 1), (0, 0), (0, 0)))


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class Foreground(FittedMap):
    """How much each cell speaks for the object, whatever its class.

    `map_ij = w r(A_ij) + b` [ours]: Fisher's linear discriminant between the cells of
    the object and those around it, on the roots `r` of their features. For normal `r`
    it is the logarithm of the odds; 0 is halfway. One map an image, for every class
    alike. `Foreground.fit` finds the weights without labels or boxes.

    Args:
        weights: `C` numbers.
        bias: Number.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.
        relu: Boolean. Whether negative values of the map become 0. Default True. If
            the tuned threshold is near 0, False lets it fall below halfway.
        root: Boolean. Whether the map is read from `sign(A) * sqrt(|A|)`, so that a few
            strong cells and channels do not outweigh the rest; False reads `A` itself.
            Default True [ours].
        share: Number or None. Share of the cells taken for the object; not used.
    """

    weights: tuple[float, ...] = field(repr=False)
    bias: float = field(repr=False)
    layer: str | None = None
    relu: bool = True
    root: bool = True
    share: float | None = None
    default_threshold = 0.2

    def _sum(self, features: Any, weights: Any) -> Any:
        return ops.matmul(features, weights[:, None])[..., 0] + self.bias

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
            root: As in the class.
            verbose: As in `DDT.fit`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.
        """
        check_integer("rounds", rounds)
        check_shrinkage(shrinkage)
        ddt.check_read_again(images)
        features = ddt.Features(split_at(model, layer), images, verbose)
        scatter = ddt.scatter_of(features, root)
        begun = scatter, directions_of(scatter, layer, root)
        found, tried = foreground_of(features, rounds, shrinkage, relu, begun)
        if tried:
            warn_of_edge(tried, layer)
        return found

    @classmethod
    def from_cells(
        cls,
        batches: Iterable[tuple[Any, Any]],
        shrinkage: float = 0.1,
        *,
        layer: str | None = None,
        relu: bool = True,
        root: bool = True,
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
            root: As in the class; the features are given without it.

        Returns:
            The map, its numbers rounded to float32.
        """
        check_shrinkage(shrinkage)
        kinds = [ddt.NOTHING, ddt.NOTHING]  # of the others and of the object
        for features, is_object in batches:
            is_object = np.asarray(ops.convert_to_numpy(is_object), "bool")
            if is_object.shape != tuple(features.shape[:-1]):
                raise ValueError(
                    "`batches` must hold features (B, h, w, C) and booleans (B, h, w). "
                    f"Received: {tuple(features.shape)} and {is_object.shape}."
                )
            cells, is_object = ddt.cells_of(features, root), is_object.reshape(-1)
            parts = cells[~is_object], cells[is_object]
            kinds = [ddt.joined(*pair) for pair in zip(kinds, parts, strict=True)]
        (others, mean_others, scatter), (count, mean, scatter_object) = kinds
        _check_parted(count, others)
        covariance = (scatter + scatter_object) / (others + count)
        ddt.check_varies(covariance, others + count)
        _shrink(covariance, shrinkage * np.trace(covariance))
        means = mean[None], mean_others
        (found,) = discriminants(covariance, (count, others), means)
        return cls(**found, layer=layer, relu=relu, root=root)


def directions_of(scatter: Scatter, layer: str | None, root: bool) -> list[DDT]:
    """The guesses that `foreground_of` begins with."""
    directions = ddt.principal_directions(scatter, _GUESSES, layer, root=root)
    return [each for each in directions if each.share > _LEAST_SHARE]


def foreground_of(
    features: Iterable[Any],
    rounds: int,
    shrinkage: float,
    relu: bool,
    begun: tuple[Scatter, list[DDT]],
) -> tuple[Foreground, int]:
    """Fits a `Foreground` to features that can be read several times.

    Also returns 0, or the number of directions if all led to the edge.
    """
    scatter, guesses = begun
    first: Foreground | None = None
    for guess in guesses:
        found = guess
        for _ in range(rounds):
            edges, cells = _find_object(features, found)
            covariance, (mean, others) = covariance_within(scatter, cells, shrinkage)
            counts = cells[0], scatter[0] - cells[0]
            (best,) = discriminants(covariance, counts, (mean[None], others))
            found = Foreground(**best, layer=guess.layer, relu=relu, root=guess.root)
        first = first or found
        if _edge_preference(edges) <= _MOST_AT_EDGE:
            return found, 0
    return first, len(guesses)


def warn_of_edge(tried: int, layer: str | None) -> None:
    """Says that no object was found inside the images."""
    warnings.warn(
        "No principal direction of the features led to an object inside the images "
        f"({tried} tried, layer={layer!r}): what was found lies along their edge. Look "
        "at the maps; another layer may do.",
        stacklevel=3,
    )


def _find_object(
    features: Iterable[Any], guess: FittedMap
) -> tuple[np.ndarray, tuple[int, np.ndarray]]:
    """Where a guess has the object: how many cells, the object's number and sum.

    The counts are of outermost cells and those inside; of the object, and of all.
    """
    counts, number, total = np.zeros((2, 2)), 0, np.zeros(1)
    for each in features:
        is_object = largest_components(guess.project(each)[:, 0] > 0)
        inside = is_object[:, 1:-1, 1:-1]
        counts[1] += inside.sum(), inside.size
        counts[0] += is_object.sum() - inside.sum(), is_object.size - inside.size
        cells = np.asarray(ops.convert_to_numpy(each))[is_object]
        total = total + ddt.cells_of(cells, guess.root).sum(axis=0, dtype="float64")
        number += len(cells)
    return counts, (number, total)


def covariance_within(
    scatter: Scatter, cells: tuple[int, np.ndarray], shrinkage: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Covariance within object and background, shrunk, and the means of both."""
    # From all cells, and number and sum of the object's. What is not between the means
    # is within; so products are summed once for all guesses.
    (total, mean_of_all, products), (count, summed) = scatter, cells
    others = total - count
    _check_parted(count, others)
    mean = summed / count
    mean_others = (total * mean_of_all - summed) / others
    apart = mean - mean_others
    covariance = products / total
    least = _LEAST_WITHIN * np.trace(covariance)
    covariance -= count / total * (others / total) * np.outer(apart, apart)
    _shrink(covariance, shrinkage * max(np.trace(covariance), least))
    return covariance, (mean, mean_others)


def check_shrinkage(value: float) -> None:
    """Raises unless it is a number above 0."""
    above_0 = sys.float_info.min
    check_number("shrinkage", value, above_0, None, expected="above 0")


def _check_parted(count: int, others: int) -> None:
    if not (count and others):
        raise ValueError(
            "There must be cells of the object and others. Received: "
            f"{count} and {others}."
        )


def _shrink(covariance: np.ndarray, trace: float) -> None:
    """Adds a multiple of the identity that has this trace."""
    covariance[np.diag_indices_from(covariance)] += trace / len(covariance)


def discriminants(
    covariance: np.ndarray,
    counts: tuple[int, int],
    means: tuple[np.ndarray, np.ndarray],
) -> list[dict[str, Any]]:
    """Weights, bias and share of objects of means `(K, C)` and others of one mean."""
    (count, others), (mean, mean_others) = counts, means
    weights = np.linalg.solve(covariance, (mean - mean_others).T).T
    middle = (weights * (mean + mean_others)).sum(axis=1) / 2
    biases = np.float32(np.log(count / others) - middle).tolist()
    share = float(count / (count + others))
    return [
        {"weights": tuple(each.tolist()), "bias": bias, "share": share}
        for each, bias in zip(np.float32(weights), biases, strict=True)
    ]


def _edge_preference(counts: np.ndarray) -> float:
    """How much likelier an outermost cell is to be the object than one inside."""
    if not counts[:, 1].all():  # of maps of two rows, all cells are outermost
        return 0.0
    outermost, inside = counts[:, 0] / counts[:, 1]
    return float("inf") if inside == 0 else outermost / inside


def largest_components(masks: Any) -> np.ndarray:
    """Keeps the largest connected component of each mask, boolean `(B, h, w)`."""
    from scipy import ndimage  # takes long to load

    labels, _ = ndimage.label(ops.convert_to_numpy(masks), _NEIGHBOURS)
    kept = np.zeros(labels.shape, bool)
    for numbers, largest in zip(labels, kept, strict=True):
        sizes = np.bincount(numbers[numbers > 0])
        if len(sizes):  # of equal components the first, as for boxes
            largest[:] = numbers == sizes.argmax()
    return kept
