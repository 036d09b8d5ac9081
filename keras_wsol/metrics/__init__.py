"""Boxes and masks to numbers."""

from keras_wsol.metrics.functional import best_iou, is_right, threshold_grid
from keras_wsol.metrics.localization import (
    GTKnownLoc,
    MeanBoxIoU,
    Top1Cls,
    Top1Loc,
    Top5Cls,
    Top5Loc,
)
from keras_wsol.metrics.max_box_acc import (
    MaxBoxAcc,
    MaxBoxAccV2,
    PxAP,
    largest_box_ious,
)

__all__ = [
    "GTKnownLoc",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanBoxIoU",
    "PxAP",
    "Top1Cls",
    "Top1Loc",
    "Top5Cls",
    "Top5Loc",
    "best_iou",
    "is_right",
    "largest_box_ious",
    "threshold_grid",
]
