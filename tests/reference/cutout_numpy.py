"""Cutout in loops, from DeVries and Taylor (2017), section 3.2, in float64.

The draws are an argument: two uniform numbers an image choose the row and the column
of the centre.
"""

import math

import numpy as np


def hidden(centre, size, length):
    """Cells along one axis that the square holds, cut at the border.

    >>> list(hidden(3, 3, 9)), list(hidden(3, 4, 9))
    ([2, 3, 4], [1, 2, 3, 4])
    >>> list(hidden(0, 3, 9)), list(hidden(8, 4, 9))
    ([0, 1], [6, 7, 8])
    """
    first = centre - size // 2
    return range(max(first, 0), min(first + size, length))


def cutout(images, uniforms, size, fill_value=0.0):
    """Cutout's output in training, (B, H, W, C) float64."""
    images = np.array(images, np.float64)
    batch, height, width, channels = images.shape
    fill = np.broadcast_to(fill_value, (channels,))
    for b in range(batch):
        row = math.floor(float(uniforms[b, 0]) * height)
        column = math.floor(float(uniforms[b, 1]) * width)
        for i in hidden(row, size, height):
            for j in hidden(column, size, width):
                for c in range(channels):
                    images[b, i, j, c] = fill[c]
    return images
