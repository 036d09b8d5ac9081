"""Images by one model or several, or cut at several thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.cam.by_class import check_classes
from keras_wsol.data import ImageDataset
from keras_wsol.models import Localizer, class_names_of
from keras_wsol.viz.figures import Cell, show


def compare_models(
    models: Mapping[str, Localizer],
    dataset: ImageDataset,
    indices: Sequence[int],
    *,
    cell_size: int = 240,
) -> Any:
    """Shows what several models see in some images: a row an image, a column a model.

    Score map, box and class are those of each model's own top class. The class name
    is the model's, else the data set's, else the class id.

    Args:
        models: Title of each column and its `Localizer`.
        dataset: An `ImageDataset`, with boxes or without.
        indices: Which of its images.
        cell_size: Integer >= 32. Longer side of a picture in pixels. Default 240.

    Returns:
        A `matplotlib.figure.Figure`, as of `show`.

    Example:
        figure = viz.compare_models({"CAM": plain, "DGDM": dgdm}, test, range(0, 99, 9))
        figure.savefig("gallery.png")
    """
    given = models.values() if isinstance(models, Mapping) else [None]
    if not all(isinstance(each, Localizer) for each in given):
        raise TypeError(
            "`models` must be a dictionary of titles and localizers, such as "
            f'{{"CAM": Localizer(model)}}. Received: models={models!r}.'
        )
    cells = []
    for index in indices:
        plain = _cell(dataset, index)
        true_name = dataset.class_names[dataset.class_ids[index]]
        cells.append(replace(plain, class_name=true_name))
        for localizer in models.values():
            class_id, found = _first(localizer, plain.image)
            name = _name(localizer, dataset, class_id)
            cells.append(replace(plain, class_name=name, **found))
    return show(cells, 1 + len(models), ["image", *models], cell_size=cell_size)


def show_found(
    localizer: Localizer,
    dataset: ImageDataset,
    index: int,
    *,
    true_class: bool = False,
    min_score: float = 0.0,
    cell_size: int = 480,
) -> Any:
    """Shows the boxes of one image, with its class, score and threshold."""
    plain = _cell(dataset, index)
    class_id = dataset.class_ids[index] if true_class else None
    class_id, found = _first(localizer, plain.image, class_id)
    if found["score"] < min_score:
        found["boxes"] = np.zeros((0, 4))
    name = _name(localizer, dataset, class_id)
    title = f"threshold {localizer.cam_threshold:.3g}"
    cell = replace(plain, class_name=name, **found)
    return show([cell], 1, [title], cell_size=cell_size)


def evenly(class_ids: np.ndarray, count: int) -> np.ndarray:
    """Chooses indices, as many of each class where it has them, spread over it."""
    groups = [np.flatnonzero(class_ids == each) for each in np.unique(class_ids)]
    groups = [groups[n] for n in _spread(len(groups), min(count, len(groups)))]
    sizes = np.array([len(group) for group in groups], int)
    numbers = np.zeros_like(sizes)
    for _ in range(min(count, sizes.sum())):
        numbers[np.where(numbers < sizes, numbers, count).argmin()] += 1
    chosen = [g[_spread(len(g), n)] for g, n in zip(groups, numbers, strict=True)]
    return np.concatenate([*chosen, np.zeros(0, int)])


def _spread(length: int, count: int) -> np.ndarray:
    """Returns `count` places of `length`, as far from one another as can be."""
    return ((np.arange(count) + 0.5) * length / max(count, 1)).astype(int)


def show_thresholds(
    localizer: Localizer,
    dataset: ImageDataset,
    indices: Sequence[int],
    thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    *,
    true_classes: bool = False,
    cell_size: int = 160,
) -> Any:
    """Shows the box of each threshold, to choose one by eye where no boxes are known.

    A row an image, a column a threshold; the localizer's own has a star. Some twenty
    images are enough: a low threshold gives boxes that run into the background, a high
    one boxes around a part.

    Args:
        localizer: A `Localizer`.
        dataset: An `ImageDataset`, with boxes or without.
        indices: Which of its images.
        thresholds: Ascending floats in [0, 1). Default 0.1 to 0.6.
        true_classes: Boolean. Whether to show the score maps of the classes in the
            data set, not those of the model's own top classes. Default `False`.
        cell_size: Integer >= 32. Longer side of a picture in pixels. Default 160.

    Returns:
        A `matplotlib.figure.Figure`, as of `show`.

    Raises:
        ValueError: Thresholds do not ascend in [0, 1), or `true_classes` are not those
            of the model.

    Example:
        birds = data.image_folder("birds")
        viz.show_thresholds(localizer, birds, range(0, 2000, 100))
    """
    if true_classes and localizer.score_map.needs_class:
        check_classes(dataset, localizer.model, localizer.num_classes)
    cells = []
    for index in indices:
        class_id = dataset.class_ids[index] if true_classes else None
        plain = _cell(dataset, index)
        scores = _first(localizer, plain.image, class_id)[1]["score_map"]
        boxes = sweep_largest_boxes(scores[None], thresholds)[:, 0]
        height, width = plain.image.shape[:2]
        boxes = boxes * np.divide((width, height) * 2, scores.shape[::-1] * 2)
        cells += [replace(plain, score_map=scores, boxes=box[None]) for box in boxes]
    own = np.float32(localizer.cam_threshold)  # which `tune` has rounded to
    titles = [f"{x:.3g}{' *' if np.float32(x) == own else ''}" for x in thresholds]
    return show(cells, len(titles), titles, cell_size=cell_size, alpha=0.4)


def _cell(dataset: ImageDataset, index: int) -> Cell:
    boxes = None if dataset.boxes is None else dataset.boxes[index]
    return Cell(image=dataset.image(index), true_boxes=boxes)


def _first(
    localizer: Localizer, image: Any, class_id: Any = None
) -> tuple[int, dict[str, Any]]:
    """Returns the class of one image, and what a `Cell` shows of it."""
    out = localizer(image[None], None if class_id is None else np.array([class_id]))
    out.pop("logits")
    out = {k: keras.ops.convert_to_numpy(v)[0, 0] for k, v in out.items()}
    found = {
        "score": float(out["scores"]),
        "boxes": out.get("component_boxes", out["boxes"][None]),
        "score_map": out["score_maps"],
    }
    return int(out["class_ids"]), found


def _name(localizer: Localizer, dataset: ImageDataset, class_id: int) -> str:
    names = class_names_of(localizer.model)
    # A split of fewer classes numbers them in another way.
    if names is None and dataset.num_classes >= localizer.num_classes:
        names = dataset.class_names
    return str(class_id) if names is None else names[class_id]
