"""One pass over a split: classes, and boxes at every threshold."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import sweep_largest_boxes
from keras_wsol.data import ImageDataset
from keras_wsol.data.progress_line import ProgressLine, tracked
from keras_wsol.evaluation.baselines import Baselines
from keras_wsol.evaluation.box_errors import RIGHT, best_overlaps, enclosing_boxes
from keras_wsol.evaluation.even_sample import EvenSample
from keras_wsol.evaluation.image_results import GalleryImage, ImageResults
from keras_wsol.evaluation.mask_measure import PxAPOfImages
from keras_wsol.evaluation.reading import has_area, view_batches
from keras_wsol.evaluation.results_by_image import ResultsByImage
from keras_wsol.evaluation.seen_images import SeenImages
from keras_wsol.evaluation.v2_by_image import V2ByImage
from keras_wsol.models import Localizer


def class_ranks(logits: np.ndarray, true_ids: np.ndarray) -> np.ndarray:
    """Counts the classes that stand before the true one; 0 means top-1 right."""
    of_true = np.take_along_axis(logits, true_ids[:, None], axis=1)
    lower = np.arange(logits.shape[1]) < true_ids[:, None]
    before = (logits > of_true) | ((logits == of_true) & lower)
    usable = np.isfinite(logits).all(axis=1)
    return np.where(usable, before.sum(axis=1), np.iinfo(np.int64).max)


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """What one pass over a split gives; images that could not be read left out."""

    num_images: int
    num_skipped: int
    top1_cls: float
    top5_cls: float
    gt_known: np.ndarray  # (T,)
    top1_loc: np.ndarray  # (T,)
    top5_loc: np.ndarray  # (T,)
    mean_iou: np.ndarray  # (T,)
    max_box_acc_v2: float
    px_ap: float | None
    baselines: Baselines
    results: ImageResults  # of every image, at one threshold
    gallery: tuple[GalleryImage, ...]
    num_without_box: int  # images without a true box in the view


class _Sums:
    """Localization at every threshold, summed up batch by batch."""

    def __init__(self, thresholds: np.ndarray, grid: np.ndarray) -> None:
        self.thresholds = thresholds
        self.right = np.zeros(len(thresholds))
        self.right_of_top1 = np.zeros(len(thresholds))
        self.right_of_top5 = np.zeros(len(thresholds))
        self.overlap = np.zeros(len(thresholds))
        self.v2 = V2ByImage(grid)

    def add(
        self, true_boxes: np.ndarray, maps: np.ndarray, rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds a batch; returns boxes `(B, T, 4)` and their IoU `(B, T)`."""
        boxes = sweep_largest_boxes(maps, self.thresholds).transpose(1, 0, 2)
        overlap = best_overlaps(boxes, true_boxes)
        right = overlap >= RIGHT
        self.right += right.sum(axis=0)
        self.right_of_top1 += right[rank < 1].sum(axis=0)
        self.right_of_top5 += right[rank < 5].sum(axis=0)
        self.overlap += overlap.sum(axis=0, dtype="float64")
        self.v2.add(true_boxes, maps)
        return boxes, overlap


