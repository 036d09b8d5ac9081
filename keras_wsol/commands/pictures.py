"""The pictures of `keras-wsol localize`."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from keras_wsol.data import ImageDataset
    from keras_wsol.models import Localizer


def write_pictures(
    localizer: "Localizer",
    images: "ImageDataset",
    folder: Path,
    *,
    known: bool,
    min_score: float,
    at_most: int,
) -> int:
    """Draws score maps and boxes over the first images that can be read."""
    import keras

    from keras_wsol import viz

    number = 0
    for index, image in islice(_readable(images), at_most):
        class_ids = images.class_ids[index : index + 1] if known else None
        found = {
            name: keras.ops.convert_to_numpy(value)[0, 0]
            for name, value in localizer(image[None], class_ids).items()
        }
        picture = viz.overlay(image, found["score_maps"])
        if found["valid"] and found["scores"] >= min_score:
            boxes = found["boxes"][None]
            picture = viz.draw_boxes(picture, boxes, viz.PREDICTED_BOX_COLOR)
        stem = Path(images.paths[index]).stem
        viz.save_png(folder / f"{index:04d}-{stem}.png", picture)
        number += 1
    return number


def _readable(images: "ImageDataset") -> "Iterator[tuple[int, np.ndarray]]":
    for index in range(len(images)):
        try:
            image = images.image(index)
        except ValueError:
            continue  # listed among what was left out
        yield index, image
