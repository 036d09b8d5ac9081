"""The published evaluator (Choe et al., 2020) once more, threshold by threshold.

Written from `evaluation.py` of github.com/clovaai/wsolevaluation (commit b98c7d1):
`compute_bboxes_from_scoremaps`, `calculate_multiple_iou`, `resize_bbox`,
`BoxEvaluator`, `get_mask` and `MaskEvaluator`. OpenCV for contours, loops for the rest.
"""

import cv2
import numpy as np


def boxes_at(score_map, threshold, all_contours=False):
    """Boxes of the largest contour, or of all of them, as lists of four integers."""
    height, width = score_map.shape
    grey = (np.asarray(score_map, np.float64) * 255).astype(np.uint8)[:, :, None]
    _, mask = cv2.threshold(grey, int(threshold * np.max(grey)), 255, cv2.THRESH_BINARY)
    contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if not contours:
        return [[0, 0, 0, 0]]
    if not all_contours:
        contours = [max(contours, key=cv2.contourArea)]
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        found.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
    return found


def scaled_box(box, image_size, map_size):
    """A box of an image, in a map: `int` of each side; sizes are (width, height)."""
    return [
        int(float(side) * float(map_size[i % 2]) / float(image_size[i % 2]))
        for i, side in enumerate(box)
    ]


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    union = area_a + area_b - width * height
    return width * height / union if union > 0 else 0.0


def best_ious(true_boxes, score_maps, thresholds, all_contours=False):
    """(T, B) best overlaps; `true_boxes` holds a list of whole boxes for each map."""
    ious = np.zeros((len(thresholds), len(score_maps)))
    for b, score_map in enumerate(score_maps):
        for t, threshold in enumerate(thresholds):
            ious[t, b] = max(
                iou(box, true)
                for box in boxes_at(score_map, threshold, all_contours)
                for true in true_boxes[b]
            )
    return ious


def max_box_acc(true_boxes, score_maps, thresholds, percents, all_contours=False):
    """Best accuracy for each overlap asked for; both are in percent."""
    ious = best_ious(true_boxes, score_maps, thresholds, all_contours)
    found = []
    for percent in percents:
        num_correct = np.zeros(len(thresholds))
        for t in range(len(thresholds)):
            num_correct[t] = sum(overlap >= percent / 100 for overlap in ious[t])
        found.append((num_correct * 100.0 / float(len(score_maps))).max())
    return found


def mask_values(masks, ignore):
    """1 for objects, 255 for what is ignored, 0 for the rest; (H, W) uint8."""
    union = np.stack([mask > 0.5 for mask in masks], axis=0).any(axis=0)
    return union.astype(np.uint8) + 255 * ((ignore > 0.5) & ~union).astype(np.uint8)


def pixel_average_precision(masks, score_maps, thresholds):
    """Percent; `masks` are those of `mask_values`."""
    edges = np.append(thresholds, [1.0, 2.0, 3.0])
    true, false = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for mask, score_map in zip(masks, score_maps, strict=True):
        true += np.histogram(score_map[mask == 1], bins=edges)[0]
        false += np.histogram(score_map[mask == 0], bins=edges)[0]
    tp, fp = true[::-1].cumsum(), false[::-1].cumsum()
    fn = true.sum() - tp
    if not true.sum():
        raise RuntimeError("No positive ground truth in the eval set.")
    some = (tp + fp) != 0
    with np.errstate(invalid="ignore"):
        precision = tp / (tp + fp)
    recall = tp / (tp + fn)
    return (precision[1:] * np.diff(recall))[some[1:]].sum() * 100


def resized_nearest(grey, size):
    """What `load_mask_image` does with a grey picture; `size` is (height, width)."""
    return cv2.resize(
        np.float32(grey), (size[1], size[0]), interpolation=cv2.INTER_NEAREST
    )
