"""Images to the principal component of their features, for DDT."""

from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Any

import keras

from keras_wsol.cam import PrincipalComponent, principal_components
from keras_wsol.data.progress_line import ProgressLine, tracked
from keras_wsol.layers.arguments import check_integer
from keras_wsol.models.image_batches import image_batches, images_of
from keras_wsol.models.input_size import resize_to_input
from keras_wsol.models.tail import split_at


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
    """Reads the features of images, batch by batch.

    Args:
        model: As in `fit_component`.
        batches: As in `fit_component`.
        layer: As in `fit_component`.
        verbose: As in `fit_component`.

    Yields:
        Features `(B, h, w, C)`.
    """
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
