"""Several images and several models in one picture."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_wsol.viz.captions import TEXT_COLOR, Lettering
from keras_wsol.viz.cells import GalleryCell
from keras_wsol.viz.layout import GalleryLayout
from keras_wsol.viz.legend import draw_legend
from keras_wsol.viz.scaled import ScaledImage


def gallery(
    images: Sequence[Any],
    columns: Mapping[str, Sequence[GalleryCell]],
    true_boxes: Sequence[Any] | None = None,
    captions: Sequence[str] | None = None,
    *,
    cell_size: int = 240,
    alpha: float = 0.5,
    iou_threshold: float = 0.5,
    font: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Shows what several models see in several images: a row an image.

    The first column holds the images with their true boxes. Then comes a column
    a model: its score map over the image, the true box in red, the predicted one
    in green; below, a tick or a cross with the overlap, and the predicted class
    with its probability. Names that are too long are cut. All pictures are scaled
    to the same longer side and keep their proportions; boxes and maps are scaled
    along. At the foot is a legend, as far as it fits.

    Args:
        images: N images, each `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255],
            `uint8` or float; sizes may differ.
        columns: The name of each model and its N cells, in the order to show.
        true_boxes: N arrays `(M, 4)` of x0, y0, x1, y1 in pixels of their image,
            padded with rows of -1 or not; or `None` (the default).
        captions: N texts for below the images, such as the true classes; or
            `None` (the default).
        cell_size: Longer side of a picture in pixels, an integer from 32.
            Defaults to 240.
        alpha: Float in [0, 1]. Share of the map's colours. Defaults to 0.5.
        iou_threshold: Float in [0, 1]. Overlap from which on a box counts as
            right. Defaults to 0.5.
        font: Path of a TrueType or OpenType file. `None` (the default) takes the
            font inside Pillow, which has the letters of English only.

    Returns:
        `uint8` array `(H, W, 3)`; `save_png` writes it.

    Raises:
        ValueError: If there is no image or no column, a length differs from the
            number of images, or an image, map or box is not as above.

    Example:
    >>> bird = np.full((30, 40, 3), 128, "uint8")
    >>> cell = GalleryCell(score_map=np.eye(3), box=(5, 5, 35, 25), iou=0.8)
    >>> picture = gallery([bird], {"CAM": [cell], "ADL": [cell]}, [[[4, 4, 36, 26]]])
    >>> picture.dtype, picture.shape[2]
    (dtype('uint8'), 3)
    """
    from PIL import Image, ImageDraw

    _check_settings(cell_size, iou_threshold)
    _check_lengths(images, columns, true_boxes=true_boxes, captions=captions)
    letters = Lettering(max(10, round(cell_size / 17)), font)
    titles = Lettering(max(11, round(cell_size / 14)), font)
    boxes = [None] * len(images) if true_boxes is None else true_boxes
    rows = [
        ScaledImage.fit(image, its_boxes, cell_size)
        for image, its_boxes in zip(images, boxes, strict=True)
    ]
    layout = GalleryLayout(
        heights=[row.height for row in rows],
        columns=1 + len(columns),
        cell_size=cell_size,
        line_height=letters.line_height,
        title_height=round(1.2 * titles.line_height),
    )
    canvas = Image.new("RGB", layout.size, (255, 255, 255))
    draw = ImageDraw.Draw(canvas)

    def paste(picture: np.ndarray, center: int, top: int) -> None:
        left = center - picture.shape[1] // 2
        canvas.paste(Image.fromarray(picture), (left, top))

    for center, name in zip(layout.centers, ["image", *columns], strict=True):
        text = titles.fit(name, cell_size)
        titles.draw(draw, center, layout.margin, text, TEXT_COLOR)
    for number, (row, top) in enumerate(zip(rows, layout.tops, strict=True)):
        below = layout.caption_top(number)
        paste(row.with_true_boxes(), layout.centers[0], top)
        if captions is not None:
            text = letters.fit(captions[number], cell_size)
            letters.draw(draw, layout.centers[0], below, text, TEXT_COLOR)
        for center, cells in zip(layout.centers[1:], columns.values(), strict=True):
            cell = cells[number]
            paste(row.with_prediction(cell, alpha), center, top)
            _draw_caption(draw, letters, center, below, cell, cell_size, iou_threshold)
    draw_legend(
        canvas, layout.margin, layout.legend_top, letters, true_boxes is not None
    )
    return np.array(canvas)


def _draw_caption(
    draw: Any,
    letters: Lettering,
    center: int,
    top: int,
    cell: GalleryCell,
    width: int,
    iou_threshold: float,
) -> None:
    hit = cell.is_hit(iou_threshold)
    letters.draw_verdict(draw, center, top, cell.verdict(), hit)
    if cell.verdict():
        top += letters.line_height
    name, score = cell.label_parts()
    text = letters.fit(name, width, tail=score)
    letters.draw(draw, center, top, text, TEXT_COLOR)


def _check_settings(cell_size: int, iou_threshold: float) -> None:
    if isinstance(cell_size, bool) or not isinstance(cell_size, int) or cell_size < 32:
        raise ValueError(
            "`cell_size` must be an integer from 32. "
            f"Received: cell_size={cell_size!r}."
        )
    if not 0.0 <= iou_threshold <= 1.0:
        raise ValueError(
            "`iou_threshold` must be a number in [0, 1]. "
            f"Received: iou_threshold={iou_threshold}."
        )


def _check_lengths(
    images: Sequence[Any],
    columns: Mapping[str, Sequence[GalleryCell]],
    **others: Sequence[Any] | None,
) -> None:
    if len(images) == 0 or len(columns) == 0:
        raise ValueError(
            "A gallery needs at least one image and one column. "
            f"Received: {len(images)} images and the columns {list(columns)}."
        )
    lengths = {f"columns[{name!r}]": len(cells) for name, cells in columns.items()}
    lengths |= {f"`{k}`": len(v) for k, v in others.items() if v is not None}
    for name, length in lengths.items():
        if length != len(images):
            raise ValueError(
                f"{name} must have one entry per image, {len(images)}. "
                f"Received: {length}."
            )
