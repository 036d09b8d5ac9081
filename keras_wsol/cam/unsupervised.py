"""Score maps from features alone."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

Scatter = tuple[int, np.ndarray, np.ndarray]
NOTHING: Scatter = (0, np.zeros(1), np.zeros((1, 1)))


def joined(before: Scatter, cells: np.ndarray) -> Scatter:
    """Adds cells to the number, mean and scatter of those before.

    Each part about its own mean (Chan et al., 1979): the squares of far-off means do
    not cancel.

    Args:
        before: Number, mean `(C,)` and scatter `(C, C)`, the sum of the outer products
            about the mean; `NOTHING` at first.
        cells: float64 `(n, C)`; n may be 0.

    Returns:
        Those of all.

    Example:
    >>> count, mean, scatter = joined(NOTHING, np.array([[1.0], [3.0]]))
    >>> count, mean.tolist(), scatter.tolist()
    (2, [2.0], [[2.0]])
    """
    count, mean, scatter = before
    if not len(cells):
        return before
    total = count + len(cells)
    centre = cells.mean(axis=0)
    shift = centre - mean
    cells = cells - centre
    apart = np.outer(shift, shift) * (count * (total - count) / total)
    return (
        total,
        mean + shift * ((total - count) / total),
        scatter + cells.T @ cells + apart,
    )


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True)
class PrincipalComponent:
    """Where the features of a set of images vary most.

    Attributes:
        mean: `C` numbers, the mean feature of all cells of all images.
        vector: `C` numbers of unit length, the first principal component.
        share: Number in [0, 1], the component's share of the variance.
    """

    mean: tuple[float, ...]
    vector: tuple[float, ...]
    share: float

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` takes: lists and a number."""
        config = asdict(self)
        return {**config, "mean": list(self.mean), "vector": list(self.vector)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PrincipalComponent":
        """Makes the component of a configuration."""
        mean, vector = tuple(config["mean"]), tuple(config["vector"])
        return cls(mean=mean, vector=vector, share=config["share"])


def principal_component(batches: Iterable[Any]) -> PrincipalComponent:
    """Finds the first principal component of the cells of many feature maps.

    DDT's transform: mean and covariance over all cells of all images, and the
    covariance's first eigenvector. Batches are read once and not kept; the sums
    are in float64 and take `C * C` numbers. The paper leaves the sign open; here
    the vector's sum is not negative, which makes the component rise with the channel
    mean: cells where the network responds are the positive ones.

    Args:
        batches: Features `(B, h, w, C)` of images of one class, or of one kind of
            object. Batches may differ in `B`, `h` and `w`.

    Returns:
        The component, rounded to float32.

    Raises:
        ValueError: The features do not vary, are not finite, or there are none.

    Example:
    >>> features = np.array([[[[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]]], "float32")
    >>> component = principal_component([features])
    >>> component.mean, np.round(component.vector, 3).tolist(), component.share
    ((3.0, 4.0), [0.6, 0.8], 1.0)

    Reference:
        - [Wei et al., 2017](https://arxiv.org/abs/1705.02758) (DDT)
        - [Wei et al., 2019](https://arxiv.org/abs/1707.06397), its longer version
    """
    return principal_components(batches, 1)[0]


def principal_components(
    batches: Iterable[Any], count: int
) -> tuple[PrincipalComponent, ...]:
    """Finds the first few principal components, each as `principal_component` does.

    Of the further ones, too, the vector's sum is not negative. Where it is near 0, that
    says little about which side the object is on.

    Args:
        batches: As in `principal_component`.
        count: Integer in [1, C], how many.

    Returns:
        The components by their share of the variance, the largest first.

    Raises:
        TypeError: `count` is no integer.
        ValueError: As in `principal_component`, or `count` is out of range.

    Example:
    >>> features = np.array([[[[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 1.0]]]])
    >>> first, second = principal_components([features], 2)
    >>> first.vector, second.vector
    ((1.0, 0.0), (0.0, 1.0))
    >>> round(first.share, 2), round(second.share, 2)
    (0.9, 0.1)
    """
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(
            f"`count` must be an integer. Received: count={count!r} (of type "
            f"{type(count).__name__})."
        )
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count!r}.")
    found = NOTHING
    for batch in batches:
        cells = np.asarray(ops.convert_to_numpy(batch), "float64")
        found = joined(found, cells.reshape(-1, cells.shape[-1]))
    number, mean, scatter = found
    if not np.isfinite(scatter).all() or not np.trace(scatter) > 0:
        raise ValueError(
            "`batches` must hold finite features that differ from cell to cell. "
            f"Received {number} cells with variance {np.trace(scatter)}."
        )
    if count > len(mean):
        raise ValueError(
            f"`count` must be at most {len(mean)}, the number of channels. Received: "
            f"count={count!r}."
        )
    values, vectors = np.linalg.eigh(scatter)
    shares = np.clip(values / np.trace(scatter), 0.0, 1.0)
    vectors = np.where(vectors.sum(axis=0) < 0, -vectors, vectors)
    return tuple(
        PrincipalComponent(
            mean=tuple(np.float32(mean).tolist()),
            vector=tuple(np.float32(vectors[:, -place]).tolist()),
            share=float(shares[-place]),
        )
        for place in range(1, count + 1)
    )


