"""DDT: a score map along the direction in which features vary most."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer, shows_progress
from keras_wsol.cam.score_map import Evidence, ScoreMap, look
from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.data import ImageDataset

_BATCH_SIZE = 32
# Number, mean (C,) and scatter (C, C) of cells: the sum of the outer products about
# the mean.
Scatter = tuple[int, np.ndarray, np.ndarray]
NOTHING: Scatter = (0, np.zeros(1), np.zeros((1, 1)))


class FittedMap(ScoreMap):
    """Base of the maps that are fitted: a sum of the features, weighed by channel."""

    weights: tuple[float, ...]
    bias: float
    relu: bool
    needs_class = False

    def check(self, split: SplitModel) -> None:
        self._check_channels(split.features.shape[-1])

    def maps(self, evidence: Evidence) -> Any:
        return self.project(evidence.features)

    def project(self, features: Any) -> Any:
        """Returns the maps `(B, 1, h, w)` of features `(B, h, w, C)`."""
        self._check_channels(features.shape[-1])
        weights = ops.convert_to_tensor(self.weights, dtype="float32")
        maps = self._sum(ops.cast(features, "float32"), weights)[:, None]
        return ops.relu(maps) if self.relu else maps

    def _check_channels(self, count: int) -> None:
        if count != len(self.weights):
            raise ValueError(
                f"The score map must be fitted to the {count} channels of the "
                f"features. Received: one fitted to {len(self.weights)}."
            )


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class DDT(FittedMap):
    """DDT's map: the features, less their mean, along their principal direction.

    `map_ij = v' (A_ij - mean)`. The object is where this is positive: at a threshold of
    0. One map an image, for every class alike. `DDT.fit` finds mean and direction.

    Args:
        mean: `C` numbers. Mean feature of all cells of all images.
        direction: `C` numbers of unit length. Where the features vary most.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.
        relu: Boolean. Whether negative values become 0. Default True [paper].
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
    default_threshold = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != len(self.direction):
            raise ValueError(
                "`mean` and `direction` must have as many numbers. Received: "
                f"{len(self.mean)} and {len(self.direction)}."
            )

    @property
    def weights(self) -> tuple[float, ...]:
        return self.direction

    @property
    def bias(self) -> float:
        return -float(np.dot(self.direction, self.mean))

    def _sum(self, features: Any, weights: Any) -> Any:
        mean = ops.convert_to_tensor(self.mean, dtype="float32")
        return ops.einsum("bhwc,c->bhw", features - mean, weights)

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

        The images are read once. Labels are not used.

        Args:
            model: A classifier, as in `Localizer`.
            images: An `ImageDataset`; or batches: images `(B, H, W, 3)` in [0, 255],
                tuples that begin with them, or dictionaries with `"images"`.
            layer: As in the class.
            number: Integer in [1, C]. Which direction, by its share of the variance;
                where the first is the edge of the images, the second may be the
                object. Default 1 [paper].
            relu: As in the class.
            verbose: Boolean. Whether to show a progress bar. Default `"auto"`, in a
                terminal or notebook.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Raises:
            ValueError: The features do not vary, or the batches never end.
        """
        features = Features(split_at(model, layer), images, verbose)
        return ddt_of(features, layer, number, relu)


def ddt_of(
    features: Iterable[Any], layer: str | None, number: int = 1, relu: bool = True
) -> DDT:
    """Fits a `DDT` to batches of features `(B, h, w, C)`."""
    check_integer("number", number)
    found = principal_directions(features, number, layer, relu)
    return found[check_integer("number", number, high=len(found)) - 1]


@dataclass(frozen=True)
class Features:
    """Batches of the features of images, read anew by each loop over them."""

    split: SplitModel
    images: Any
    verbose: bool | str

    def __iter__(self) -> Iterator[Any]:
        found = labelled_features(self.split, self.images, self.verbose)
        return (features for features, _ in found)


def labelled_features(
    split: SplitModel, images: Any, verbose: bool | str
) -> Iterator[tuple[Any, Any]]:
    """Reads features, and class ids if there are any, of a data set or of batches."""
    if isinstance(images, ImageDataset):
        count = -(-len(images) // _BATCH_SIZE)
        batches = images.evaluation_batches(
            _BATCH_SIZE, image_size=split.input_size, view="whole"
        )
    else:
        _check_batches(images)
        batches, count = images, length_hint(images) or None
    shown = shows_progress(verbose)
    bar = keras.utils.Progbar(count, verbose=shown, unit_name="batch")
    number = 0
    for batch in batches:
        class_ids = None
        if isinstance(batch, dict):
            batch, class_ids = batch["images"], batch.get("class_ids")
        elif isinstance(batch, tuple):
            batch, class_ids = batch[0], batch[1] if len(batch) > 1 else None
        if len(batch):
            yield look(split, batch).features, class_ids
            number += 1
            bar.update(number)
    if not number:
        raise ValueError("`images` must hold images. Received none.")
    if number != count:
        bar.update(number, finalize=True)


def _check_batches(images: Any) -> None:
    """Raises for what is no batches, or never ends."""
    cardinality = getattr(images, "cardinality", None)  # of a `tf.data.Dataset`
    endless = callable(cardinality) and int(cardinality()) == -1
    if isinstance(images, keras.utils.PyDataset):
        endless = images.num_batches is None
    if endless:
        raise ValueError(
            "`images` must end. Received batches that repeat, such as those for "
            f"training (of type {type(images).__name__}): pass the `ImageDataset`."
        )
    if not isinstance(images, Iterable) and not hasattr(images, "__getitem__"):
        raise TypeError(
            "`images` must be an `ImageDataset` or batches of images. Received an "
            f"object of type {type(images).__name__}."
        )


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
    mean = mean + shift * ((total - count) / total)
    return total, mean, scatter + cells.T @ cells + apart


def principal_directions(
    batches: Iterable[Any], count: int, layer: str | None = None, relu: bool = True
) -> list[DDT]:
    """At most `count` principal directions, by their share of the variance."""
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
        for place in range(1, min(count, len(mean)) + 1)
    ]


def check_varies(scatter: np.ndarray, number: int) -> None:
    """Raises unless the features of `number` cells are finite and vary."""
    if not np.isfinite(scatter).all() or not np.trace(scatter) > 0:
        raise ValueError(
            "The images must have finite features that differ from cell to cell. "
            f"Received {number} cells with variance {np.trace(scatter)}."
        )
