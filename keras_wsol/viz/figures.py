"""Pictures as arrays, and figures of many with their boxes and what came of them."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.boxes.iou import pairwise_iou

TRUE_BOX_COLOR = (255, 0, 0)
PREDICTED_BOX_COLOR = (0, 255, 0)


def overlay(
    image: Any,
    score_map: Any = None,
    boxes: Any = None,
    true_boxes: Any = None,
    *,
    alpha: float = 0.5,
) -> np.ndarray:
    """Lays the colours of a score map and the frames of boxes over an image.

    The colours are those of Turbo, a rainbow without the false edges of "jet": dark
    blue for 0, green for a half, dark red for 1 (Mikhailov, 2019).

    True boxes are red; predicted ones are green and lie on top. A frame lies on the
    outermost pixels inside its box, is a hundredth of the image's shorter side thick,
    and has a dark line on both sides. Boxes are clipped to the image.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255], `uint8` or
            float. It is not changed.
        score_map: Array `(h, w)` in [0, 1] of any size, over the whole image, to which
            it is resized (bilinear, half-pixel centres, antialiased where it shrinks).
            Default `None`: the image alone.
        boxes: Predicted boxes `(M, 4)`, x0, y0, x1, y1 in pixels of `image`. Rows
            without an area (padding with -1, the zeros of an empty map) are skipped.
            Default `None`.
        true_boxes: True boxes, in the same form. Default `None`.
        alpha: Float in [0, 1]. Share of the map's colours. Default 0.5.

    Returns:
        `uint8` array `(H, W, 3)`.

    Raises:
        TypeError, ValueError: An argument is not as above.

    Example:
    >>> overlay([[100.0, 200.0]], [[0.0, 1.0]], alpha=0.5).tolist()
    [[[74, 59, 80], [161, 102, 101]]]
    """
    import matplotlib

    check_number("alpha", alpha)
    picture = to_rgb(image)
    if score_map is not None:
        scores = resize_map(score_map, *picture.shape[:2])
        colors = matplotlib.colormaps["turbo"](scores, bytes=True)[..., :3]
        mixed = (1.0 - alpha) * picture.astype(np.float64) + alpha * colors
        picture = np.rint(mixed).astype(np.uint8)
    for rows, color in ((true_boxes, TRUE_BOX_COLOR), (boxes, PREDICTED_BOX_COLOR)):
        if rows is not None:
            picture = _framed(picture, boxes_with_area(rows), color)
    return picture


def to_rgb(image: Any) -> np.ndarray:
    """Returns an image as a new `uint8` array `(H, W, 3)`."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        hint = " For the first image of a batch, use image[0]." * (pixels.ndim == 4)
        raise ValueError(
            "`image` must have shape (H, W, 3), (H, W, 1) or (H, W). "
            f"Received: image.shape={np.shape(image)}.{hint}"
        )
    if not np.isfinite(pixels).all():
        raise ValueError("`image` must hold finite numbers in [0, 255].")
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels.copy()


def resize_map(score_map: Any, height: int, width: int) -> np.ndarray:
    """Resizes a score map, bilinear, half-pixel centres, antialiased if it shrinks."""
    from PIL import Image

    scores = np.asarray(score_map, dtype=np.float32)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            "`score_map` must have shape (h, w) and at least one cell. "
            f"Received: score_map.shape={scores.shape}."
        )
    low, high = float(scores.min()), float(scores.max())
    # Written so that a NaN fails as well; 0.001 is taken for rounding.
    if not (low >= -1e-3 and high <= 1.0 + 1e-3):
        raise ValueError(
            "`score_map` must be in [0, 1]. Received values from "
            f"{low:g} to {high:g}. Divide by the range of the map first."
        )
    # Pillow keeps float32 in this mode, so nothing is rounded to 256 levels.
    image = Image.fromarray(np.clip(scores, 0.0, 1.0))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def boxes_with_area(boxes: Any) -> np.ndarray:
    """Returns the rows that are boxes, not padding, `float64` `(M, 4)`, or raises."""
    rows = np.asarray(boxes, dtype=np.float64)
    rows = rows.reshape(0, 4) if rows.size == 0 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        hint = " For one box, use boxes[None]." if rows.shape == (4,) else ""
        raise ValueError(
            f"`boxes` must have shape (M, 4). Received: boxes.shape={rows.shape}.{hint}"
        )
    sides = rows[:, 2:] - rows[:, :2]
    wrong = ~(np.isfinite(rows).all(axis=1) & (sides >= 0).all(axis=1))
    if wrong.any():
        raise ValueError(
            "`boxes` must be finite x0, y0, x1, y1 with x0 <= x1 and y0 <= y1. "
            f"Received the row: {rows[wrong][0].tolist()}."
        )
    return rows[(sides > 0).all(axis=1)]


