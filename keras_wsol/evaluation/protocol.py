"""One pass over a split: classes, boxes at every threshold, and the report."""

from typing import Any

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.data.images import check_view
from keras_wsol.data.progress_line import ProgressLine
from keras_wsol.evaluation.at_threshold import AtThreshold
from keras_wsol.evaluation.best_index import best_index
from keras_wsol.evaluation.box_errors import ERRORS
from keras_wsol.evaluation.class_check import check_classes
from keras_wsol.evaluation.even_sample import EvenSample
from keras_wsol.evaluation.image_results import ImageResults
from keras_wsol.evaluation.intervals import mean_interval, share_interval
from keras_wsol.evaluation.measure import MapReader, Measured, measure
from keras_wsol.evaluation.report import Report
from keras_wsol.evaluation.results_by_image import class_rows
from keras_wsol.evaluation.seen_images import TUNED_ON_TEST, SeenImages, real_paths
from keras_wsol.metrics import threshold_grid
from keras_wsol.models import Localizer, class_names_of


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
    verbose: bool | str = "auto",
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

    An image is refused as one of `tune_on` if its file is one of theirs, whatever the
    spelling of its path, or if its pixels in the view are equal to the last digit.
    Copies that were stored or resized anew, under another name, are not noticed.

    MaxBoxAccV2 is `metrics.MaxBoxAccV2` on the grid of thresholds, which does not hold
    the localizer's own threshold unless it lies on the grid.

    Memory does not grow with the images but for some 500 bytes of each.

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
        verbose: Whether to say on standard error how far the work is and how long the
            rest will take; `"auto"`: in a terminal or notebook.

    Returns:
        The report.

    Raises:
        ValueError: `test` and `tune_on` share an image, a split is empty or has
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
        check_classes(localizer, split)
    grid = threshold_grid(num_thresholds)
    fixed = np.float32(localizer.cam_threshold)
    thresholds = np.union1d(grid, fixed)
    chosen = {"fixed": int(np.searchsorted(thresholds, fixed))}
    centre_chosen = dict(chosen)
    reader = MapReader(localizer)
    seen = None if tune_on is None else SeenImages()
    if tune_on is not None:
        line = ProgressLine("Tuning the threshold", verbose)
        held_out = measure(
            MapReader(localizer, second_look=False),  # of the box of the true class
            tune_on,
            view,
            batch_size,
            thresholds,
            seen=seen,
            line=line,
        )
        chosen["tuned"] = best_index(held_out.gt_known)
        centre_chosen["tuned"] = best_index(held_out.baselines.centre_curve())
    keep = chosen.get("tuned", chosen["fixed"])
    measured = measure(
        reader,
        test,
        view,
        batch_size,
        thresholds,
        keep,
        grid=grid,
        tuned_on=seen,
        sample=sample,
        masks=masks,
        line=ProgressLine("Measuring", verbose),
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
        top1_loc_curve=measured.top1_loc,
        iou=measured.results.iou,
        notes=_what_is_read(localizer)
        | _notes(
            test,
            tune_on,
            measured.num_without_box,
            0 if seen is None else seen.repeated,
        ),
        results=measured.results,
        per_class=class_rows(measured.results, class_names),
        errors=_shares(measured.results.errors),
        errors_by_class=_shares_by_class(measured.results),
        top1_cls_interval=share_interval(measured.top1_cls, measured.num_images),
        max_box_acc_v2_interval=mean_interval(_v2_of_images(measured.results)),
        class_names=class_names,
        gallery=measured.gallery,
        image_size=reader.input_size,
    )


def _at(thresholds: np.ndarray, index: int, measured: Measured) -> AtThreshold:
    gt_known, top1_loc = measured.gt_known[index], measured.top1_loc[index]
    return AtThreshold(
        cam_threshold=float(thresholds[index]),
        gt_known_loc=float(gt_known),
        top1_loc=float(top1_loc),
        gt_known_interval=share_interval(gt_known, measured.num_images),
        top1_interval=share_interval(top1_loc, measured.num_images),
        top5_loc=float(measured.top5_loc[index]),
        mean_iou=float(measured.mean_iou[index]),
    )


def _shares(words: np.ndarray) -> dict[str, float]:
    """Share of each word but `"unread"` among the images that could be read."""
    count = (words != "unread").sum()
    names = [name for name in ERRORS if name != "unread"]
    return {name: float((words == name).sum() / count) for name in names}


def _shares_by_class(results: ImageResults) -> dict[str, dict[str, float]]:
    """Shares of `_shares` once more, of those whose class is right and wrong."""
    read = results.errors != "unread"
    class_right = results.predicted_ids == results.class_ids
    return {
        name: {
            word: float(((results.errors == name) & of_word & read).sum() / read.sum())
            for word, of_word in (("right", class_right), ("wrong", ~class_right))
        }
        for name in ERRORS
        if name != "unread"
    }


def _v2_of_images(results: ImageResults) -> np.ndarray:
    """Share of the three IoU at which each image that could be read is right."""
    return results.max_box_acc_v2_hits[results.class_ids >= 0].mean(axis=1)


def _class_names(localizer: Localizer, test: Any) -> tuple[str, ...]:
    names = class_names_of(localizer.model) or getattr(test, "class_names", ())
    return tuple(names)


def _check_splits(test: Any, tune_on: Any) -> None:
    if tune_on is None:
        return
    same = tune_on is test
    if isinstance(test, ImageDataset) and isinstance(tune_on, ImageDataset):
        same = same or bool(real_paths(test.paths) & real_paths(tune_on.paths))
    if same:
        raise ValueError(TUNED_ON_TEST)


def _what_is_read(localizer: Localizer) -> dict[str, str]:
    """Says what a localizer reads that is no plain class activation map."""
    said = {}
    options = [
        f"{name}={value!r}"
        for name, value in localizer.map_options.items()
        if isinstance(value, bool | int | float)
    ]
    if localizer.score_map != "cam" or options or localizer.guided_filter:
        layer = [] if localizer.layer is None else [f"of {localizer.layer}"]
        said["score map"] = " ".join([localizer.score_map, *layer, *options])
    if localizer.guided_filter:
        filtered = localizer.guided_filter_options.items()
        said["guided filter"] = ", ".join(f"{name} {value}" for name, value in filtered)
    if localizer.second_look:
        said["classes"] = "of the image and of the crop of its box"
    return said


def _notes(
    test: Any, tune_on: Any, num_without_box: int, num_repeated: int
) -> dict[str, str]:
    notes = dict(getattr(test, "notes", {}))
    if tune_on is not None:
        notes |= getattr(tune_on, "notes", {})
        split = getattr(tune_on, "split", "the batches given")
        notes["tuned threshold"] = f"best GT-known Loc on {split}"
    if num_repeated:
        notes["images that the threshold was tuned on"] = (
            f"{num_repeated}, by their pixels"
        )
    if num_without_box:
        notes["images without a true box"] = f"{num_without_box}, counted as wrong"
    return notes
