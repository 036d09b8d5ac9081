"""The boxes of several thresholds, to choose one by eye."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_wsol import viz
from keras_wsol.arguments import check_choice
from keras_wsol.data import ImageDataset
from keras_wsol.models import Localizer
from keras_wsol.viz.threshold_sheet import THRESHOLDS


def compare_thresholds(
    model: keras.Model,
    dataset: ImageDataset,
    indices: Sequence[int],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    class_ids: str = "predicted",
    cell_size: int = 160,
) -> np.ndarray:
    """Draws the box of each threshold: a row an image, a column a threshold.

    Where nobody has drawn a box, looking at some twenty images chooses a threshold
    well enough: one below the best gives boxes that run into the background, one
    above it boxes around a part of the object.

    True boxes, where the data set has them, are red.

    Args:
        model: A `Localizer`, or a classifier that one can be made of. Its own
            threshold is not used.
        dataset: The images.
        indices: Which of them. What cannot be read is left out.
        thresholds: Ascending floats in [0, 1).
        class_ids: Whose boxes and score maps: `"predicted"`, those of the model's own
            top class, or `"known"`, those of the class in the data set.
        cell_size: Longer side of a picture in pixels.

    Returns:
        uint8 `(height, width, 3)`; `viz.save_png` writes it.

    Raises:
        ValueError: There is no image that can be read, thresholds do not ascend in
            [0, 1), or `class_ids` is unknown.

    Example:
        birds = data.image_folder("birds")
        sheet = evaluation.compare_thresholds(model, birds, range(0, 2000, 100))
        viz.save_png("thresholds.png", sheet)
    """
    check_choice("class_ids", class_ids, ("predicted", "known"))
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    images, score_maps, boxes = [], [], []
    for index in indices:
        try:
            image = dataset.image(index)
        except ValueError:
            continue
        known = dataset.class_ids[index : index + 1] if class_ids == "known" else None
        found = localizer.find_maps(image[None], known, second_look=known is None)
        images.append(image)
        score_maps.append(keras.ops.convert_to_numpy(found["score_maps"])[0, 0])
        if dataset.boxes is not None:
            boxes.append(dataset.boxes[index])
    return viz.threshold_sheet(
        images, score_maps, thresholds, boxes or None, cell_size=cell_size
    )
