"""What a gallery shows of one model on one image."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_wsol.viz.frames import check_boxes, has_area


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryCell:
    """What one model says about one image, as `gallery` shows it.

    Args:
        score_map: Array `(h, w)` in [0, 1] of any size, over the whole image.
        box: The predicted box, x0, y0, x1, y1 in pixels of the image, far edge
            exclusive. `None` (the default), zeros or -1 say that there is none.
        iou: Float in [0, 1], overlap of `box` with the true box, or `None` (the
            default) where nobody knows it: then the cell has no mark.
        class_name: Name of the predicted class, or `None` (the default).
        score: Float in [0, 1], probability of that class, or `None` (the
            default).

    Raises:
        ValueError: If `box` is not four numbers with x0 <= x1 and y0 <= y1, or
            `iou` or `score` is not in [0, 1].

    Example:
    >>> cell = GalleryCell(score_map=[[0.0, 1.0]], box=(2, 0, 4, 2), iou=0.625,
    ...                    class_name="Cardinal", score=0.9)
    >>> cell.verdict(), cell.label()
    ('IoU 0.62', 'Cardinal (0.90)')
    """

    score_map: Any
    box: Any = None
    iou: float | None = None
    class_name: str | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if self.box is not None:
            shape = np.shape(self.box)
            if shape != (4,):
                raise ValueError(
                    "`box` must have shape (4,), or be None. "
                    f"Received: box.shape={shape}."
                )
            check_boxes([self.box])
        for name in ("iou", "score"):
            value = getattr(self, name)
            # A softmax in float32 may exceed 1 by its last digit.
            if value is not None and not -1e-6 <= value <= 1.0 + 1e-6:
                raise ValueError(
                    f"`{name}` must be a number in [0, 1], or None. "
                    f"Received: {name}={value}."
                )

    def has_box(self) -> bool:
        """Whether there is a predicted box to draw."""
        return self.box is not None and has_area(self.box)

    def is_hit(self, iou_threshold: float) -> bool | None:
        """Whether the box is right; `None` where that is not known."""
        if not self.has_box():
            return False
        return None if self.iou is None else self.iou >= iou_threshold

    def verdict(self) -> str:
        """The first line under the cell: the overlap, or that there is no box."""
        if not self.has_box():
            return "no box"
        if self.iou is None:
            return ""
        # Cut off, not rounded: 0.4999 must not read 0.50 beside the mark of a miss.
        # The billionth is for numbers such as 0.57, which is 56.999... hundredths.
        return f"IoU {math.floor(self.iou * 100 + 1e-9) / 100:.2f}"

    def label(self) -> str:
        """The second line under the cell: the class and its probability."""
        return "".join(self.label_parts())

    def label_parts(self) -> tuple[str, str]:
        """The class, which may be shortened, and the probability, which may not."""
        name = self.class_name or ""
        score = "" if self.score is None else f"({self.score:.2f})"
        return name, f" {score}" if name and score else score
