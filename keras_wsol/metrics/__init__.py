"""Boxes to numbers."""

from keras_wsol.metrics.localization import GTKnownLoc, Top1Loc
from keras_wsol.metrics.max_box_acc import (
    MaxBoxAcc,
    MaxBoxAccV2,
    largest_box_ious,
    threshold_grid,
)
from keras_wsol.metrics.overlap import best_iou

__all__ = [
    "GTKnownLoc",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "Top1Loc",
    "best_iou",
    "largest_box_ious",
    "threshold_grid",
]
