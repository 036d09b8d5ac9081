"""One pass over a split: a table with a row an image, from which all figures come."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import keras
import numpy as np

from keras_wsol.boxes import sweep_best_iou
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.data.dataset import padded_boxes
from keras_wsol.data.synthetic import bounds
from keras_wsol.metrics import functional
from keras_wsol.metrics.functional import V2_IOU_THRESHOLDS
from keras_wsol.models.tune import IOU_THRESHOLD, measured_batches


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageTable:
    """What came of each image, a row each, in the order of the split.

    Boxes are in pixels of the view's image, which has the model's input size.
    """

    thresholds: np.ndarray = field(repr=False)  # float32 (T,), where maps are cut
    on_grid: np.ndarray = field(repr=False)  # (T,), false for what V2 leaves out
    kept: int  # index of the threshold that boxes and errors are of
    paths: np.ndarray  # (N,) strings; numbers where the batches give no paths
    class_ids: np.ndarray  # int32 (N,), true classes
    ranks: np.ndarray  # int32 (N,), how many classes stand before the true one
    predicted_ids: np.ndarray  # int32 (N,); -1 where logits are not finite
    scores: np.ndarray  # float32 (N,), probability of the top class, or NaN
    iou: np.ndarray  # float32 (N, T), of the true class's box with the best true box
    v2_bits: np.ndarray = field(repr=False)  # uint8 (N, 3, T / 8), see `v2_right`
    boxes: np.ndarray  # float32 (N, 4), of the true class
    true_boxes: np.ndarray  # float32 (N, M, 4), padded with -1
    errors: np.ndarray  # (N,), the words of `box_errors`
    digests: np.ndarray = field(repr=False)  # (N,), by which pixels are known again

    def __len__(self) -> int:
        return len(self.paths)

    def v2_right(self, level: int) -> np.ndarray:
        """Says at which thresholds the best of all boxes is right, boolean `(N, T)`."""
        count = len(self.thresholds)
        return np.unpackbits(self.v2_bits[:, level], axis=1, count=count).astype(bool)

    def right_by_threshold(self, top_k: int | None = None) -> np.ndarray:
        """Counts right boxes by threshold `(T,)`, of images in the `top_k` if given."""
        iou = self.iou if top_k is None else self.iou[self.ranks < top_k]
        return (iou >= IOU_THRESHOLD).sum(axis=0)


def named(paths: Iterable[str]) -> list[str]:
    """Returns paths, without the numbers that stand for those of images in memory."""
    return [str(path) for n, path in enumerate(paths) if str(path) != str(n)]


# Called with the index, path, image and score map of each image.
Watcher = Callable[[int, str, np.ndarray, np.ndarray], None]


def measure(
    localizer: keras.Model,
    source: Any,
    view: str,
    thresholds: np.ndarray,
    on_grid: np.ndarray,
    *,
    kept: int = 0,
    batch_size: int = 32,
    watchers: Sequence[Watcher] = (),
    verbose: bool | str = False,
) -> ImageTable:
    """Measures each image at every threshold, in one pass."""
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    done = 0
    for batch, logits, maps in measured_batches(
        localizer, source, view, batch_size, verbose
    ):
        count = len(batch["class_ids"])
        batch = {"paths": np.arange(done, done + count).astype(str), **batch}
        for name, values in _row_of_each(batch, logits, maps, thresholds, kept).items():
            rows[name].append(values)
        for n, path in enumerate(batch["paths"]):
            for watch in watchers:
                watch(done + n, str(path), batch["images"][n], maps[n])
        done += count
    if not done:
        raise ValueError("The split has no image, so there is nothing to measure.")
    rows["true_boxes"] = [padded_boxes([*chain(*rows["true_boxes"])], 0)]
    return ImageTable(
        thresholds=thresholds,
        on_grid=on_grid,
        kept=kept,
        **{name: np.concatenate(parts) for name, parts in rows.items()},
    )


def _row_of_each(
    batch: dict[str, np.ndarray],
    logits: np.ndarray,
    maps: np.ndarray,
    thresholds: np.ndarray,
    kept: int,
) -> dict[str, np.ndarray]:
    class_ids = batch["class_ids"].astype("int32")
    true_boxes = batch["boxes"].astype("float32")
    boxes, iou = functional.largest_boxes_and_iou(true_boxes, maps, thresholds)
    best = sweep_best_iou(maps, thresholds, true_boxes).T[:, None]  # (B, 1, T)
    levels = np.array(V2_IOU_THRESHOLDS, best.dtype)[:, None]
    ranks = functional.class_ranks(logits, class_ids)
    predicted, scores = _top_class(logits)
    enclosing = enclosing_boxes(maps, thresholds[kept])
    pixels = np.ascontiguousarray(batch["images"], "float32")
    digests = [hashlib.blake2b(x, digest_size=16).hexdigest() for x in pixels]
    return {
        "paths": batch["paths"],
        "class_ids": class_ids,
        "ranks": ranks.astype("int32"),
        "predicted_ids": predicted.astype("int32"),
        "scores": scores.astype("float32"),
        "iou": iou,
        "v2_bits": np.packbits(functional.is_right(best, levels), axis=-1),
        "boxes": boxes[:, kept],
        "true_boxes": true_boxes,
        "errors": box_errors(boxes[:, kept], enclosing, true_boxes, ranks == 0),
        "digests": np.array(digests, "S32"),
    }


def _top_class(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top class, of equal ones the first, and its probability; -1 and NaN if none."""
    usable = np.isfinite(logits).all(axis=1)
    logits = np.where(usable[:, None], logits, 0).astype("float64")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponentials.max(axis=1) / exponentials.sum(axis=1)
    return np.where(usable, logits.argmax(axis=1), -1), np.where(usable, scores, np.nan)


