"""Rows of pictures with their words, and the legend, on one page."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_wsol.viz.captions import TEXT_COLOR, Lettering
from keras_wsol.viz.channel_bars import PICKED_COLOR
from keras_wsol.viz.colors import heat_map
from keras_wsol.viz.mask_cells import COLUMNS, RAISED_COLOR, MaskCell

_WHITE = (255, 255, 255)
_BLANK = (245, 245, 245)
_DARK = (30, 30, 30)


class MaskPage:
    """A page that grows downwards, as wide as `COLUMNS` pictures."""

    def __init__(
        self,
        height: int,
        width: int,
        *,
        cell_size: int,
        font: str | os.PathLike[str] | None = None,
    ) -> None:
        self._size = height, width
        self._cell_size = cell_size
        self._gap = round(cell_size / 16)
        self._letters = Lettering(max(9, round(cell_size / 13)), font)
        self._parts: list[np.ndarray] = []
        self._shown: set[str] = set()  # titles, of which the legend speaks

    def add_row(self, headline: str, cells: Sequence[MaskCell]) -> None:
        """Adds a line of text and below it the pictures with their two lines each."""
        from PIL import Image

        height, width = self._size
        line = self._letters.line_height
        top = self._gap + round(1.3 * line)
        canvas, draw = self._canvas(top + height + round(2.3 * line))
        self._write(draw, self._gap, self._gap, headline, self._room())
        self._shown |= {cell.title for cell in cells if cell.pixels is not None}
        for column, cell in enumerate(cells):
            center = self._left(column) + self._cell_size // 2
            corner = (center - width // 2, top)
            if cell.pixels is None:
                canvas.paste(_BLANK, (*corner, corner[0] + width, top + height))
            else:
                canvas.paste(Image.fromarray(cell.pixels), corner)
            for number, text in enumerate((cell.title, cell.note)):
                text = self._letters.fit(text, self._cell_size)
                below = top + height + round(0.2 * line) + number * line
                self._letters.draw(draw, center, below, text, TEXT_COLOR)
        self._parts.append(np.array(canvas))

    def add_legend(self) -> None:
        """Adds a line that says what the colours above it mean, as far as it fits."""
        from PIL import Image

        side = self._letters.size
        canvas, draw = self._canvas(2 * self._gap + self._letters.line_height)
        left = self._gap
        for sample, name in self._legend(side):
            canvas.paste(Image.fromarray(sample), (left, self._gap + side // 8))
            left += sample.shape[1] + side // 2
            room = canvas.width - self._gap - left
            left += self._write(draw, left, self._gap, name, room) + 2 * side
        self._parts.append(np.array(canvas))

    def picture(self) -> np.ndarray:
        """Returns the page, `uint8` `(height, width, 3)`."""
        return np.concatenate(self._parts)

    def _legend(self, side: int) -> list[tuple[np.ndarray, str]]:
        ramp = heat_map(np.tile(np.linspace(0.0, 1.0, 5 * side), (side, 1)))
        scale = "0 to the largest"
        if "importance map" in self._shown:
            scale += "; importance map 0.5 to 1"
        if "position enhancement" in self._shown:
            scale += "; enhancement 0 to 1"
        entries = [(ramp, scale)]
        if self._shown & {"drop mask", "position mask"}:
            entries.append((_swatch(side, _DARK), "dropped cells"))
        if "position mask" in self._shown:
            entries.append((_swatch(side, RAISED_COLOR), "raised cells"))
        if "channels" in self._shown:
            sample = _swatch(side, PICKED_COLOR)
            entries.append((sample, "channels that a draw may drop or mask"))
        return entries

    def _canvas(self, height: int) -> tuple[Any, Any]:
        from PIL import Image, ImageDraw

        canvas = Image.new("RGB", (self._left(COLUMNS), height), _WHITE)
        return canvas, ImageDraw.Draw(canvas)

    def _left(self, column: int) -> int:
        return self._gap + column * (self._cell_size + self._gap)

    def _room(self) -> int:
        return self._left(COLUMNS) - 2 * self._gap

    def _write(self, draw: Any, left: int, top: int, text: str, room: int) -> int:
        """Writes from a column on, within some pixels; returns how many it took."""
        text = self._letters.fit(text, room)
        width = self._letters.width(text)
        self._letters.draw(draw, left + width // 2, top, text, TEXT_COLOR)
        return width


def _swatch(side: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((side, side, 3), color, dtype=np.uint8)
