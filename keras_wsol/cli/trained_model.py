"""The commands that measure, compare and export trained models."""

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol import data, evaluation
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.data.images import MAX_PIXELS, VIEWS
from keras_wsol.evaluation.evaluate import described_map
from keras_wsol.export import export_litert, export_onnx, export_saved_model
from keras_wsol.files import replaced
from keras_wsol.models import class_names_of

GALLERY_IMAGES = 48  # about 1 MB of the page


def evaluate_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `evaluate`."""
    shared.add_model(add)
    add("--data", "folder of the images", type=shared.existing, required=True)
    text = "images by class, measured on --boxes; or CUB-200-2011, on its split test"
    add("--dataset", text, default="folder", choices=["folder", "cub"])
    text = "CSV path,x0,y0,x1,y1 in pixels; an image without a box is not measured"
    add("--boxes", text, "none, for CUB alone", type=shared.existing)
    text = "only images that `train` kept for validation"
    add("--only-val", text, action="store_true")
    text = "choose the threshold on this CSV of other images, or split of CUB; or none"
    add("--tune-on", text, "none, or train-fullsup of CUB")
    text = "write the threshold that was chosen into the model; later commands use it"
    add("--save", text, action="store_true")
    add("--view", "the image, or its centre", default=VIEWS[0], choices=VIEWS)
    add("--batch-size", "images in a batch", type=shared.count, default=32)
    add("--out", "folder to write", type=Path, required=True)


def evaluate(options: argparse.Namespace) -> None:
    r"""A trained model and images with boxes to a table, report.html and report.json.

    The rows below the model's are boxes made without looking at the image: a model has
    to do better. A threshold decides how large boxes are. With --tune-on it is chosen
    on other images, and with --save kept; some 30 boxes drawn by hand are a beginning.

    Example:
      keras-wsol evaluate --model runs/birds/localizer.keras --data birds \
        --boxes test.csv --tune-on thirty.csv --save --out runs/birds/test
    """
    cub = options.dataset == "cub"
    if cub == bool(options.boxes) or (cub and options.only_val):
        raise ValueError("A folder needs --boxes; CUB has its own, and no --only-val.")
    tuned = options.tune_on != "none" and bool(cub or options.tune_on)
    if options.save and not tuned:
        raise ValueError("--save needs --tune-on: what the threshold is chosen on.")
    if options.save and options.view != "whole":
        raise ValueError(
            "--save needs --view whole, as `localize` sees images. Received: --view "
            f"{options.view}."
        )
    written = options.model.stat().st_mtime_ns
    localizer = shared.load_localizer(options)
    with shared.owned(options.out):
        _measure(localizer, options)
        if options.save:
            _save_threshold(localizer, options.model, written)


def _measure(localizer: keras.Model, options: argparse.Namespace) -> None:
    """Writes the reports; a threshold that was tuned becomes the localizer's."""
    out = options.out
    test, tune_on = _splits(options, class_names_of(localizer.model))
    shared.say_left_out(out / shared.VERIFIED, *filter(None, [test, tune_on]))
    count = _trained_on(options.model, test.paths).sum()
    if count:
        shared.say(
            f"Warning: {count} of the {len(test)} images were trained on (see "
            f"{options.model.parent / shared.TRAINED_ON}), so the figures are too "
            "good. With --only-val they are left out."
        )
    shared.say(f"Measuring {shared.counted(len(test), 'image')} ...")
    report = evaluation.evaluate(
        localizer,
        test,
        tune_on,
        options.view,
        batch_size=options.batch_size,
        gallery=GALLERY_IMAGES,
    )
    report.to_json(out / "report.json")
    report.to_html(out / "report.html")
    report.to_csv(out / "images.csv", "images")
    print(report.to_markdown())
    print(
        "\nIn per cent. fixed: maps cut at the threshold of the model; oracle: at the"
    )
    print("best one for these very images, an upper bound and no result.")
    if report.tuned:
        print("tuned: at a threshold chosen on other images, which --save keeps.")
        which = Path(options.tune_on).name if options.tune_on else tune_on.split
        how = f"tuned on {len(tune_on)} images of {which} by gt_known_loc"
        localizer.cam_threshold = report.tuned.cam_threshold
        localizer.notes = {**localizer.notes, "threshold": how}
    print(f"Wrote {out}: report.html to look at, report.json, images.csv.")


def _save_threshold(localizer: keras.Model, path: Path, written: int) -> None:
    """Replaces the file of a model by one with the threshold."""
    if path.stat().st_mtime_ns != written:
        raise FileExistsError(
            f"{path} is another one than before the measurement: another job has "
            "written it meanwhile. It stays as it is."
        )
    with replaced(path) as temporary:
        localizer.save(temporary)
    threshold, how = localizer.cam_threshold, localizer.notes["threshold"]
    print(f"Wrote {path}: a localizer with the threshold {threshold:.3f}, {how}.")


def _trained_on(model: Path, paths: Iterable[str]) -> np.ndarray:
    """Which of the images the run of a model learned from, as far as it says."""
    listed = model.parent / shared.TRAINED_ON
    text = os.fsdecode(listed.read_bytes()) if listed.is_file() else ""
    known = set(text.splitlines())
    return np.array([os.path.realpath(path) in known for path in paths], bool)


