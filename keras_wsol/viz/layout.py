"""Where in a gallery each picture and each line of text lies."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GalleryLayout:
    """Places in pixels. A row is as high as its picture and two lines of text."""

    heights: Sequence[int]
    columns: int
    cell_size: int
    line_height: int
    title_height: int

    @property
    def margin(self) -> int:
        """White around the gallery."""
        return round(self.cell_size / 16)

    @property
    def gap(self) -> int:
        """White between two columns, or between two rows."""
        return round(self.cell_size / 20)

    @property
    def caption_height(self) -> int:
        """What lies between the picture of a row and the gap: two lines of text."""
        return round(2.2 * self.line_height)

    @property
    def centers(self) -> list[int]:
        """The middle of each column."""
        step = self.cell_size + self.gap
        return [
            self.margin + self.cell_size // 2 + step * column
            for column in range(self.columns)
        ]

    @property
    def tops(self) -> list[int]:
        """The first row of pixels of the picture in each row of the gallery."""
        tops = [self.margin + self.title_height]
        for height in self.heights:
            tops.append(tops[-1] + height + self.caption_height + self.gap)
        return tops[:-1]

    def caption_top(self, row: int) -> int:
        """Where the text below the pictures of a row begins."""
        return self.tops[row] + self.heights[row] + round(0.2 * self.line_height)

    @property
    def legend_top(self) -> int:
        """Where the legend begins."""
        return self.tops[-1] + self.heights[-1] + self.caption_height + self.gap

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole gallery, as Pillow wants them."""
        width = 2 * self.margin + self.columns * self.cell_size
        width += (self.columns - 1) * self.gap
        return width, self.legend_top + self.line_height + self.margin