INSIDE = 0.9  # share of an area from which on it lies inside, ours

ERRORS = (
    "right",
    "wrong class",
    "too small",
    "too large",
    "several parts",
    "elsewhere",
    "no box",
)


def box_errors(
    boxes: np.ndarray,
    enclosing: np.ndarray,
    true_boxes: np.ndarray,
    class_right: np.ndarray,
) -> np.ndarray:
    """Says what is wrong with each box, in one word an image.

    The box is that of the largest component of the score map of the true class, at one
    threshold. Its true box is the one of best IoU (of equal ones the first). The first
    of these that holds is the word:

    1. `"no box"`: the box has no area; no cell of the map is above the threshold.
    2. `"right"`: IoU of at least 0.5, and the model's top class is right.
    3. `"wrong class"`: IoU of at least 0.5, but another class is the model's top one.
    4. `"several parts"`: the box around all components, at the same threshold, has an
       IoU of at least 0.5 with a true box.
    5. `"too small"`: at least 90 % of the box's area lies in its true box.
    6. `"too large"`: at least 90 % of its true box's area lies in the box.
    7. `"elsewhere"`: the rest, also every box of an image that has no true box.

    So the share of `"right"` is Top-1 Loc, and with that of `"wrong class"` it is
    GT-known Loc. The words from the fourth on are said of the box alone, whatever the
    top class.
    """
    boxes, true_boxes = boxes.astype("float32"), true_boxes.astype("float32")
    around = enclosing.astype("float32")
    both = functional.best_iou(np.stack([boxes, around], axis=1), true_boxes)  # (N, 2)
    right, together = functional.is_right(both, IOU_THRESHOLD).T
    in_true, in_box = _shares_inside(boxes, true_boxes)
    rules = {
        "no box": _areas(boxes) == 0,
        "right": right & class_right,
        "wrong class": right,
        "several parts": together,
        "too small": in_true >= INSIDE,
        "too large": in_box >= INSIDE,
    }
    words = np.select(list(rules.values()), list(rules), default="elsewhere")
    return words.astype("<U13")  # the longest, in any batch


def enclosing_boxes(score_maps: np.ndarray, cam_threshold: float) -> np.ndarray:
    """Boxes all cells above a threshold together."""
    maps = np.asarray(score_maps, "float32")
    # Nothing is above NaN.
    cuts = np.float32(cam_threshold) * maps.max(axis=(1, 2))
    above = maps > cuts[:, None, None]
    return np.where(above.any(axis=(1, 2))[:, None], bounds(above), np.float32(0))


def _shares_inside(
    boxes: np.ndarray, true_boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How much of a box is in its true box, and of the true box in it, `(N,)` each."""
    if not true_boxes.shape[1]:
        return np.zeros((2, len(boxes)), "float32")
    chosen = pairwise_iou(boxes[:, None], true_boxes, np)[:, 0].argmax(axis=1)
    true_box = true_boxes[np.arange(len(boxes)), chosen]
    near = np.maximum(boxes[:, :2], true_box[:, :2])
    far = np.minimum(boxes[:, 2:], true_box[:, 2:])
    common = _areas(np.concatenate([near, far], axis=1))
    return tuple(common / np.maximum(_areas(x), 1e-9) for x in (boxes, true_box))


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(axis=1)