def ddt(features: Any, component: PrincipalComponent, relu: bool = True) -> Any:
    """Projects features, less their mean, on the first principal component.

    `map_ij = v' (A_ij - mean)`. DDT's object is where this is positive, so `relu`
    sets the rest to 0, and a threshold of 0 through the score map gives DDT's own
    cells (but for its nearest-neighbour resize).

    Args:
        features: Float tensor `(B, h, w, C)`.
        component: The principal component of the features of many images.
        relu: Boolean. Whether negative values of the map become 0.

    Returns:
        float32 tensor `(B, 1, h, w)`: one map an image, the same for every class.

    Raises:
        ValueError: `features` have another number of channels than `component`.

    Example:
    >>> component = PrincipalComponent(mean=(3.0, 4.0), vector=(0.6, 0.8), share=1.0)
    >>> features = np.array([[[[0.0, 0.0], [6.0, 8.0]]]], "float32")
    >>> np.round(ops.convert_to_numpy(ddt(features, component))[0, 0, 0], 3).tolist()
    [0.0, 5.0]
    """
    check_channels(features, component)
    mean = ops.convert_to_tensor(component.mean, dtype="float32")
    vector = ops.convert_to_tensor(component.vector, dtype="float32")
    centred = ops.cast(features, "float32") - mean
    maps = ops.einsum("bhwc,c->bhw", centred, vector)[:, None]
    return ops.relu(maps) if relu else maps


def check_channels(features: Any, component: PrincipalComponent) -> None:
    """Raises `ValueError` unless features and component have as many channels.

    Args:
        features: Tensor `(B, h, w, C)`, symbolic or not.
        component: The component.

    Raises:
        ValueError: They have not.
    """
    if features.shape[-1] != len(component.mean):
        raise ValueError(
            f"`component` must have the {features.shape[-1]} channels of the features. "
            f"Received: a component of {len(component.mean)}."
        )


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


def eigen_cam(features: Any) -> Any:
    """Projects the features of each cell on the first singular vector of the image.

    With the features as a matrix `O` of cells by channels, `O = U S V'`, the map is
    `O v_1`, the direction in which the cells of this image are largest. It needs no
    class and no gradient. The paper does not centre `O`, and neither does this;
    pytorch-grad-cam does. The sign of a singular vector is free; here the map's sum
    is not negative, so that after a ReLU the network's response counts as positive.

    The vector comes from the smaller of the matrices `O O'` (cells by cells) and
    `O' O` (channels by channels): time grows with the cube of its side, which a layer
    of many cells *and* channels makes slow.

    Args:
        features: Float tensor `(B, h, w, C)` of which `h`, `w` and `C` are known.

    Returns:
        float32 tensor `(B, 1, h, w)`: one map an image, the same for every class. NaN
        for an image whose features are not finite.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[3.0, 4.0], [6.0, 8.0]]]], "float32")
    >>> maps = ops.convert_to_numpy(eigen_cam(features))
    >>> np.round(maps[0, 0, 0], 3).tolist()
    [5.0, 10.0]

    Reference:
        - [Muhammad and Yeasin, 2020](https://arxiv.org/abs/2008.00299)
    """
    features = ops.cast(features, "float32")
    _, height, width, channels = features.shape
    # One image with NaN would fail the decomposition of the whole batch.
    finite = ops.all(ops.isfinite(features), axis=(1, 2, 3), keepdims=True)
    cells = ops.where(finite, features, ops.zeros_like(features))
    cells = ops.reshape(cells, (-1, height * width, channels))
    across = ops.transpose(cells, (0, 2, 1))
    if channels <= height * width:
        projected = ops.matmul(cells, _first_vector(ops.matmul(across, cells)))
    else:
        # O v_1 = s_1 u_1, and s_1 is the length of O' u_1.
        first = _first_vector(ops.matmul(cells, across))
        size = ops.norm(ops.matmul(across, first), axis=1, keepdims=True)
        projected = first * size
    down = ops.sum(projected, axis=1, keepdims=True) < 0
    projected = ops.where(down, -projected, projected)
    maps = ops.reshape(projected, (-1, 1, height, width))
    return ops.where(finite, maps, ops.full_like(maps, float("nan")))


def _first_vector(symmetric: Any) -> Any:
    """The eigenvector `(B, n, 1)` of the largest eigenvalue of `(B, n, n)`."""
    _, vectors = ops.eigh(symmetric)  # eigenvalues ascend
    return vectors[:, :, -1:]
