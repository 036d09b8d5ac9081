"""Localization measures once more: OpenCV for components, loops for the rest.

Choe et al., 2020, in the clean definition: cells above a share of the map's maximum,
8-connected components, far edges exclusive, one threshold for all images.
"""

import numpy as np

from tests.boxes.opencv_components import components


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return both / (area_a + area_b - both)


def best_iou(boxes, true_boxes):
    """Best overlap of any of `boxes` with any true box that is no padding."""
    best = 0.0
    for box in boxes:
        for true_box in true_boxes:
            if true_box[0] >= 0:
                best = max(best, iou(box, [float(side) for side in true_box]))
    return best


def boxes_at(score_map, threshold):
    """Boxes of all components, the largest (on ties the first) in front."""
    cut = np.float32(threshold) * score_map.max()
    return [component.box for component in components(score_map > cut)]


def largest_box_ious(true_boxes, score_maps, thresholds):
    """(T, B): overlap of the box of the largest component with the best true box."""
    ious = np.zeros((len(thresholds), len(score_maps)))
    for t, threshold in enumerate(thresholds):
        for b, score_map in enumerate(score_maps):
            largest = boxes_at(score_map, threshold)[:1]
            ious[t, b] = best_iou(largest, true_boxes[b])
    return ious


def best_component_ious(true_boxes, score_maps, thresholds):
    """(T, B): best overlap of any component with any true box."""
    ious = np.zeros((len(thresholds), len(score_maps)))
    for t, threshold in enumerate(thresholds):
        for b, score_map in enumerate(score_maps):
            ious[t, b] = best_iou(boxes_at(score_map, threshold), true_boxes[b])
    return ious


def accuracy(ious, iou_threshold=0.5):
    """(T,): share of images right at each threshold."""
    return [sum(iou >= iou_threshold for iou in row) / len(row) for row in ious]


def max_box_acc(true_boxes, score_maps, thresholds, iou_threshold=0.5):
    return max(
        accuracy(largest_box_ious(true_boxes, score_maps, thresholds), iou_threshold)
    )


def max_box_acc_v2(true_boxes, score_maps, thresholds, levels=(0.3, 0.5, 0.7)):
    ious = best_component_ious(true_boxes, score_maps, thresholds)
    return sum(max(accuracy(ious, level)) for level in levels) / len(levels)
