"""One pass over a split: classes, boxes at every threshold, and the report."""

from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.views import check_view
from keras_wsol.evaluation.box_errors import ERRORS
from keras_wsol.evaluation.even_sample import EvenSample
from keras_wsol.evaluation.measure import (
    TUNED_ON_TEST,
    MapReader,
    Measured,
    measure,
)
from keras_wsol.evaluation.report import AtThreshold, Report
from keras_wsol.evaluation.results_by_image import class_rows
from keras_wsol.metrics import threshold_grid
from keras_wsol.models import Localizer, class_names_of

_BOOTSTRAP_DRAWS = 10_000


def evaluate(
    model: keras.Model,
    test: Any,
    tune_on: Any = None,
    view: str = "whole",
    *,
    batch_size: int = 32,
    num_thresholds: int = 1000,
    gallery: int = 0,
    masks: Any = None,
) -> Report:
    """Measures classification and localization on a split, in one pass.

    Boxes are those of the largest component of the score map of the true class
    (Top-1 Loc needs no other: where the top class is right, it is the true one). A
    box is right if its IoU with any true box is at least 0.5. Three thresholds stand
    side by side: that of the localizer, the one that is best on `tune_on`, and the
    one that is best on `test` itself, which is an upper bound and no result.

    An image without a true box in the view counts as wrong, and the report's notes
    say how many there are; one whose score map is empty or holds a NaN has no box; one
    whose logits are not finite has no class.

    Memory does not grow with the images but for a few numbers of each.

    Args:
        model: A `Localizer`, or a classifier that one can be made of.
        test: An `ImageDataset` with boxes (whose unreadable files are counted and left
            out), or batches of `ImageDataset.batches(with_boxes=True)`, or any
            iterable of dictionaries like these.
        tune_on: The same of a held-out split whose boxes may be used to choose the
            threshold, such as `"train-fullsup"`; `None` for no tuned threshold.
        view: `"whole"`: the image squashed to the input size, as served and as in
            wsolevaluation. `"center_crop"`: resized to 256/224 of it, and the centre
            cut out, as in ADL's code; boxes are cut along. Batches are taken to show
            the whole image; an `ImageDataset` is read in the view asked for.
        batch_size: Images in a batch of an `ImageDataset`.
        num_thresholds: Size of the threshold grid in [0, 1).
        gallery: How many images the report keeps for its page, evenly spread over the
            split. About 20 kB and a score map each.
        masks: For `PxAP`, if the view is the whole image: masks in the order of
            `test`, such as `data.cub200_masks(root, test.paths)` gives, or by name,
            such as `data.openimages_masks` gives.

    Returns:
        The report.

    Raises:
        ValueError: `test` and `tune_on` are the same split, a split is empty or has
            no boxes, a true box is inverted, a class is not one of the model's, an
            image has no mask though there are masks, or an argument is out of range.

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
    if masks is not None and view != "whole":
        raise ValueError(
            "Masks show the whole image: PxAP needs view='whole'. Received: "
            f"view={view!r}."
        )
    sample = EvenSample(gallery)
    _check_splits(test, tune_on)
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    for split in (test, tune_on):
        _check_classes(localizer, split)
    fixed = np.float32(localizer.cam_threshold)
    thresholds = np.union1d(threshold_grid(num_thresholds), fixed)
    chosen = {"fixed": int(np.searchsorted(thresholds, fixed))}
    centre_chosen = dict(chosen)
    reader = MapReader(localizer)
    tuned_on: frozenset = frozenset()
    if tune_on is not None:
        held_out = measure(reader, tune_on, view, batch_size, thresholds)
        chosen["tuned"] = best_index(held_out.gt_known)
        centre_chosen["tuned"] = best_index(held_out.baselines.centre_curve())
        tuned_on = held_out.paths
    keep = chosen.get("tuned", chosen["fixed"])
    measured = measure(
        reader,
        test,
        view,
        batch_size,
        thresholds,
        keep,
        tuned_on=tuned_on,
        sample=sample,
        masks=masks,
    )
    chosen["oracle"] = best_index(measured.gt_known)
    centre = measured.baselines.centre_curve()
    centre_chosen["oracle"] = best_index(centre)
    at = {name: _at(thresholds, index, measured) for name, index in chosen.items()}
    class_names = _class_names(localizer, test)
    return Report(
        model=localizer.model.name,
        dataset=getattr(test, "name", "batches"),
        split=getattr(test, "split", "test"),
        view=view,
        num_images=measured.num_images,
        num_skipped=measured.num_skipped,
        top1_cls=measured.top1_cls,
        top5_cls=measured.top5_cls,
        fixed=at["fixed"],
        tuned=at.get("tuned"),
        oracle=at["oracle"],
        max_box_acc_v2=measured.max_box_acc_v2,
        px_ap=measured.px_ap,
        centre={
            **{name: float(centre[i]) for name, i in centre_chosen.items()},
            "max_box_acc_v2": measured.baselines.centre_v2(),
        },
        baselines=measured.baselines.boxes(),
        thresholds=thresholds,
        gt_known_curve=measured.gt_known,
        iou=measured.results.iou,
        notes=_notes(test, tune_on, measured.num_without_box),
        results=measured.results,
        per_class=class_rows(measured.results, class_names),
        errors=_shares(measured.results.errors),
        class_names=class_names,
        gallery=measured.gallery,
        image_size=reader.input_size,
    )


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


def _at(thresholds: np.ndarray, index: int, measured: Measured) -> AtThreshold:
    gt_known, top1_loc = measured.gt_known[index], measured.top1_loc[index]
    return AtThreshold(
        cam_threshold=float(thresholds[index]),
        gt_known_loc=float(gt_known),
        top1_loc=float(top1_loc),
        gt_known_interval=_interval(gt_known, measured.num_images),
        top1_interval=_interval(top1_loc, measured.num_images),
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


def _shares(words: np.ndarray) -> dict[str, float]:
    """Share of each word but `"unread"` among the images that could be read."""
    count = (words != "unread").sum()
    names = [name for name in ERRORS if name != "unread"]
    return {name: float((words == name).sum() / count) for name in names}


def _class_names(localizer: Localizer, test: Any) -> tuple[str, ...]:
    names = class_names_of(localizer.model) or getattr(test, "class_names", ())
    return tuple(names)


def _check_splits(test: Any, tune_on: Any) -> None:
    if tune_on is None:
        return
    same = tune_on is test
    if isinstance(test, ImageDataset) and isinstance(tune_on, ImageDataset):
        same = same or bool(set(test.paths.tolist()) & set(tune_on.paths.tolist()))
    if same:
        raise ValueError(TUNED_ON_TEST)


def _check_classes(localizer: Localizer, split: Any) -> None:
    if not isinstance(split, ImageDataset):
        return
    names = class_names_of(localizer.model)
    if split.num_classes > localizer.head.num_classes or (
        names is not None and tuple(names) != tuple(split.class_names)
    ):
        raise ValueError(
            f"The model must know the classes of {split.name!r} in their order. It has "
            f"{localizer.head.num_classes} classes ({list(names or ())[:3]} ...), the "
            f"split {split.num_classes} ({list(split.class_names)[:3]} ...)."
        )


def _notes(test: Any, tune_on: Any, num_without_box: int) -> dict[str, str]:
    notes = dict(getattr(test, "notes", {}))
    if tune_on is not None:
        notes |= getattr(tune_on, "notes", {})
        split = getattr(tune_on, "split", "the batches given")
        notes["tuned threshold"] = f"best GT-known Loc on {split}"
    if num_without_box:
        notes["images without a true box"] = f"{num_without_box}, counted as wrong"
    return notes
