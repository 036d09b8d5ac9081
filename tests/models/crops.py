"""Crops as a slow reference makes them."""

import numpy as np


def crop_pixel_by_pixel(image, box):
    """Bilinear with half-pixel centres; the edge's pixels go on outside."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    crop = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            y = np.clip(y0 + (row + 0.5) * (y1 - y0) / height - 0.5, 0, height - 1)
            x = np.clip(x0 + (column + 0.5) * (x1 - x0) / width - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = image[top, left] * (1 - x % 1) + image[top, right] * (x % 1)
            below = image[down, left] * (1 - x % 1) + image[down, right] * (x % 1)
            crop[row, column] = above * (1 - y % 1) + below * (y % 1)
    return crop
