"""Features of many images to their first principal component, and maps along it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.cam.scatter import NOTHING, joined


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
