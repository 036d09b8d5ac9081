"""What is wrong with a box once more, case by case, in whole numbers of pixels."""

from tests.reference.max_box_acc_numpy import best_iou, iou


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def common_area(one, other):
    near = [max(one[0], other[0]), max(one[1], other[1])]
    far = [min(one[2], other[2]), min(one[3], other[3])]
    return area([*near, *far])


def error(component_boxes, true_boxes, class_right):
    """`component_boxes`: of every component, the largest in front."""
    if not component_boxes:
        return "no box"
    box = [float(side) for side in component_boxes[0]]
    true_boxes = [[float(s) for s in t] for t in true_boxes if t[0] >= 0]
    if best_iou([box], true_boxes) >= 0.5:
        return "right" if class_right else "wrong class"
    together = [
        min(b[0] for b in component_boxes),
        min(b[1] for b in component_boxes),
        max(b[2] for b in component_boxes),
        max(b[3] for b in component_boxes),
    ]
    if best_iou([together], true_boxes) >= 0.5:
        return "several parts"
    if not true_boxes:
        return "elsewhere"
    best = max(true_boxes, key=lambda true_box: iou(box, true_box))
    if common_area(box, best) >= 0.9 * area(box):
        return "too small"
    if common_area(box, best) >= 0.9 * area(best) > 0:
        return "too large"
    return "elsewhere"
