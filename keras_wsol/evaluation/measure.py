"""One pass over a split: classes, and boxes at every threshold."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_wsol.evaluation.baselines import centre_gaussian
from keras_wsol.evaluation.reading import view_batches
from keras_wsol.metrics import MaxBoxAccV2, largest_box_ious
from keras_wsol.models import Localizer

RIGHT = 0.5  # IoU from which on a box is right [Russakovsky et al., 2015]
TUNED_ON_TEST = (
    "A threshold that is tuned on test images makes the figure worthless: `tune_on` "
    "must share no image with `test`. The report's `oracle` shows what the best "
    "threshold on the test split would give."
)


def class_ranks(logits: np.ndarray, true_ids: np.ndarray) -> np.ndarray:
    """Counts the classes that stand before the true one; 0 means top-1 right.

    Of equal logits the lower class id stands first, as in `Localizer`. Logits that
    are not finite, those of a model that broke, put the true class behind
    every top-k.

    Args:
        logits: float `(B, num_classes)`.
        true_ids: int `(B,)`.

    Returns:
        int `(B,)`.

    Example:
    >>> logits = np.array([[0.1, 0.9, 0.9], [np.nan, 0.0, 0.0]])
    >>> class_ranks(logits[:1], np.array([2])).tolist()
    [1]
    >>> bool(class_ranks(logits[1:], np.array([1]))[0] > 1000)
    True
    """
    of_true = np.take_along_axis(logits, true_ids[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < true_ids[:, None]
    before = (logits > of_true) | ((logits == of_true) & lower)
    usable = np.isfinite(logits).all(axis=1)
    return np.where(usable, before.sum(axis=1), np.iinfo(np.int64).max)


@dataclass
class Measured:
    """What one pass over a split gives; images that could not be read left out."""

    read: np.ndarray  # (N,) bool, in the order of the split
    top1: np.ndarray  # (count,) bool
    top5: np.ndarray  # (count,) bool
    ious: np.ndarray  # (count,) at one threshold
    gt_known: np.ndarray  # (T,)
    top1_loc: np.ndarray  # (T,)
    max_box_acc_v2: float
    centre: np.ndarray  # (T,) GT-known Loc of the centred Gaussian
    centre_v2: float
    paths: frozenset  # of the images, where the batches give them

    @property
    def count(self) -> int:
        return len(self.top1)


class _Boxes:
    """Localization at every threshold of one kind of score map, batch by batch."""

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds = thresholds
        self.right = np.zeros(len(thresholds))
        self.right_of_top1 = np.zeros(len(thresholds))
        self.v2 = MaxBoxAccV2(thresholds=thresholds)

    def add(
        self, true_boxes: np.ndarray, maps: np.ndarray, top1: np.ndarray
    ) -> np.ndarray:
        """Adds a batch; returns the IoU at each threshold, `(T, B)`."""
        overlap = largest_box_ious(true_boxes, maps, self.thresholds)
        self.right += (overlap >= RIGHT).sum(axis=1)
        self.right_of_top1 += ((overlap >= RIGHT) & top1).sum(axis=1)
        self.v2.update_state(true_boxes, maps)
        return overlap


def measure(
    reader: "MapReader",
    source: Any,
    view: str,
    batch_size: int,
    thresholds: np.ndarray,
    keep: int = 0,
    tuned_on: frozenset = frozenset(),
) -> Measured:
    """One pass; the IoU of each image is kept for the threshold of index `keep`."""
    size = reader.input_size
    gaussian = centre_gaussian(size)
    found, centre = _Boxes(thresholds), _Boxes(thresholds)
    reads, ranks, ious, paths = [], [], [], []
    for batch in view_batches(source, view, size, batch_size):
        paths.extend(np.asarray(batch.get("paths", ())).tolist())
        if not tuned_on.isdisjoint(paths[-len(batch["class_ids"]) :]):
            raise ValueError(TUNED_ON_TEST)
        read = batch["class_ids"] >= 0
        reads.append(read)
        true_ids = np.maximum(batch["class_ids"], 0)[:, None]
        logits, maps = reader.read(batch["images"], true_ids)
        rank = class_ranks(logits, true_ids[:, 0])[read]
        true_boxes = batch["boxes"].astype("float32")[read]
        overlap = found.add(true_boxes, maps[read, 0], rank == 0)
        centred = np.broadcast_to(gaussian, (len(rank), *size))
        centre.add(true_boxes, centred, rank == 0)
        ranks.append(rank)
        ious.append(overlap[keep])
    count = sum(map(len, ranks))
    if not count:
        raise ValueError(
            "The split has no image that could be read, so there is nothing to measure."
        )
    rank = np.concatenate(ranks)
    return Measured(
        read=np.concatenate(reads),
        top1=rank == 0,
        top5=rank < 5,
        ious=np.concatenate(ious),
        gt_known=found.right / count,
        top1_loc=found.right_of_top1 / count,
        max_box_acc_v2=float(found.v2.result()),
        centre=centre.right / count,
        centre_v2=float(centre.v2.result()),
        paths=frozenset(paths),
    )


class MapReader:
    """Reads logits and score maps of given classes, without looking for boxes."""

    def __init__(self, localizer: Localizer) -> None:
        self.input_size = localizer.input_size
        images = keras.Input((*self.input_size, 3), name="images")
        class_ids = keras.Input((1,), dtype="int32", name="class_ids")
        found = localizer.find_maps(images, class_ids)
        self._model = keras.Model(
            [images, class_ids], [found["logits"], found["score_maps"]]
        )
        self._largest = 0

    def read(
        self, images: np.ndarray, class_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives logits `(B, num_classes)` and score maps `(B, 1, h, w)`."""
        # A short last batch is filled up: a new shape would be traced anew.
        count = len(images)
        self._largest = max(self._largest, count)
        fill = [(0, self._largest - count)]
        images = np.pad(images, fill + [(0, 0)] * 3)
        class_ids = np.pad(class_ids, [*fill, (0, 0)])
        logits, maps = self._model.predict_on_batch([images, class_ids])
        return logits[:count], maps[:count]