def _framed(
    picture: np.ndarray, boxes: np.ndarray, color: tuple[int, int, int]
) -> np.ndarray:
    """Draws frames; all dark lines first, so that none crosses another frame."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    width = max(1, round(min(picture.shape[:2]) / 100))
    # Not `round`: it takes halves to the even neighbour, so that two equal boxes half
    # a pixel apart would differ in size.
    frames = np.floor(boxes + 0.5).astype(int)
    frames[:, 2:] = np.maximum(frames[:, 2:], frames[:, :2] + 1)
    frames = boxes_with_area(np.clip(frames, 0, canvas.size * 2)).astype(int)
    grown = frames + np.array([-1, -1, 1, 1])
    for rows, paint, pen in ((grown, (0, 0, 0), width + 2), (frames, color, width)):
        for x0, y0, x1, y1 in rows.tolist():
            # Pillow draws a frame thicker than its box beyond the box.
            at_most = (min(x1 - x0, y1 - y0) + 1) // 2
            corners = (x0, y0, x1 - 1, y1 - 1)
            draw.rectangle(corners, outline=paint, width=min(pen, at_most))
    return np.array(canvas)


TEXT_COLOR, HIT_COLOR, MISS_COLOR = "#282828", "#00803c", "#c81e1e"
DOTS_PER_INCH = 72  # a point is a pixel


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One picture of `show`, and what stands below it.

    Args:
        image: Array `(H, W, 3)`, `(H, W, 1)` or `(H, W)` in [0, 255].
        score_map: Array `(h, w)` in [0, 1] of any size, over the whole image.
            Default `None`.
        boxes: Predicted boxes `(M, 4)`, x0, y0, x1, y1 in pixels of the image, the
            most important one first. Rows without an area say that none was found.
            Default `None`: nothing was predicted.
        true_boxes: True boxes in the same form. Default `None`.
        class_name: String. Class below the picture. Default `None`.
        score: Float in [0, 1]. Probability of that class. Default `None`.

    Example:
    >>> cell = Cell(image=np.zeros((8, 9)), boxes=[[2, 0, 4, 2]],
    ...             true_boxes=[[2, 0, 6, 2]], class_name="Cardinal", score=0.9)
    >>> cell.iou
    0.5
    """

    image: Any
    score_map: Any = None
    boxes: Any = None
    true_boxes: Any = None
    class_name: str | None = None
    score: float | None = None

    @property
    def iou(self) -> float | None:
        """Overlap of the first predicted box with the best true one, if known."""
        true = boxes_with_area([] if self.true_boxes is None else self.true_boxes)
        if self.boxes is None or not len(true):
            return None
        first = boxes_with_area(self.boxes)[:1]
        return float(pairwise_iou(first, true).max(initial=0.0))


def show(
    cells: Sequence[Cell],
    columns: int = 4,
    titles: Sequence[str] | None = None,
    *,
    cell_size: int = 240,
    alpha: float = 0.5,
    iou_threshold: float = 0.5,
) -> Any:
    """Shows pictures in rows, each with its boxes, overlap, class and score.

    True boxes are red, predicted ones green. Below each picture stand a tick or a
    cross with the IoU of its first box, and the class with its probability. A notebook
    shows the figure, and `figure.savefig("birds.png")` writes it.

    Args:
        cells: The pictures, row by row.
        columns: Integer >= 1. Pictures in a row. Default 4.
        titles: A text for above each column. Default `None`.
        cell_size: Integer >= 32. Longer side of each picture in pixels. Default 240.
        alpha: Float in [0, 1]. Share of the score map's colours. Default 0.5.
        iou_threshold: Float in [0, 1]. IoU from which on a box is right. Default 0.5.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        TypeError, ValueError: There is no cell, or an argument is not as above.

    Example:
    >>> bird = Cell(image=np.full((30, 40, 3), 128), score_map=np.eye(3),
    ...             boxes=[[5, 5, 35, 25]], true_boxes=[[4, 4, 36, 26]])
    >>> figure = show([bird, bird], columns=2, titles=["CAM", "ADL"])
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    if not isinstance(cells, Sequence) or not all(isinstance(x, Cell) for x in cells):
        raise TypeError(
            "`cells` must be a list of `viz.Cell`; images of a data set, beside what "
            "localizers find, are shown by `viz.compare_models`. Received: "
            f"{type(cells).__name__}."
        )
    check_integer("columns", columns)
    check_integer("cell_size", cell_size, low=32)
    check_number("iou_threshold", iou_threshold)
    if len(cells) == 0:
        raise ValueError("`cells` must hold at least one cell. Received: none.")
    if titles is not None and len(titles) != columns:
        raise ValueError(f"`titles` must be {columns} texts. Received: {titles}.")
    sides = [np.shape(cell.image)[:2] for cell in cells]
    heights = [cell_size * min(1.0, height / width) for height, width in sides]
    rows = [max(heights[i : i + columns]) for i in range(0, len(cells), columns)]
    line, gap, margin = 0.08 * cell_size, 0.05 * cell_size, 0.0625 * cell_size
    below = 2.2 * line + gap
    top = margin + (0 if titles is None else 1.6 * line)
    width = 2 * margin + columns * (cell_size + gap) - gap
    legend_columns = max(1, int(width // (9 * line)))
    foot = margin + line * math.ceil(3 / legend_columns)
    height = top + sum(rows) + len(rows) * below + foot

    size = np.divide((width, height), DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor="white")
    figure._repr_png_ = partial(_png, figure)  # what a notebook shows
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        left = margin + column * (cell_size + gap)
        bottom = height - top - sum(rows[: row + 1]) - row * below
        place = np.divide((left, bottom, cell_size, rows[row]), (width, height) * 2)
        axes = figure.add_axes(place, anchor="N")
        _draw_picture(axes, cell, cell_size, alpha)
        _write_below(axes, cell, cell_size, iou_threshold)
        if row == 0 and titles is not None:
            text, size = _shortened(titles[column], 24), cell_size / 14
            axes.set_title(text, fontsize=size, color=TEXT_COLOR, parse_math=False)
    _add_legend(figure, cells, legend_columns, cell_size / 17, margin / width)
    return figure


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_picture(axes: Any, cell: Cell, cell_size: int, alpha: float) -> None:
    from PIL import Image

    small = Image.fromarray(to_rgb(cell.image))
    width, height = small.size
    small.thumbnail((2 * cell_size, 2 * cell_size))  # enough for a dense screen
    picture = overlay(np.asarray(small), cell.score_map, alpha=alpha)
    axes.imshow(picture, extent=(0, width, height, 0))
    axes.set_axis_off()
    colors = (TRUE_BOX_COLOR, PREDICTED_BOX_COLOR)
    for boxes, color in zip((cell.true_boxes, cell.boxes), colors, strict=True):
        shown = boxes_with_area([] if boxes is None else boxes)
        for box in boxes_with_area(np.clip(shown, 0, (width, height) * 2)):
            axes.add_patch(_frame(box, color, cell_size / 80))


def _frame(box: Sequence[float], color: Any, pen: float) -> Any:
    """Returns an empty rectangle with a dark line on both sides of its own."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    return Rectangle(
        box[:2],
        *np.subtract(box[2:], box[:2]),
        fill=False,
        edgecolor=np.divide(color, 255),
        linewidth=pen,
        path_effects=[withStroke(linewidth=pen + 1.4, foreground="black")],
        clip_on=False,  # whole also along the border of the image
    )


