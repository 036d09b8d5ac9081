"""MaxBoxAccV2 with what came of each image."""

import numpy as np

from keras_wsol.boxes import sweep_best_iou
from keras_wsol.evaluation.best_index import best_index
from keras_wsol.metrics.functional import is_right

IOU_THRESHOLDS = (0.3, 0.5, 0.7)  # [Choe et al., 2020]


class V2ByImage:
    """Adds up `metrics.MaxBoxAccV2`, and keeps which images were right."""

    def __init__(self, thresholds: np.ndarray) -> None:
        self._thresholds = thresholds
        self._right = np.zeros((len(IOU_THRESHOLDS), len(thresholds)), np.int64)
        self._packed: list[np.ndarray] = []

    def add(self, true_boxes: np.ndarray, score_maps: np.ndarray) -> None:
        """Adds a batch."""
        if not len(score_maps):
            return
        overlap = sweep_best_iou(score_maps, self._thresholds, true_boxes).T
        levels = np.array(IOU_THRESHOLDS, overlap.dtype)[:, None]
        right = is_right(overlap[:, None], levels)  # (B, 3, T)
        self._right += right.sum(axis=0)
        self._packed.append(np.packbits(right, axis=-1))

    def hits(self) -> np.ndarray:
        """Says which images are right at the best threshold of each IoU."""
        packed = np.concatenate(self._packed)
        hits = np.zeros(packed.shape[:2], bool)
        for level, right in enumerate(self._right):
            byte, bit = divmod(best_index(right), 8)
            hits[:, level] = packed[:, level, byte] >> (7 - bit) & 1
        return hits
