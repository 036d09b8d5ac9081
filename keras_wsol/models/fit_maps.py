"""Score maps that are fitted to images."""

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.arguments import check_integer
from keras_wsol.boxes import label_components
from keras_wsol.cam import (
    Discriminant,
    PrincipalComponent,
    ddt,
    foreground,
    linear_discriminant,
    principal_components,
)
from keras_wsol.cam.split import split_at
from keras_wsol.data import ImageDataset
from keras_wsol.data.progress_line import ProgressLine, tracked
from keras_wsol.models.localizer import resize_to_input

BATCH_SIZE = 32


def image_batches(source: Any, image_size: tuple[int, int]) -> Iterable[Any]:
    """Returns batches that can be read as often as their source can."""
    if isinstance(source, ImageDataset):
        return _DatasetBatches(source, image_size)
    if _never_ends(source):
        raise ValueError(
            "`batches` must end. Received one that repeats, such as batches for "
            f"training (of type {type(source).__name__}): pass the `ImageDataset` "
            "itself."
        )
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        raise TypeError(
            "`batches` must be an `ImageDataset` or batches of images. Received an "
            f"object of type {type(source).__name__}."
        )
    return source


def images_of(batch: Any) -> Any:
    """Returns the images of a batch, without those that could not be read."""
    if isinstance(batch, dict):
        images, class_ids = batch["images"], batch.get("class_ids")
    elif isinstance(batch, tuple):
        images, class_ids = batch[0], batch[1] if len(batch) > 1 else None
    else:
        images, class_ids = batch, None
    images = ops.convert_to_tensor(images)
    if not hasattr(class_ids, "shape"):  # boxes, names, or nothing
        return images
    ids = ops.convert_to_numpy(class_ids)
    if ids.shape != (len(images),) or ids.dtype.kind not in "iu" or -1 not in ids:
        return images
    return ops.convert_to_tensor(ops.convert_to_numpy(images)[ids != -1])


def _never_ends(source: Any) -> bool:
    if isinstance(source, keras.utils.PyDataset):
        return source.num_batches is None
    cardinality = getattr(source, "cardinality", None)  # of a `tf.data.Dataset`
    return callable(cardinality) and int(cardinality()) == -1


