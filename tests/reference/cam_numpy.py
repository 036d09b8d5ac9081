"""Class activation maps and score maps once more, in loops.

Zhou et al., 2016, for the map; pixel centres at (i + 0.5) for every resize, the
triangle widened by the scale where antialiased (as TensorFlow and Pillow do it).
"""

import math

import numpy as np


def class_activation_maps(features, kernel, class_ids):
    """(B, h, w, C), (C, classes), (B, K) to (B, K, h, w)."""
    batch, height, width, channels = features.shape
    maps = np.zeros((batch, len(class_ids[0]), height, width))
    for b in range(batch):
        for k, class_id in enumerate(class_ids[b]):
            for y in range(height):
                for x in range(width):
                    for c in range(channels):
                        weight = float(kernel[c, class_id])
                        maps[b, k, y, x] += weight * float(features[b, y, x, c])
    return maps


def weights_of_line(size, new_size, antialias):
    """(new_size, size): how much of each old cell is in each new one."""
    scale = size / new_size
    reach = max(scale, 1.0) if antialias else 1.0
    weights = np.zeros((new_size, size))
    for new in range(new_size):
        centre = (new + 0.5) * scale
        if not antialias:
            # Without antialias, cells beyond the edge repeat the edge.
            low = math.floor(centre - 0.5)
            share = centre - 0.5 - low
            weights[new, min(max(low, 0), size - 1)] += 1 - share
            weights[new, min(max(low + 1, 0), size - 1)] += share
            continue
        for old in range(size):
            weights[new, old] = max(0.0, 1 - abs(old + 0.5 - centre) / reach)
        weights[new] /= weights[new].sum()
    return weights


def resize(image, size, antialias=False):
    """(H, W) or (H, W, C) to `size`, bilinear."""
    rows = weights_of_line(image.shape[0], size[0], antialias)
    columns = weights_of_line(image.shape[1], size[1], antialias)
    return np.einsum("ih,jw,hw...->ij...", rows, columns, image.astype("float64"))


def scale_to_unit(values):
    """To [0, 1]; zeros if constant or not finite."""
    low, high = math.inf, -math.inf
    for value in values.ravel():
        if not math.isfinite(value):
            return np.zeros(values.shape)
        low, high = min(low, value), max(high, value)
    if high == low:
        return np.zeros(values.shape)
    return (values - low) / (high - low)


def score_map(cam, size):
    """One map (h, w) to its score map of `size`."""
    return scale_to_unit(resize(cam, size))
