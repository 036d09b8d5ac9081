"""Features and a first guess of the object's cells to a line between the two."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.cam.scatter import NOTHING, joined


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class Discriminant:
    """Which features speak for the object, and which for what is around it.

    Attributes:
        weights: `C` numbers.
        bias: Number; `weights . feature + bias` is 0 halfway, positive for the object.
        share: Number in [0, 1], the share of cells that were taken for the object.
    """

    weights: tuple[float, ...]
    bias: float
    share: float

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` takes: a list and numbers."""
        config = asdict(self)
        return {**config, "weights": list(self.weights)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Discriminant":
        """Makes the discriminant of a configuration."""
        return cls(**{**config, "weights": tuple(config["weights"])})


def linear_discriminant(
    batches: Iterable[tuple[Any, Any]], shrinkage: float = 0.1
) -> Discriminant:
    """Parts the cells of the object from the others by Fisher's linear discriminant.

    With the means `m1` of the object's cells and `m0` of the others, their common
    covariance `S` and the shares `p1`, `p0`: weights `w = S^-1 (m1 - m0)`, bias
    `-w (m1 + m0) / 2 + log(p1 / p0)`. For normal features it is the logarithm of the
    odds that a cell is the object's. `S` gets `shrinkage` times its mean variance on
    the diagonal, so that channels that are nearly the same do no harm.

    Batches are read once and not kept; the sums are in float64 and take `C * C`
    numbers.

    Args:
        batches: Pairs of features `(B, h, w, C)` and a boolean `(B, h, w)` that is
            true where the object is taken to be. Batches may differ in `B`, `h`, `w`.
        shrinkage: Number above 0.

    Returns:
        The discriminant, rounded to float32.

    Raises:
        ValueError: All cells are of one kind, the features do not vary or are not
            finite, the shapes do not fit, or `shrinkage` is not above 0.

    Example:
    >>> features = np.array([[[[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 1.0]]]])
    >>> is_object = np.array([[[False, False, True, True]]])
    >>> found = linear_discriminant([(features, is_object)], shrinkage=1.0)
    >>> np.round(found.weights, 3).tolist(), round(found.bias, 3), found.share
    ([2.667, 0.0], -8.0, 0.5)
    """
    if not shrinkage > 0:
        raise ValueError(f"`shrinkage` must be above 0. Received: {shrinkage!r}.")
    # Of the others and of the object: number of cells, mean, squares about the mean.
    kinds = [NOTHING, NOTHING]
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
    if not (np.isfinite(covariance).all() and variance > 0):
        raise ValueError(
            "`batches` must hold finite features that differ from cell to cell. "
            f"Received {total} cells with a mean variance of {variance}."
        )
    covariance += shrinkage * variance * np.eye(len(covariance))
    weights = np.linalg.solve(covariance, mean - mean_others)
    bias = np.log(count / others) - weights @ (mean + mean_others) / 2
    return Discriminant(
        weights=tuple(np.float32(weights).tolist()),
        bias=float(np.float32(bias)),
        share=count / total,
    )


def foreground(features: Any, discriminant: Discriminant, relu: bool = True) -> Any:
    """Reads how much each cell speaks for the object, whatever its class.

    `map_ij = w A_ij + b`, the logarithm of the odds if features were normal; 0 is
    halfway between the object and what is around it.

    Args:
        features: Float tensor `(B, h, w, C)`.
        discriminant: Of the features of many images.
        relu: Boolean. Whether negative values of the map become 0. If the tuned
            threshold is near 0, `False` lets it fall below halfway.

    Returns:
        float32 tensor `(B, 1, h, w)`: one map an image, the same for every class.

    Raises:
        ValueError: `features` have another number of channels than `discriminant`.

    Example:
    >>> discriminant = Discriminant(weights=(1.0, -1.0), bias=0.5, share=0.5)
    >>> features = np.array([[[[2.0, 0.0], [0.0, 2.0]]]], "float32")
    >>> ops.convert_to_numpy(foreground(features, discriminant))[0, 0, 0].tolist()
    [2.5, 0.0]
    """
    check_weights(features, discriminant)
    weights = ops.convert_to_tensor(discriminant.weights, dtype="float32")
    maps = ops.einsum("bhwc,c->bhw", ops.cast(features, "float32"), weights)
    maps = (maps + discriminant.bias)[:, None]
    return ops.relu(maps) if relu else maps


def check_weights(features: Any, discriminant: Discriminant) -> None:
    """Raises `ValueError` unless features and discriminant have as many channels.

    Args:
        features: Tensor `(B, h, w, C)`, symbolic or not.
        discriminant: The discriminant.

    Raises:
        ValueError: They have not.
    """
    if features.shape[-1] != len(discriminant.weights):
        raise ValueError(
            f"`discriminant` must have the {features.shape[-1]} channels of the "
            f"features. Received: a discriminant of {len(discriminant.weights)}."
        )
