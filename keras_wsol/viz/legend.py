"""The line below a gallery that says what its colours mean."""

from typing import Any

import numpy as np

from keras_wsol.viz.captions import TEXT_COLOR, Lettering
from keras_wsol.viz.colors import PREDICTED_BOX_COLOR, TRUE_BOX_COLOR, heat_map
from keras_wsol.viz.frames import draw_outlined_boxes


def draw_legend(
    canvas: Any, left: int, top: int, letters: Lettering, has_true_boxes: bool
) -> None:
    """Draws samples of the boxes and of the heat map's colours, each with its name."""
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(canvas)
    side = letters.size
    entries: list[tuple[np.ndarray, str]] = []
    if has_true_boxes:
        entries.append((_box_sample(side, TRUE_BOX_COLOR), "true box"))
    entries.append((_box_sample(side, PREDICTED_BOX_COLOR), "predicted box"))
    ramp = np.tile(np.linspace(0.0, 1.0, 6 * side), (side, 1))
    entries.append((heat_map(ramp), "score 0 to 1"))
    for sample, name in entries:
        text_left = left + sample.shape[1] + side // 2
        right = text_left + letters.width(name)
        if right > canvas.width:
            return
        canvas.paste(Image.fromarray(sample), (left, top + side // 8))
        letters.draw(draw, (text_left + right) // 2, top, name, TEXT_COLOR)
        left = right + 2 * side


def _box_sample(side: int, color: tuple[int, int, int]) -> np.ndarray:
    white = np.full((side, round(1.5 * side), 3), 255, dtype=np.uint8)
    box = [[1, 1, white.shape[1] - 1, side - 1]]
    return draw_outlined_boxes(white, box, color, max(1, side // 6))
