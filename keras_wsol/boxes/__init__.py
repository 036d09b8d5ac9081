"""Boxes from score maps: connected components, their boxes, and overlap."""

from keras_wsol.boxes.components import label_components, largest_boxes, top_boxes
from keras_wsol.boxes.iou import iou
from keras_wsol.boxes.sweep import sweep_best_iou, sweep_largest_boxes

__all__ = [
    "iou",
    "label_components",
    "largest_boxes",
    "sweep_best_iou",
    "sweep_largest_boxes",
    "top_boxes",
]