def measure(
    reader: "MapReader",
    source: Any,
    view: str,
    batch_size: int,
    thresholds: np.ndarray,
    keep: int = 0,
    *,
    grid: np.ndarray | None = None,
    seen: SeenImages | None = None,
    tuned_on: SeenImages | None = None,
    sample: EvenSample | None = None,
    masks: Any = None,
    line: ProgressLine | None = None,
) -> Measured:
    """Measures everything there is to measure, in one pass."""
    grid = thresholds if grid is None else grid
    sums = _Sums(thresholds, grid)
    baselines = Baselines(reader.input_size, thresholds, np.isin(thresholds, grid))
    sample, results = sample or EvenSample(0), ResultsByImage()
    px_ap = None if masks is None else PxAPOfImages(masks, reader.input_size)
    top1, top5, num_without_box = [], [], 0
    batches = view_batches(source, view, reader.input_size, batch_size)
    for batch in told(batches, line, source):
        if tuned_on is not None:
            tuned_on.check(batch, len(results))
        if seen is not None:
            seen.add(batch)
        read = batch["class_ids"] >= 0
        true_ids = np.maximum(batch["class_ids"], 0)
        logits, maps = reader.read(batch["images"], true_ids[:, None])
        maps, logits = maps[read, 0], logits[read]
        true_boxes = batch["boxes"].astype("float32")[read]
        rank = class_ranks(logits, true_ids[read])
        boxes, overlap = sums.add(true_boxes, maps, rank)
        baselines.add(true_boxes)
        top1.append(rank == 0)
        top5.append(rank < 5)
        num_without_box += int((~has_area(true_boxes).any(axis=1)).sum())
        start = len(results)
        results.add(
            batch,
            logits,
            boxes[:, keep],
            overlap[:, keep],
            enclosing_boxes(maps, thresholds[keep]),
        )
        for row, place in enumerate(np.flatnonzero(read)):
            index = start + int(place)
            if sample.wants(index):
                sample.add(index, batch["images"][place], maps[row])
            if px_ap is not None:
                px_ap.add(index, results.path(index), maps[row])
    count = sum(map(len, top1))
    if not count:
        raise ValueError(
            "The split has no image that could be read, so there is nothing to measure."
        )
    hits = sums.v2.hits()
    return Measured(
        num_images=count,
        num_skipped=len(results) - count,
        top1_cls=float(np.concatenate(top1).mean()),
        top5_cls=float(np.concatenate(top5).mean()),
        gt_known=sums.right / count,
        top1_loc=sums.right_of_top1 / count,
        top5_loc=sums.right_of_top5 / count,
        mean_iou=sums.overlap / count,
        max_box_acc_v2=float(hits.mean()),
        px_ap=None if px_ap is None else px_ap.result(),
        baselines=baselines,
        results=results.results(hits),
        gallery=sample.images(),
        num_without_box=num_without_box,
    )


def told(
    batches: Iterable[Mapping[str, Any]], line: ProgressLine | None, source: Any
) -> Iterator[Any]:
    """Gives batches on, and says how many of their images are done."""
    line = line or ProgressLine("", verbose=False)
    total = len(source) if isinstance(source, ImageDataset) else None
    return tracked(batches, line, total, lambda batch: len(batch["class_ids"]))


class _Maps(keras.Model):
    """Images and class ids to logits and score maps."""

    def __init__(self, localizer: Localizer, second_look: bool) -> None:
        # Images in [0, 255] do not survive a cast to float16 on the way in.
        super().__init__(name="maps", dtype="float32")
        self.localizer = localizer
        self.second_look = second_look
        self.built = True

    def call(self, inputs: Any) -> tuple[Any, Any]:
        found = self.localizer.find_maps(*inputs, second_look=self.second_look)
        return found["logits"], found["score_maps"]


class MapReader:
    """Reads logits and score maps of given classes, without looking for boxes."""

    def __init__(self, localizer: Localizer, second_look: bool = True) -> None:
        self.input_size = localizer.input_size
        self.num_classes = localizer.head.num_classes
        self._model = _Maps(localizer, second_look)
        self._largest = 0

    def read(
        self, images: np.ndarray, class_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives logits `(B, num_classes)` and score maps `(B, 1, h, w)`."""
        if class_ids.max(initial=0) >= self.num_classes:
            raise ValueError(
                f"`class_ids` must be in [0, {self.num_classes}), the classes of the "
                "model, or -1 for an image that could not be read. Received: "
                f"{np.unique(class_ids[class_ids >= self.num_classes])[:8]}."
            )
        # A short last batch is filled up: a new shape would be traced anew.
        count = len(images)
        self._largest = max(self._largest, count)
        fill = [(0, self._largest - count)]
        images = np.pad(images, fill + [(0, 0)] * 3)
        class_ids = np.pad(class_ids, [*fill, (0, 0)])
        logits, maps = self._model.predict_on_batch([images, class_ids])
        return logits[:count], maps[:count]
