"""The same images through several models, as one picture."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_wsol import viz
from keras_wsol.data import ImageDataset
from keras_wsol.evaluation.image_results import name_of
from keras_wsol.metrics import best_iou
from keras_wsol.models import Localizer, class_names_of


def compare_models(
    models: Mapping[str, Localizer],
    dataset: ImageDataset,
    indices: Sequence[int],
    *,
    cell_size: int = 240,
) -> np.ndarray:
    """Draws what each model sees in some images: a row an image, a column a model.

    Score map, box and class are those of the model's own top class; true boxes are
    red, predicted ones green. A predicted class has the model's own name for it; that
    of the data set if the model carries no names and the data set has at least as many
    classes; else its id.

    Args:
        models: Name of each column and its `Localizer`.
        dataset: A split, with boxes or without.
        indices: Which of its images.
        cell_size: Longer side of a picture in pixels.

    Returns:
        uint8 `(height, width, 3)`; `viz.save_png` writes it.

    Raises:
        ValueError: There is no model or no image, or an image cannot be read.

    Example:
        picture = evaluation.compare_models(
            {"CAM": plain, "DGDM": dgdm}, data.cub200(root, "test"), range(0, 1100, 45)
        )
        viz.save_png("gallery.png", picture)
    """
    images = [dataset.image(index) for index in indices]
    true_boxes = None
    if dataset.boxes is not None:
        true_boxes = [dataset.boxes[index] for index in indices]
    columns = {
        name: [
            _cell(
                localizer,
                image,
                _class_names(localizer, dataset),
                None if true_boxes is None else true_boxes[row],
            )
            for row, image in enumerate(images)
        ]
        for name, localizer in models.items()
    }
    captions = [dataset.class_names[dataset.class_ids[index]] for index in indices]
    return viz.gallery(images, columns, true_boxes, captions, cell_size=cell_size)


def _class_names(localizer: Localizer, dataset: ImageDataset) -> tuple[str, ...]:
    """Names of the classes that a model predicts; none where they are not known."""
    names = class_names_of(localizer.model)
    if names is not None:
        return tuple(names)
    # A split of fewer classes numbers them in another way.
    enough = dataset.num_classes >= localizer.head.num_classes
    return tuple(dataset.class_names) if enough else ()


def _cell(
    localizer: Localizer,
    image: np.ndarray,
    class_names: tuple[str, ...],
    true_boxes: np.ndarray | None,
) -> viz.GalleryCell:
    found = {
        name: keras.ops.convert_to_numpy(value)
        for name, value in localizer(image[None]).items()
    }
    box = found["boxes"][0, 0]
    overlap = None
    if true_boxes is not None:
        overlap = float(best_iou(box[None], true_boxes[None])[0])
    return viz.GalleryCell(
        score_map=found["score_maps"][0, 0],
        box=box,
        iou=overlap,
        class_name=name_of(found["class_ids"][0, 0], class_names),
        score=float(found["scores"][0, 0]),
    )
