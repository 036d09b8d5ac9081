"""Boxes and score maps to numbers."""

from keras_wsol.metrics.localization import (
    GTKnownLoc,
    MeanBoxIoU,
    Top1Cls,
    Top1Loc,
    Top5Cls,
    Top5Loc,
)
from keras_wsol.metrics.max_box_acc import MaxBoxAcc, MaxBoxAccV2, PxAP

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
]
