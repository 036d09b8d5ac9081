"""Boxes and masks to numbers."""

from keras_wsol.metrics.localization import GTKnownLoc, MeanBoxIoU, Top1Loc, Top5Loc
from keras_wsol.metrics.max_box_acc import MaxBoxAcc, MaxBoxAccV2, largest_box_ious
from keras_wsol.metrics.overlap import best_iou, is_right
from keras_wsol.metrics.px_ap import PxAP
from keras_wsol.metrics.thresholds import threshold_grid

__all__ = [
    "GTKnownLoc",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanBoxIoU",
    "PxAP",
    "Top1Loc",
    "Top5Loc",
    "best_iou",
    "is_right",
    "largest_box_ious",
    "threshold_grid",
]
