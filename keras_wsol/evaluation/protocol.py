"""One pass over a split: classes, boxes at every threshold, and the report."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.views import check_view
from keras_wsol.evaluation.baselines import centre_gaussian
from keras_wsol.evaluation.reading import view_batches
from keras_wsol.evaluation.report import AtThreshold, Report
from keras_wsol.metrics import MaxBoxAccV2, largest_box_ious, threshold_grid
from keras_wsol.models import Localizer

RIGHT = 0.5  # IoU from which on a box is right [Russakovsky et al., 2015]
_BOOTSTRAP_DRAWS = 10_000
_TUNED_ON_TEST = (
    "A threshold that is tuned on test images makes the figure worthless: `tune_on` "
    "must share no image with `test`. The report's `oracle` shows what the best "
    "threshold on the test split would give."
)


def evaluate(
    model: keras.Model,
    test: Any,
    tune_on: Any = None,
    view: str = "whole",
    *,
    batch_size: int = 32,
    num_thresholds: int = 1000,
) -> Report:
    """Measures classification and localization on a split, in one pass.

    Boxes are those of the largest component of the score map of the true class
    (Top-1 Loc needs no other: where the top class is right, it is the true one). A
    box is right if its IoU with any true box is at least 0.5. Three thresholds stand
    side by side: that of the localizer, the one that is best on `tune_on`, and the
    one that is best on `test` itself, which is an upper bound and no result.

    Args:
        model: A `Localizer`, or a classifier that one can be made of.
        test: An `ImageDataset` with boxes (whose unreadable files are counted and left
            out), or batches of `ImageDataset.batches(with_boxes=True)`, or any
            iterable of dictionaries like these.
        tune_on: The same of a held-out split whose boxes may be used to choose the
            threshold, such as `"train-fullsup"`; `None` for no tuned threshold.
        view: `"whole"`: the image squashed to the input size, as served and as in
            wsolevaluation. `"center_crop"`: resized to 256/224 of it, and the centre
            cut out, as in ADL's code; boxes are cut along.
        batch_size: Images in a batch of an `ImageDataset`.
        num_thresholds: Size of the threshold grid in [0, 1).

    Returns:
        The report.

    Raises:
        ValueError: `test` and `tune_on` are the same split, a split is empty or has
            no boxes, or `view` is unknown.

    Example:
        localizer = models.Localizer(model)
        report = evaluation.evaluate(
            localizer,
            data.cub200(root, "test"),
            tune_on=data.cub200(root, "train-fullsup"),
        )
        report.tuned.top1_loc
    """
    check_view(view)
    _check_splits(test, tune_on)
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    fixed = np.float32(localizer.cam_threshold)
    thresholds = np.union1d(threshold_grid(num_thresholds), fixed)
    chosen = {"fixed": int(np.searchsorted(thresholds, fixed))}
    centre_chosen = dict(chosen)
    reader = _MapReader(localizer)
    tuned_on: frozenset = frozenset()
    if tune_on is not None:
        held_out = _measure(reader, tune_on, view, batch_size, thresholds)
        chosen["tuned"] = best_index(held_out.gt_known)
        centre_chosen["tuned"] = best_index(held_out.centre)
        tuned_on = held_out.paths
    keep = chosen.get("tuned", chosen["fixed"])
    measured = _measure(
        reader, test, view, batch_size, thresholds, keep, tuned_on=tuned_on
    )
    chosen["oracle"] = best_index(measured.gt_known)
    centre_chosen["oracle"] = best_index(measured.centre)
    at = {name: _at(thresholds, index, measured) for name, index in chosen.items()}
    return Report(
        model=localizer.model.name,
        dataset=getattr(test, "name", "batches"),
        split=getattr(test, "split", "test"),
        view=view,
        num_images=measured.count,
        num_skipped=len(measured.read) - measured.count,
        top1_cls=float(measured.top1.mean()),
        top5_cls=float(measured.top5.mean()),
        fixed=at["fixed"],
        tuned=at.get("tuned"),
        oracle=at["oracle"],
        max_box_acc_v2=measured.max_box_acc_v2,
        centre={
            **{name: float(measured.centre[i]) for name, i in centre_chosen.items()},
            "max_box_acc_v2": measured.centre_v2,
        },
        thresholds=thresholds,
        gt_known_curve=measured.gt_known,
        iou=_by_image(measured.ious, measured.read),
        notes=_notes(test, tune_on),
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


def best_index(accuracy: np.ndarray) -> int:
    """Returns where the accuracy is highest; of equal places the middle one.

    Args:
        accuracy: float `(T,)`.

    Returns:
        An index into it.

    Example:
    >>> best_index(np.array([0.5, 0.9, 0.9, 0.9]))
    2
    """
    best = np.flatnonzero(accuracy == accuracy.max())
    return int(best[len(best) // 2])


@dataclass
class _Measured:
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
        self.v2 = MaxBoxAccV2(num_thresholds=len(thresholds))
        self.v2.thresholds = thresholds

    def add(
        self, true_boxes: np.ndarray, maps: np.ndarray, top1: np.ndarray
    ) -> np.ndarray:
        """Adds a batch; returns the IoU at each threshold, `(T, B)`."""
        overlap = largest_box_ious(true_boxes, maps, self.thresholds)
        self.right += (overlap >= RIGHT).sum(axis=1)
        self.right_of_top1 += ((overlap >= RIGHT) & top1).sum(axis=1)
        self.v2.update_state(true_boxes, maps)
        return overlap


def _measure(
    reader: "_MapReader",
    source: Any,
    view: str,
    batch_size: int,
    thresholds: np.ndarray,
    keep: int = 0,
    tuned_on: frozenset = frozenset(),
) -> _Measured:
    """One pass; the IoU of each image is kept for the threshold of index `keep`."""
    size = reader.input_size
    gaussian = centre_gaussian(size)
    found, centre = _Boxes(thresholds), _Boxes(thresholds)
    reads, ranks, ious, paths = [], [], [], []
    for batch in view_batches(source, view, size, batch_size):
        paths.extend(np.asarray(batch.get("paths", ())).tolist())
        if not tuned_on.isdisjoint(paths[-len(batch["class_ids"]) :]):
            raise ValueError(_TUNED_ON_TEST)
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
    return _Measured(
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


class _MapReader:
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


def _at(thresholds: np.ndarray, index: int, measured: _Measured) -> AtThreshold:
    gt_known, top1_loc = measured.gt_known[index], measured.top1_loc[index]
    return AtThreshold(
        cam_threshold=float(thresholds[index]),
        gt_known_loc=float(gt_known),
        top1_loc=float(top1_loc),
        gt_known_interval=_interval(gt_known, measured.count),
        top1_interval=_interval(top1_loc, measured.count),
    )


def _interval(share: float, count: int) -> tuple[float, float]:
    """Bootstrap 95 % interval of a share of `count` images.

    Drawing images with replacement makes the number of hits binomial, so the hits
    are drawn at once.
    """
    random = np.random.default_rng(0)
    draws = random.binomial(count, min(float(share), 1.0), _BOOTSTRAP_DRAWS) / count
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _by_image(ious: np.ndarray, read: np.ndarray) -> np.ndarray:
    by_image = np.full(len(read), np.nan, "float32")
    by_image[read] = ious
    return by_image


def _check_splits(test: Any, tune_on: Any) -> None:
    if tune_on is None:
        return
    same = tune_on is test
    if isinstance(test, ImageDataset) and isinstance(tune_on, ImageDataset):
        same = same or bool(set(test.paths.tolist()) & set(tune_on.paths.tolist()))
    if same:
        raise ValueError(_TUNED_ON_TEST)


def _notes(test: Any, tune_on: Any) -> dict[str, str]:
    notes = dict(getattr(test, "notes", {}))
    if tune_on is not None:
        notes |= getattr(tune_on, "notes", {})
        split = getattr(tune_on, "split", "the batches given")
        notes["tuned threshold"] = f"best GT-known Loc on {split}"
    return notes
