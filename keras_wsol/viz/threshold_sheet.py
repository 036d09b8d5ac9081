"""The boxes of several thresholds, side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_wsol.viz.cells import GalleryCell
from keras_wsol.viz.colors import check_score_map
from keras_wsol.viz.galleries import gallery
from keras_wsol.viz.pixels import to_rgb

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def threshold_sheet(
    images: Sequence[Any],
    score_maps: Sequence[Any],
    thresholds: Sequence[float] = THRESHOLDS,
    true_boxes: Sequence[Any] | None = None,
    captions: Sequence[str] | None = None,
    *,
    cell_size: int = 160,
    alpha: float = 0.4,
) -> np.ndarray:
    """Shows the box that each threshold gives: a row an image, a column a threshold.

    A contact sheet to choose a threshold by eye. The box is that of the largest
    component of the score map, as in `models.Localizer`.

    Args:
        images: N images, as in `gallery`.
        score_maps: N arrays `(h, w)` in [0, 1] of any size, each over the whole of
            its image.
        thresholds: Ascending floats in [0, 1). Defaults to 0.1 to 0.6.
        true_boxes: As in `gallery`.
        captions: As in `gallery`.
        cell_size: Longer side of a picture in pixels, an integer from 32. Defaults
            to 160.
        alpha: Float in [0, 1]. Share of the map's colours. Defaults to 0.4.

    Returns:
        `uint8` array `(H, W, 3)`; `save_png` writes it.

    Raises:
        ValueError: If there are not as many maps as images, thresholds do not
            ascend in [0, 1), or as `gallery` does.

    Example:
    >>> bird = np.full((30, 40, 3), 128, "uint8")
    >>> score_map = np.array([[0.1, 0.9, 0.3], [0.2, 0.6, 0.3]])
    >>> threshold_sheet([bird], [score_map], thresholds=(0.25, 0.5)).dtype
    dtype('uint8')
    """
    if len(score_maps) != len(images):
        raise ValueError(
            "`score_maps` must have one entry per image, "
            f"{len(images)}. Received: {len(score_maps)}."
        )
    rows = [
        _cells(image, score_map, thresholds)
        for image, score_map in zip(images, score_maps, strict=True)
    ]
    columns = {
        f"{threshold:g}": [row[number] for row in rows]
        for number, threshold in enumerate(thresholds)
    }
    return gallery(
        images, columns, true_boxes, captions, cell_size=cell_size, alpha=alpha
    )


def _cells(
    image: Any, score_map: Any, thresholds: Sequence[float]
) -> list[GalleryCell]:
    from keras_wsol.boxes import sweep_largest_boxes  # loads Keras

    scores = check_score_map(score_map)
    boxes = sweep_largest_boxes(scores[None], thresholds)[:, 0]
    height, width = to_rgb(image).shape[:2]
    scale = np.array([width / scores.shape[1], height / scores.shape[0]] * 2)
    return [GalleryCell(score_map=scores, box=box * scale) for box in boxes]
