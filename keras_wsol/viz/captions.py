"""Words and marks around the pictures of a gallery."""

import os
import unicodedata
from typing import Any

TEXT_COLOR = (40, 40, 40)
HIT_COLOR = (0, 128, 60)
MISS_COLOR = (200, 30, 30)

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class Lettering:
    """One font at one size, and how text is measured and drawn with it."""

    def __init__(self, size: int, font: str | os.PathLike[str] | None = None) -> None:
        from PIL import ImageFont

        self.size = size
        self._has_accents = font is not None
        self._font = (
            ImageFont.load_default(size=size)
            if font is None
            else ImageFont.truetype(os.fspath(font), size)
        )

    @property
    def line_height(self) -> int:
        """Distance from one line to the next, in pixels."""
        return round(1.35 * self.size)

    def width(self, text: str) -> int:
        """Width of a text in pixels."""
        return round(self._font.getlength(self._drawable(text)))

    def fit(self, text: str, width: int, tail: str = "") -> str:
        """Shortens `text` until it and `tail`, which stays, fit into `width` pixels."""
        if self.width(text + tail) <= width:
            return text + tail
        kept = text
        while kept and self.width(kept.rstrip() + _ELLIPSIS + tail) > width:
            kept = kept[:-1]
        return kept.rstrip() + _ELLIPSIS + tail

    def draw(
        self, draw: Any, center: int, top: int, text: str, color: tuple[int, int, int]
    ) -> None:
        """Draws one line of text, centred on a column of a `PIL.ImageDraw`."""
        left = center - self.width(text) // 2
        # By the ascender: else a line without tall letters would stand higher.
        draw.text((left, top), self._drawable(text), color, self._font, anchor="la")

    def draw_verdict(
        self, draw: Any, center: int, top: int, text: str, hit: bool | None
    ) -> None:
        """Draws one line after a tick or a cross, told apart without colours too."""
        if hit is None:
            self.draw(draw, center, top, text, TEXT_COLOR)
            return
        color = HIT_COLOR if hit else MISS_COLOR
        side = round(0.7 * self.size)
        space = side + round(0.4 * self.size)
        left = center - (space + self.width(text)) // 2
        self._draw_mark(draw, left, top + round(0.22 * self.size), side, hit)
        self.draw(draw, center + space // 2, top, text, color)

    def _draw_mark(self, draw: Any, x: int, y: int, side: int, hit: bool) -> None:
        # Lines: the font inside Pillow has neither a tick nor a cross.
        pen = max(2, round(self.size / 7))
        if hit:
            low = (x + round(0.35 * side), y + side)
            tick = [(x, y + round(0.6 * side)), low, (x + side, y + round(0.1 * side))]
            draw.line(tick, fill=HIT_COLOR, width=pen, joint="curve")
        else:
            draw.line([(x, y), (x + side, y + side)], fill=MISS_COLOR, width=pen)
            draw.line([(x, y + side), (x + side, y)], fill=MISS_COLOR, width=pen)

    def _drawable(self, text: str) -> str:
        text = " ".join(text.split())  # Pillow measures no text of two lines
        if self._has_accents:
            return text
        letters = unicodedata.normalize("NFKD", text.replace(_ELLIPSIS, "\0"))
        plain = "".join(c for c in letters if not unicodedata.combining(c))
        return plain.replace("\0", _ELLIPSIS)
