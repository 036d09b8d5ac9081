"""Boxes and masks to numbers."""

from keras_wsol.metrics.classification import Top1Cls, Top5Cls
from keras_wsol.metrics.localization import GTKnownLoc, MeanBoxIoU, Top1Loc, Top5Loc
from keras_wsol.metrics.max_box_acc import MaxBoxAcc, MaxBoxAccV2, largest_box_ious
from keras_wsol.metrics.measured_localizer import MeasuredLocalizer
from keras_wsol.metrics.overlap import best_iou, is_right
from keras_wsol.metrics.px_ap import PxAP
from keras_wsol.metrics.thresholds import threshold_grid

__all__ = [
    "GTKnownLoc",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MeanBoxIoU",
    "MeasuredLocalizer",
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