def _splits(
    options: argparse.Namespace, names: Sequence[str] | None
) -> tuple[data.ImageDataset, data.ImageDataset | None]:
    """What to measure, and what to choose a threshold on."""
    root, verify, tune_on = options.data, options.out / shared.VERIFIED, options.tune_on
    if options.dataset == "cub":
        test = data.cub200(root, "test", verify=verify)
        if tune_on == "none":
            return test, None
        return test, data.cub200(root, tune_on or "train-fullsup", verify=verify)
    shared.check_folder(root)
    images = data.image_folder(root, class_names=names, verify=verify)
    test = data.boxes_from_csv(images, options.boxes)
    if options.only_val:
        # Images that were moved or renamed since may have changed sides.
        learned = _trained_on(options.model, images.paths)
        if learned.any():
            val = images.take(~learned, "val")
        else:
            val = data.image_folder(root, "val", class_names=names, verify=verify)
        test = test.take(np.isin(test.paths, val.paths), "val")
        if not len(test):
            raise ValueError(
                f"{options.boxes} must have boxes of images in the validation split, "
                f"of which {root} has {len(val)}. It has none of these."
            )
    if tune_on in (None, "none"):
        return test, None
    return test, data.boxes_from_csv(images, tune_on)


def compare_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `compare`."""
    text = "folders that `evaluate` wrote, at least two, the first to compare with"
    text += "; NAME=FOLDER names a method, and the same NAME again one more run of it"
    options = {"nargs": "+", "required": True, "metavar": "NAME=FOLDER"}
    add("--reports", text, type=_named, **options)
    add("--out", "file .csv for the same table", "none", type=Path)


def compare(options: argparse.Namespace) -> None:
    r"""Reports on the same images to a table that says which difference may be noise.

    The reports are compared image by image, which tells smaller differences from
    noise than two figures with an interval each.

    Example:
      keras-wsol compare --reports CAM=runs/cam/test DGDM=runs/dgdm/test
    """
    reports: dict[str, list[Path]] = {}
    for name, folder in options.reports:
        reports.setdefault(name, []).append(folder)
    found = evaluation.compare(reports)
    if options.out:
        found.to_csv(options.out)
    print(found.to_markdown())


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.rpartition("=")
    return (
        (text, Path(text)) if Path(text).exists() else (name, shared.existing(folder))
    )


_FOLDER = "saved_model"
_ENDINGS = {".tflite": "litert", ".onnx": "onnx"}


def export_arguments(add: Callable[..., None]) -> None:
    """Adds the arguments of `export`."""
    shared.add_model(add)
    text = "folder of a SavedModel, such as birds/1; or file .tflite or .onnx"
    add("--out", text, type=Path, required=True)
    default = "by the ending of --out"
    add("--format", "what to write", default, choices=[*_ENDINGS.values(), _FOLDER])
    text = "report.json of `evaluate`, for the card of a SavedModel"
    add("--report", text, "none", type=shared.existing)
    text = "the features that the map is read from, and the logits"
    text = f"give a SavedModel a signature `features`: {text}"
    add("--features", text, action="store_true")
    text = "size of the largest file that a SavedModel decodes"
    add("--max-pixels", text, type=shared.count, default=MAX_PIXELS)
    add("--overwrite", "replace what is at --out", action="store_true")


def export(options: argparse.Namespace) -> None:
    r"""A trained model to SavedModel, LiteRT or ONNX, which runs without this package.

    The threshold goes with it: choose it by `keras-wsol evaluate --tune-on --save`,
    since it moves every box. A --report must be of this model, map and threshold.

    Example:
      keras-wsol export --model runs/birds/localizer.keras \
        --report runs/birds/test/report.json --out saved_models/birds/1
    """
    out = options.out
    form = options.format or _ENDINGS.get(out.suffix.lower(), _FOLDER)
    given = (options.features, options.max_pixels != MAX_PIXELS, options.report)
    if form != _FOLDER and any(given):
        raise ValueError(
            f"--features, --max-pixels and --report are for a SavedModel, not {form}."
        )
    if out.exists() and not options.overwrite:
        raise FileExistsError(f"{out} exists: choose another --out, or --overwrite.")
    if out.is_dir() and form != _FOLDER:
        raise FileExistsError(f"{out} is a folder, so it is not replaced.")
    metrics = _read_report(options.report) if options.report else None
    localizer = shared.load_localizer(options)
    if metrics is not None:
        _check_report(options.report, metrics, localizer)
    shared.say(f"Writing {out} ...")
    if form == _FOLDER:
        names = ("overwrite", "max_pixels", "features")
        given = {name: getattr(options, name) for name in names}
        export_saved_model(localizer, out, metrics=metrics, **given)
    else:
        write = export_litert if form == "litert" else export_onnx
        write(localizer, out, overwrite=options.overwrite)
    print(f"Wrote {out}.")


def _read_report(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} must be a report.json. {error}.") from error


def _check_report(path: Path, report: dict[str, Any], localizer: keras.Model) -> None:
    """Refuses a report of another model, map, size or threshold."""
    own = {
        "model": localizer.model.name,
        "score_map": described_map(localizer),
        "image_size": list(localizer.input_size),
    }
    differs = [
        f"{name} was {report.get(name)}, not {value}"
        for name, value in own.items()
        if report.get(name) != value
    ]
    measured = [report[x]["cam_threshold"] for x in ("fixed", "tuned") if report.get(x)]
    threshold = localizer.cam_threshold
    if not any(math.isclose(x, threshold, abs_tol=1e-6) for x in measured):
        differs.append(f"the threshold was one of {measured}, not {threshold}")
    if differs:
        raise ValueError(
            f"{path} is of another localizer: {'; '.join(differs)}. Measure this one "
            "by `keras-wsol evaluate`."
        )
