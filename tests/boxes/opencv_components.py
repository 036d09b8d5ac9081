"""The reference: OpenCV's 8-connected components, in the order that we promise."""

from typing import NamedTuple

import cv2
import numpy as np


class Component(NamedTuple):
    area: int
    first: int  # row-major index of the first cell
    box: tuple[int, int, int, int]
    cells: np.ndarray  # (H, W) bool


def components(mask, min_share=0.0):
    """Components of a mask, the largest first, equal ones by their first cell.

    Only those with at least a share of the largest one's cells, in float32. OpenCV
    numbers them block by block, not in row-major order, so the order of equals comes
    from the cells themselves.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask, np.uint8), connectivity=8
    )
    found = []
    for number in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[number])
        cells = labels == number
        first = int(np.flatnonzero(cells)[0])
        found.append(Component(area, first, (x, y, x + width, y + height), cells))
    least = np.float32(min_share) * max((c.area for c in found), default=0)
    found = [component for component in found if component.area >= least]
    return sorted(found, key=lambda component: (-component.area, component.first))


def labels(masks):
    """What `label_components` should return, (N, H, W) int32."""
    result = np.zeros(np.shape(masks), np.int32)
    for n, mask in enumerate(masks):
        for component in components(mask):
            result[n][component.cells] = component.first + 1
    return result


def largest(masks):
    """What `largest_boxes` should return for these masks, (N, 4) float32."""
    boxes = [[*components(mask)[:1], None][0] for mask in masks]
    return np.array([box.box if box else (0, 0, 0, 0) for box in boxes], np.float32)


def above(score_maps, threshold):
    """Cells above a share of their map's maximum, in float32."""
    maps = np.asarray(score_maps, np.float32)
    return maps > np.float32(threshold) * maps.max(axis=(1, 2), keepdims=True)
