"""Masks on which connected components go wrong, each of the size asked for."""

import numpy as np


def hard_masks(height, width):
    """Named boolean masks (height, width)."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    from_edge = np.minimum.reduce([y, x, height - 1 - y, width - 1 - x])
    middle = np.hypot(y - height / 2, x - width / 2)
    masks = {
        "empty": np.zeros((height, width), bool),
        "full": np.ones((height, width), bool),
        "one cell": (y == height // 2) & (x == width // 3),
        "last cell": (y == height - 1) & (x == width - 1),
        "row snake": snake(height, width),
        "column snake": snake(width, height).T,
        "row snake, last cell first": snake(height, width)[::-1, ::-1],
        "spiral": spiral(height, width),
        "spiral, mirrored": spiral(height, width)[:, ::-1],
        "ring": from_edge == min(2, from_edge.max()),
        "concentric rings": from_edge % 2 == 0,
        "round rings": (middle // 2) % 2 == 0,
        "comb, joined below": (x % 2 == 0) | (y == height - 1),
        "comb, joined above": (x % 2 == 1) | (y == 0),
        "comb, joined on the right": (y % 2 == 0) | (x == width - 1),
        "checkerboard": (y + x) % 2 == 0,
        "diagonals": (y - x) % 4 == 0,
        "other diagonals": (y + x) % 5 == 1,
        "zigzag": np.abs((x + y // 3) % 6 - 3) == y % 4,
        "lone cells: all tie": (y % 2 == 0) & (x % 2 == 0),
        "squares: all tie": (y % 3 < 2) & (x % 4 < 2),
        "vs that join late": (y // 2 == x % (height // 2 + 1)) | (y == height - 1),
    }
    # 8-connected site percolation sets in at about 0.41.
    for density in (0.1, 0.3, 0.38, 0.41, 0.44, 0.6, 0.9):
        masks[f"noise {density}"] = rng.random((height, width)) < density
    return masks


def snake(height, width):
    """One path, row by row, turning at alternate ends."""
    mask = np.zeros((height, width), bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def spiral(height, width):
    """One path from the upper left corner to the middle, two cells apart."""
    mask = np.zeros((height, width), bool)
    top, left, bottom, right = 0, 0, height - 1, width - 1
    while top <= bottom and left <= right:
        mask[top, max(left - 2, 0) : right + 1] = True
        mask[top : bottom + 1, right] = True
        mask[bottom, left : right + 1] = True
        mask[top + 2 : bottom + 1, left] = True
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    return mask


def smooth_maps(rng, count, height, width):
    """Score maps (count, height, width) float32, 0 to 1, as a CAM's: a few hills."""
    import cv2

    coarse = rng.random((count, 4, 5), dtype=np.float32)
    maps = np.stack([cv2.resize(each, (width, height)) for each in coarse])
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


def noise_maps(rng, count, height, width, levels=None):
    """Score maps of noise; with `levels`, of so many different values only."""
    maps = rng.random((count, height, width), dtype=np.float32)
    return maps if levels is None else np.floor(maps * levels) / np.float32(levels)