def _write_below(axes: Any, cell: Cell, cell_size: int, iou_threshold: float) -> None:
    for number, (text, color) in enumerate(_lines(cell, iou_threshold)):
        axes.annotate(
            text,
            (0.5, 0.0),
            xycoords="axes fraction",
            xytext=(0, -(0.4 + 1.35 * number) * cell_size / 17),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=cell_size / 17,
            color=color,
            parse_math=False,  # a "$" in a name is a "$"
        )


def _lines(cell: Cell, iou_threshold: float) -> Iterator[tuple[str, str]]:
    """Yields the lines below a picture, with their colours."""
    if cell.boxes is not None and not len(boxes_with_area(cell.boxes)):
        yield "\N{HEAVY BALLOT X} no box", MISS_COLOR
    elif cell.iou is not None:
        # Cut off, not rounded: 0.4999 must not read 0.50 beside the mark of a miss. The
        # billionth is for numbers such as 0.57, which is 56.999... hundredths.
        words = f"IoU {math.floor(cell.iou * 100 + 1e-9) / 100:.2f}"
        hit = f"\N{HEAVY CHECK MARK} {words}", HIT_COLOR
        miss = f"\N{HEAVY BALLOT X} {words}", MISS_COLOR
        yield hit if cell.iou >= iou_threshold else miss
    score = "" if cell.score is None else f"({cell.score:.2f})"
    name = _shortened(cell.class_name or "", 29 - len(score))
    if name or score:
        yield f"{name} {score}".strip(), TEXT_COLOR


def _shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    cut = text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    return text if len(text) <= length else cut


def _add_legend(
    figure: Any, cells: Sequence[Cell], columns: int, font_size: float, left: float
) -> None:
    """Adds a sample of each thing that the cells show, with its name."""
    from matplotlib import colormaps
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    shades = colormaps["turbo"](np.linspace(0.0, 1.0, 32))
    entries = {}
    if any(cell.true_boxes is not None for cell in cells):
        entries["true box"] = _frame((0, 0, 1, 1), TRUE_BOX_COLOR, 1.5)
    if any(cell.boxes is not None for cell in cells):
        entries["predicted box"] = _frame((0, 0, 1, 1), PREDICTED_BOX_COLOR, 1.5)
    if any(cell.score_map is not None for cell in cells):
        entries["score 0 to 1"] = tuple(Patch(color=shade) for shade in shades)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="lower left",
        bbox_to_anchor=(left, 0.0),
        ncols=columns,
        frameon=False,
        borderaxespad=0.0,
        fontsize=font_size,
        labelcolor=TEXT_COLOR,
        handlelength=2.6,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.0)},
    )
