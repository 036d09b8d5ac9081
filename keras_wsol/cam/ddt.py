"""DDT: a score map along the direction in which features vary most."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer
from keras_wsol.cam.image_features import feature_batches
from keras_wsol.cam.score_map import Evidence, ScoreMap, check_layer_and_relu
from keras_wsol.cam.split import SplitModel, split_at

# Number, mean (C,) and scatter (C, C) of cells: the sum of the outer products about
# the mean.
Scatter = tuple[int, np.ndarray, np.ndarray]
NOTHING: Scatter = (0, np.zeros(1), np.zeros((1, 1)))


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class DDT(ScoreMap):
    """DDT's map: the features, less their mean, along their principal direction.

    `map_ij = v' (A_ij - mean)`. The object is where this is positive: a threshold of 0
    gives DDT's own cells, but for its nearest-neighbour resize. One map an image, for
    every class alike. `DDT.fit` finds mean and direction.

    Args:
        mean: `C` numbers, the mean feature of all cells of all images.
        direction: `C` numbers of unit length, where the features vary most.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.
        relu: Boolean. Whether negative values of the map become 0. Default True
            [paper].
        share: Number or None. The direction's share of the variance; not used.

    Example:
    >>> ddt = DDT(mean=(3.0, 4.0), direction=(0.6, 0.8))
    >>> features = np.array([[[[0.0, 0.0], [6.0, 8.0]]]], "float32")
    >>> np.round(ops.convert_to_numpy(ddt.project(features))[0, 0, 0], 3).tolist()
    [0.0, 5.0]

    Reference:
        - [Wei et al., 2017](https://arxiv.org/abs/1705.02758) (DDT)
        - [Wei et al., 2019](https://arxiv.org/abs/1707.06397), its longer version
    """

    mean: tuple[float, ...] = field(repr=False)
    direction: tuple[float, ...] = field(repr=False)
    layer: str | None = None
    relu: bool = True
    share: float | None = None

    def __post_init__(self) -> None:
        check_layer_and_relu(self)
        if len(self.mean) != len(self.direction):
            raise ValueError(
                "`mean` and `direction` must have as many numbers. Received: "
                f"{len(self.mean)} and {len(self.direction)}."
            )

    def check(self, split: SplitModel) -> None:
        check_channels(split.features, self.direction)

    def maps(self, evidence: Evidence) -> Any:
        return self.project(evidence.features)

    def project(self, features: Any) -> Any:
        """Returns the maps `(B, 1, h, w)` of features `(B, h, w, C)`."""
        check_channels(features, self.direction)
        mean = ops.convert_to_tensor(self.mean, dtype="float32")
        direction = ops.convert_to_tensor(self.direction, dtype="float32")
        centred = ops.cast(features, "float32") - mean
        maps = ops.einsum("bhwc,c->bhw", centred, direction)[:, None]
        return ops.relu(maps) if self.relu else maps

    @classmethod
    def fit(
        cls,
        model: keras.Model,
        images: Any,
        layer: str | None = None,
        *,
        number: int = 1,
        relu: bool = True,
        verbose: bool | str = "auto",
    ) -> "DDT":
        """Finds mean and direction of the features of images of one kind of object.

        The images are read once and not kept. Labels are not used.

        Args:
            model: A classifier, as in `Localizer`.
            images: An `ImageDataset`; or batches: images `(B, H, W, 3)` in [0, 255]
                of any size, tuples that begin with them, or dictionaries with
                `"images"`.
            layer: As in the class.
            number: Integer in [1, C]. Which direction, by its share of the variance.
                Default 1 [paper]. The second may be the object where the first is the
                edge of the images: look at its maps.
            relu: As in the class.
            verbose: Boolean or `"auto"`. Whether to show a progress bar; `"auto"`: in
                a terminal. Default `"auto"`.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Raises:
            TypeError: `images` are no such thing.
            ValueError: The layer cannot be read, its features do not vary, `number` is
                out of range, or the batches never end.
        """
        split = split_at(model, layer)
        check_integer("number", number, high=split.features.shape[-1])
        features = feature_batches(split, images, verbose)
        return principal_directions(features, number, layer, relu)[number - 1]


def joined(before: Scatter, cells: np.ndarray) -> Scatter:
    """Adds cells `(n, C)` to the number, mean and scatter of those before."""
    # Each part about its own mean (Chan et al., 1979): the squares of far-off means
    # do not cancel.
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


def principal_directions(
    batches: Iterable[Any], count: int, layer: str | None = None, relu: bool = True
) -> list[DDT]:
    """The first principal directions of features, by their share of the variance."""
    found = NOTHING
    for batch in batches:
        cells = np.asarray(ops.convert_to_numpy(batch), "float64")
        found = joined(found, cells.reshape(-1, cells.shape[-1]))
    number, mean, scatter = found
    check_varies(scatter, number)
    values, vectors = np.linalg.eigh(scatter)
    shares = np.clip(values / np.trace(scatter), 0.0, 1.0)
    # The paper leaves the sign open. A sum that is not negative makes the map rise
    # with the channel mean: cells where the network responds are the positive ones.
    vectors = np.where(vectors.sum(axis=0) < 0, -vectors, vectors)
    return [
        DDT(
            mean=tuple(np.float32(mean).tolist()),
            direction=tuple(np.float32(vectors[:, -place]).tolist()),
            share=float(shares[-place]),
            layer=layer,
            relu=relu,
        )
        for place in range(1, count + 1)
    ]


def check_varies(scatter: np.ndarray, number: int) -> None:
    """Raises unless the features of `number` cells are finite and vary."""
    if not np.isfinite(scatter).all() or not np.trace(scatter) > 0:
        raise ValueError(
            "The images must have finite features that differ from cell to cell. "
            f"Received {number} cells with variance {np.trace(scatter)}."
        )


def check_channels(features: Any, fitted: tuple[float, ...]) -> None:
    """Raises unless a map was fitted to as many channels as the features have."""
    if features.shape[-1] != len(fitted):
        raise ValueError(
            f"The score map must be fitted to the {features.shape[-1]} channels of the "
            f"features. Received: one fitted to {len(fitted)}."
        )
