"""DDT: a score map along the direction in which features vary most."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import length_hint
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_bool, check_integer, with_progress
from keras_wsol.cam.score_map import Evidence, ScoreMap, look
from keras_wsol.cam.split import SplitModel, split_at
from keras_wsol.data import ImageDataset

_BATCH_SIZE = 32
# Number, mean (C,) and scatter (C, C) of cells: the sum of the outer products about
# the mean.
Scatter = tuple[int, np.ndarray, np.ndarray]
NOTHING: Scatter = (0, np.zeros(1), np.zeros((1, 1)))
# Cells whose products are summed in float32, which takes half the time of float64.
_CELLS_AT_ONCE = 4096


class ChannelMap(ScoreMap):
    """Base of the maps with weights that are fitted to the channels of the features."""

    weights: Any  # (..., C)
    needs_class = False

    def check(self, split: SplitModel) -> None:
        self._check_channels(split.features.shape[-1])

    def maps(self, evidence: Evidence) -> Any:
        return self.project(evidence.features)

    def project(self, features: Any) -> Any:
        """Returns the maps `(B, 1, h, w)` of features `(B, h, w, C)`."""
        raise NotImplementedError

    def _check_channels(self, count: int) -> None:
        fitted = np.shape(self.weights)[-1]
        if count != fitted:
            raise ValueError(
                f"The score map must be fitted to the {count} channels of the "
                f"features. Received: one fitted to {fitted}."
            )


class FittedMap(ChannelMap):
    """Base of DDT and Foreground: a sum of the features, weighed by channel."""

    bias: float
    relu: bool
    root: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool("root", self.root)

    def project(self, features: Any) -> Any:
        self._check_channels(features.shape[-1])
        weights = ops.convert_to_tensor(self.weights, dtype="float32")
        maps = self._sum(read(features, self.root), weights)[:, None]
        return ops.relu(maps) if self.relu else maps


def read(features: Any, root: bool) -> Any:
    """Features in float32, or their square roots with the sign kept."""
    features = ops.cast(features, "float32")
    return ops.sign(features) * ops.sqrt(ops.abs(features)) if root else features


@keras.saving.register_keras_serializable(package="keras_wsol")
@dataclass(frozen=True, eq=False)
class DDT(FittedMap):
    """DDT's map: the features, less their mean, along their principal direction.

    `map_ij = v' (A_ij - mean)`. The object is where this is positive: at a threshold of
    0. One map an image, for every class alike. `DDT.fit` finds mean and direction;
    of one image, they give EigenCAM of pytorch-grad-cam, but for the sign.

    Args:
        mean: `C` numbers. Mean feature of all cells of all images.
        direction: `C` numbers of unit length. Where the features vary most.
        layer: String or None. Layer whose features are read. Default None, what the
            pooling of the head reads.
        relu: Boolean. Whether negative values become 0. Default True [paper].
        root: Boolean. As in `Foreground`. Default False [paper].
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
    root: bool = False
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
        return ops.matmul(features - mean, weights[:, None])[..., 0]

    @classmethod
    def fit(
        cls,
        model: keras.Model,
        images: Any,
        layer: str | None = None,
        *,
        number: int = 1,
        relu: bool = True,
        root: bool = False,
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
            root: As in the class.
            verbose: Boolean. Whether to show a progress bar. Default `"auto"`, in a
                terminal or notebook.

        Returns:
            The map, for `Localizer(model, score_map=...)`.

        Raises:
            ValueError: The features do not vary, or the batches never end.
        """
        features = Features(split_at(model, layer), images, verbose)
        return ddt_of(features, layer, number, relu, root)


def ddt_of(
    features: Iterable[Any],
    layer: str | None,
    number: int = 1,
    relu: bool = True,
    root: bool = False,
) -> DDT:
    """Fits a `DDT` to batches of features `(B, h, w, C)`."""
    check_integer("number", number)
    scatter = scatter_of(features, root)
    found = principal_directions(scatter, number, layer, relu, root)
    return found[check_integer("number", number, high=len(found)) - 1]


@dataclass(frozen=True)
class Features:
    """Batches of features, or pairs with class ids, read anew by each loop."""

    split: SplitModel
    images: Any
    verbose: bool | str
    labelled: bool = False

    def __iter__(self) -> Iterator[Any]:
        split, batches = self.split, self.images
        if isinstance(batches, ImageDataset):
            count = -(-len(batches) // _BATCH_SIZE)
            batches = batches.evaluation_batches(
                _BATCH_SIZE, image_size=split.input_size, view="whole"
            )
        else:
            check_batches(batches)
            count = length_hint(batches) or None
        found = False
        for batch in with_progress(batches, count, "batch", self.verbose):
            images, class_ids = images_and_classes(batch)
            if len(images):
                features = look(split, images).features
                yield (features, class_ids) if self.labelled else features
                found = True
        if not found:
            raise ValueError("`images` must hold images. Received none.")


def images_and_classes(batch: Any) -> tuple[Any, Any]:
    """Images and class ids, or None, of a batch in whatever form."""
    if isinstance(batch, dict):
        return batch["images"], batch.get("class_ids")
    images, class_ids, *_ = *(batch if isinstance(batch, tuple) else (batch,)), None
    return images, class_ids


def check_batches(images: Any) -> None:
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
    batches = isinstance(images, Iterable) or hasattr(images, "__getitem__")
    if isinstance(images, str | Path) or not batches:
        raise TypeError(
            "`images` must be an `ImageDataset` or batches of images. Received an "
            f"object of type {type(images).__name__}."
        )


def check_read_again(images: Any) -> None:
    """Raises for what can be read only once."""
    if isinstance(images, Iterator):
        raise TypeError(
            "`images` must be batches that can be read several times, such as a list, "
            f"or an `ImageDataset`. Received an iterator: {images!r}."
        )


def joined(before: Scatter, cells: np.ndarray) -> Scatter:
    """Adds cells `(n, C)` to the number, mean and scatter of those before."""
    # Each part about its own mean (Chan et al., 1979): the squares of far-off means
    # do not cancel, and float32 holds those of the rest.
    count, mean, scatter = before
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        part = cells[start : start + _CELLS_AT_ONCE]
        total = count + len(part)
        centre = part.mean(axis=0, dtype="float64")
        shift = centre - mean
        part = (part - centre).astype("float32")
        apart = np.outer(shift, shift) * (count * len(part) / total)
        scatter = scatter + part.T @ part + apart
        mean = mean + shift * (len(part) / total)
        count = total
    return count, mean, scatter


def cells_of(features: Any, root: bool) -> np.ndarray:
    """Features `(..., C)`, or their roots, as cells `(n, C)` of float32 or float64."""
    features = read(features, root) if root else features
    cells = np.asarray(ops.convert_to_numpy(features))
    cells = cells.astype(np.result_type(cells, "float32"), copy=False)
    return cells.reshape(-1, cells.shape[-1])


def scatter_of(batches: Iterable[Any], root: bool = False) -> Scatter:
    """Number, mean and scatter of all cells of batches of features."""
    found = NOTHING
    for batch in batches:
        found = joined(found, cells_of(batch, root))
    return found


def principal_directions(
    found: Scatter,
    count: int,
    layer: str | None = None,
    relu: bool = True,
    root: bool = False,
) -> list[DDT]:
    """At most `count` principal directions, by their share of the variance."""
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
            root=root,
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
