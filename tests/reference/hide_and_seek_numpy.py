"""Hide-and-Seek in loops, from Singh and Lee (2017), section 3.1, in float64.

The draws are an argument: a uniform number an image chooses the size, and one for each
square of the least size, of which larger squares use the first ones.
"""

import math

import numpy as np


def squares(length, side):
    """Ranges of the squares along one axis, the last cut at the border.

    >>> squares(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(first, min(first + side, length)) for first in range(0, length, side)]


def hide_and_seek(images, choices, uniforms, grid_size, rate=0.5, fill_value=0.0):
    """The output in training, (B, H, W, C) float64."""
    images = np.array(images, np.float64)
    batch, height, width, channels = images.shape
    fill = np.broadcast_to(fill_value, (channels,))
    sizes = np.atleast_1d(grid_size).tolist()
    for b in range(batch):
        side = sizes[math.floor(float(choices[b]) * len(sizes))]
        if side == 0:
            continue
        for row, lines in enumerate(squares(height, side)):
            for column, places in enumerate(squares(width, side)):
                if uniforms[b, row, column] < rate:
                    for i in lines:
                        for j in places:
                            images[b, i, j] = fill
    return images
