"""How strongly each channel responds, and which channels a layer picks out."""

from typing import Any

import numpy as np

BAR_COLOR = (106, 122, 150)
"""Blue-grey: a channel that stays."""

PICKED_COLOR = (230, 97, 1)
"""Orange: a channel that is dropped, or may be."""

_BACKGROUND = (245, 245, 245)


def channel_bars(values: Any, picked: Any, height: int, width: int) -> np.ndarray:
    """Draws a bar for each channel, the highest on the left, over a strip of colours.

    The strip at the foot, an eighth of the height, shows channels without a bar,
    too. Where there are more channels than columns of pixels, those that share a
    column show the highest of them, orange if any of them is picked.

    Args:
        values: Array `(C,)`. Bars reach from 0 to the largest value; values below
            0, and all where none is above 0, have no bar.
        picked: Booleans `(C,)`: the channels to draw in orange.
        height: Rows of pixels, from 8.
        width: Columns of pixels.

    Returns:
        `uint8` array `(height, width, 3)`.

    Example:
    >>> bars = channel_bars([1.0, 4.0], [True, False], height=8, width=2)
    >>> bars[0, 0].tolist() == list(BAR_COLOR), bars[-1, 1].tolist()
    (True, [230, 97, 1])
    """
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
