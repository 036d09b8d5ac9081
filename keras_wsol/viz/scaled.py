"""An image at the size of a gallery, with the boxes scaled along."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_wsol.viz.cells import GalleryCell
from keras_wsol.viz.colors import PREDICTED_BOX_COLOR, TRUE_BOX_COLOR
from keras_wsol.viz.frames import check_boxes, draw_outlined_boxes
from keras_wsol.viz.overlays import overlay
from keras_wsol.viz.pixels import resize_rgb, to_rgb


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledImage:
    """An image whose longer side is the gallery's, and its true boxes.

    Attributes:
        pixels: `uint8` array `(h, w, 3)`.
        scale: Array `(4,)`, what boxes of the original image are multiplied by.
        true_boxes: Array `(M, 4)` in pixels of `pixels`.
        frame_width: Thickness of the boxes in pixels.
    """

    pixels: np.ndarray
    scale: np.ndarray
    true_boxes: np.ndarray
    frame_width: int

    @classmethod
    def fit(cls, image: Any, true_boxes: Any, longer_side: int) -> "ScaledImage":
        """Scales an image and its boxes `(M, 4)`; `None` stands for no boxes."""
        pixels = to_rgb(image)
        height, width = pixels.shape[:2]
        factor = longer_side / max(height, width)
        new_height, new_width = (max(1, round(factor * n)) for n in (height, width))
        scale = np.array([new_width / width, new_height / height] * 2)
        boxes = np.zeros((0, 4)) if true_boxes is None else check_boxes(true_boxes)
        return cls(
            pixels=resize_rgb(pixels, new_height, new_width),
            scale=scale,
            true_boxes=boxes * scale,
            frame_width=max(1, round(longer_side / 100)),
        )

    @property
    def height(self) -> int:
        """Rows of the scaled image."""
        return self.pixels.shape[0]

    def with_true_boxes(self) -> np.ndarray:
        """Returns the image with its true boxes, `uint8` `(h, w, 3)`."""
        return self._frame(self.pixels, self.true_boxes, TRUE_BOX_COLOR)

    def with_prediction(self, cell: GalleryCell, alpha: float) -> np.ndarray:
        """Returns the overlay with the true boxes and, on top, the predicted one."""
        picture = overlay(self.pixels, cell.score_map, alpha)
        picture = self._frame(picture, self.true_boxes, TRUE_BOX_COLOR)
        if not cell.has_box():
            return picture
        box = np.asarray(cell.box, dtype=np.float64) * self.scale
        return self._frame(picture, box[None], PREDICTED_BOX_COLOR)

    def _frame(
        self, picture: np.ndarray, boxes: np.ndarray, color: tuple[int, int, int]
    ) -> np.ndarray:
        return draw_outlined_boxes(picture, boxes, color, self.frame_width)