class _DatasetBatches:
    """The images of a data set, read anew each time."""

    def __init__(self, dataset: ImageDataset, image_size: tuple[int, int]) -> None:
        self._dataset = dataset
        self._options = {"image_size": image_size, "unreadable": "skip"}
        self._batches: Any = None
        if importlib.util.find_spec("tensorflow") is not None:
            # Made once: its graph takes seconds.
            self._batches = dataset.batches(BATCH_SIZE, **self._options)

    def __iter__(self) -> Iterator[Any]:
        if self._batches is None:
            yield from self._dataset.numpy_batches(BATCH_SIZE, **self._options)
            return
        for images, class_ids in self._batches:
            yield np.asarray(images), np.asarray(class_ids)

    def __len__(self) -> int:
        return -(-len(self._dataset) // BATCH_SIZE)


def fit_component(
    model: keras.Model,
    batches: Iterable[Any],
    layer: str | None = None,
    *,
    number: int = 1,
    verbose: bool | str = "auto",
) -> PrincipalComponent:
    """Fits DDT's principal component to the features of images.

    The images are read once, and neither they nor their features are kept. DDT takes
    images of one kind of object, such as all birds: its component is what they have
    in common. Labels are not used.

    Args:
        model: A classifier, as in `Localizer`.
        batches: An `ImageDataset`, whose unreadable files are left out. Or images
            `(B, H, W, 3)` in [0, 255] of any size, or tuples that begin with them, or
            dictionaries with `"images"`, such as its batches; an image whose class id
            is -1 is left out.
        layer: Name of the layer whose features are read, as in `Localizer`.
        number: Integer in [1, C], which component. Default 1 [paper]. Of a network
            whose first component is the edge of the images, the second may be the
            object [ours: train-fullsup of CUB-40, `conv_pw_12` of a MobileNetV1 0.75
            trained at a rate of 0.01, at 256 px, GT-known Loc 0.0 with the first and
            78.5 with the second]. Look at its maps: which of its sides is positive is
            less sure than of the first.
        verbose: Whether to say on standard error how far the work is and how long the
            rest will take; `"auto"`: in a terminal or notebook.

    Returns:
        The component, for `Localizer(model, score_map="ddt", layer=layer,
        map_options={"component": component})`.

    Raises:
        TypeError: `batches` is no such thing.
        ValueError: The layer cannot be read, its features do not vary, `number` is out
            of range, or the batches never end.

    Example:
    >>> images = keras.Input((2, 3, 2))
    >>> x = keras.layers.Identity(name="pixels")(images)
    >>> x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    >>> row = [[0, 0], [3, 4], [6, 8]]
    >>> component = fit_component(keras.Model(images, x), [[[row, row]]])
    >>> component.mean
    (3.0, 4.0)
    """
    channels = split_at(model, layer).network.output[0].shape[-1]
    check_integer("number", number, high=channels)
    seen = read_features(model, batches, layer, verbose)
    return principal_components(seen, number)[number - 1]


def read_features(
    model: keras.Model, batches: Iterable[Any], layer: str | None, verbose: bool | str
) -> Iterator[Any]:
    """Reads the features of images, batch by batch."""
    network = split_at(model, layer).network
    size = tuple(model.input_shape[1:3])
    batches = image_batches(batches, size)
    line = ProgressLine("Reading features", verbose, unit="batches")
    # 0 where the number of batches is not known.
    count = 0
    for batch in tracked(batches, line, length_hint(batches) or None):
        images = images_of(batch)
        count += len(images)
        if len(images):
            yield network(resize_to_input(images, size), training=False)[0]
    if not count:
        raise ValueError(
            "`batches` must hold images that can be read. Received none: there are "
            "none, or the class id of each is -1."
        )


# Of MobileNetV1 trained at twice the usual rate, the first component is the upper edge
# of the images and the second the birds.
_GUESSES = 3
# How much likelier an outermost cell may be the object than one inside. On
# train-fullsup of CUB-40, six trained networks: 1.01 to 1.75 where the component was
# the edge, at most 0.27 where it was the birds.
_MOST_AT_EDGE = 0.75
# Components below it are rounding.
_LEAST_SHARE = 1e-6


def fit_foreground(
    model: keras.Model,
    batches: Iterable[Any],
    layer: str | None = None,
    *,
    rounds: int = 2,
    shrinkage: float = 0.1,
    verbose: bool | str = "auto",
) -> Discriminant:
    """Fits the foreground map to the features of images, without labels or boxes.

    DDT's map is the first guess: in each image, the largest component of its
    positive cells is taken for the object and all else for the background. Fisher's
    linear discriminant between the two makes the next guess, `rounds` times. As DDT,
    it takes images of one kind of object, such as all birds, and the object must be
    what the images have in common. On CUB-40's test split, three MobileNetV1 0.75, the
    map of the last layer but one had 84.0 GT-known Loc, DDT's 80.8 and the class
    activation map 52.7 (`examples/results/README.md`).

    The first component is not always the object: in some trained networks it is what
    lies along the edge of the images, such as the sky. Where the cells that the last
    round took for the object are more than 0.75 times as large a part of the outermost
    cells as of those inside, all is done again from the second component, then from the
    third [ours: train-fullsup of CUB-40, `conv_pw_12` of a MobileNetV1 0.75 trained at
    a rate of 0.01, at 256 px, GT-known Loc 4.0 from the first component, 84.5 from the
    second]. Images that the object fills from edge to edge are not what it is for.

    The images are read `1 + rounds` times, `rounds` times more for each further guess,
    and neither they nor their features are kept. A threshold of 0.2 to 0.4 on the map
    fits, so the localizer's default does.

    Args:
        model: A classifier, as in `Localizer`.
        batches: As in `fit_component`, but no iterator: they are read several times.
        layer: Name of the layer whose features are read, as in `Localizer`.
        rounds: Integer of at least 1. Default 2 [ours: on train-fullsup of CUB-40, one
            trained MobileNetV1, 1 to 4 rounds had 81.5, 83.0, 82.0, 81.5 GT-known Loc
            and DDT 76.5].
        shrinkage: As in `cam.linear_discriminant`.
        verbose: As in `fit_component`.

    Returns:
        The discriminant, for `Localizer(model, score_map="foreground", layer=layer,
        map_options={"discriminant": discriminant})`.

    Warns:
        UserWarning: From each of these components, what was found lies along the edge
            of the images. The discriminant is that of the first; look at its maps.

    Raises:
        TypeError: `batches` can be read once only, or is no such thing.
        ValueError: The layer cannot be read, its features do not vary, or an argument
            is out of range.

    Example:
    >>> images = keras.Input((2, 3, 2))
    >>> x = keras.layers.Identity(name="pixels")(images)
    >>> x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    >>> dark, light, lighter = [0, 0], [3, 4], [6, 8]
    >>> image = [[dark, dark, dark], [dark, light, lighter]]
    >>> found = fit_foreground(keras.Model(images, x), [[image]], "pixels")
    >>> round(found.share, 2)  # two of six
    0.33
    """
    check_integer("rounds", rounds)
    # Says what is wrong with a model that has no size, too.
    channels = split_at(model, layer).network.output[0].shape[-1]
    batches = image_batches(batches, tuple(model.input_shape[1:3]))
    if iter(batches) is batches:
        raise TypeError(
            "`batches` must be a collection of batches that can be read several "
            "times, such as a list, or an `ImageDataset`. Received an "
            f"iterator: {batches!r}."
        )

    def features() -> Iterator[Any]:
        return read_features(model, batches, layer, verbose)

    components = [
        component
        for component in principal_components(features(), min(_GUESSES, channels))
        if component.share > _LEAST_SHARE
    ]
    first: Discriminant | None = None
    for component in components:
        found, preference = _refined(features, component, rounds, shrinkage)
        if preference <= _MOST_AT_EDGE:
            return found
        first = first or found
    warnings.warn(
        "No principal component of the features led to an object inside the images "
        f"({len(components)} tried, layer={layer!r}): what was found lies along their "
        "edge. Look at the maps; another layer may do.",
        stacklevel=2,
    )
    return first


def _refined(
    features: Callable[[], Iterator[Any]],
    component: PrincipalComponent,
    rounds: int,
    shrinkage: float,
) -> tuple[Discriminant, float]:
    """The discriminant, and how its object's cells prefer the edge of the images."""
    found: Discriminant | None = None
    for _ in range(rounds):
        edge = _EdgePreference()
        pairs = (
            (each, edge.seen(_largest(_positive(each, component, found))))
            for each in features()
        )
        found = linear_discriminant(pairs, shrinkage)
    return found, edge.result()


def _positive(features: Any, component: Any, found: Discriminant | None) -> Any:
    if found is None:
        return ddt(features, component)[:, 0] > 0
    return foreground(features, found)[:, 0] > 0


class _EdgePreference:
    """How much likelier an outermost cell is to be the object than one inside."""

    def __init__(self) -> None:
        self._object = np.zeros(2)  # outermost, inside
        self._cells = np.zeros(2)

    def seen(self, masks: np.ndarray) -> np.ndarray:
        inside = masks[:, 1:-1, 1:-1]
        for counts, all_of, part in (
            (self._object, masks.sum(), inside.sum()),
            (self._cells, masks.size, inside.size),
        ):
            counts += all_of - part, part
        return masks

    def result(self) -> float:
        if not self._cells.all():  # of maps of two rows, all cells are outermost
            return 0.0
        outermost, inside = self._object / self._cells
        return float("inf") if inside == 0 else outermost / inside


def _largest(masks: Any) -> np.ndarray:
    """Keeps the largest component of each mask, boolean `(B, h, w)`."""
    labels = ops.convert_to_numpy(label_components(masks))
    flat = labels.reshape(len(labels), -1)
    cells = flat.shape[1] + 1
    sizes = np.zeros((len(flat), cells), "int64")
    np.add.at(sizes, (np.arange(len(flat))[:, None], flat), 1)
    sizes[:, 0] = 0
    best = sizes.argmax(axis=1)  # of equal ones the first, as for boxes
    return (labels == best[:, None, None]) & (labels > 0)
