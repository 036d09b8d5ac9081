"""How strongly each channel responds, and which channels a layer picks out."""

from typing import Any

import numpy as np

BAR_COLOR = (106, 122, 150)
"""Blue-grey: a channel that stays."""

PICKED_COLOR = (230, 97, 1)
"""Orange: a channel that is dropped, or may be."""

_BACKGROUND = (245, 245, 245)


def channel_bars(values: Any, picked: Any, height: int, width: int) -> np.ndarray:
    """Draws a bar for each channel, the highest on the left."""
    values = np.asarray(values, dtype=np.float64)
    # Among equals, the picked ones last: else they would be strewn over the strip.
    order = np.lexsort((np.asarray(picked), -values))
    first = np.arange(width) * len(values) // width
    last = np.maximum(first + 1, -(-np.arange(1, width + 1) * len(values) // width))
    columns = [order[a:b] for a, b in zip(first, last, strict=True)]
    tops = np.array([values[column].max() for column in columns])
    colors = np.where(
        [[np.asarray(picked)[column].any()] for column in columns],
        PICKED_COLOR,
        BAR_COLOR,
    )
    strip = height // 8
    room = height - strip - 1  # one row of white in between
    tallest = values.max()
    share = np.clip(tops / tallest, 0.0, 1.0) if tallest > 0 else np.zeros(width)
    empty = room - np.rint(room * share)

    picture = np.full((height, width, 3), _BACKGROUND, dtype=np.uint8)
    rows = np.arange(height)[:, None]
    painted = ((rows >= empty) & (rows < room)) | (rows > room)
    picture[room] = 255
    return np.where(painted[:, :, None], colors.astype(np.uint8), picture)
