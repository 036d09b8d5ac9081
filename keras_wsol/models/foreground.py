"""Images to a discriminant between object and background, from images alone."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_wsol.boxes import label_components
from keras_wsol.cam import (
    Discriminant,
    PrincipalComponent,
    ddt,
    foreground,
    linear_discriminant,
    principal_components,
)
from keras_wsol.layers.arguments import check_integer
from keras_wsol.models.component import read_features
from keras_wsol.models.image_batches import image_batches
from keras_wsol.models.tail import split_at

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
