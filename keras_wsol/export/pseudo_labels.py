"""Boxes of a whole data set, as labels to train a detector on."""

import csv
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_number
from keras_wsol.data import ImageDataset, image_files
from keras_wsol.data.progress_line import ProgressLine
from keras_wsol.export.image_names import lowest_folder, names_below
from keras_wsol.export.label_formats import FORMATS
from keras_wsol.export.label_job import (
    digest_of_images,
    digest_of_model,
    names_of_classes,
)
from keras_wsol.export.label_parts import LabelParts
from keras_wsol.export.labeller import CLASS_IDS, UNREADABLE, Choice, Labeller
from keras_wsol.files import replaced
from keras_wsol.models import Localizer

LEFT_OUT = "left_out.csv"


@dataclass(frozen=True, kw_only=True)
class PseudoLabelsWritten:
    """What `write_pseudo_labels` wrote.

    Attributes:
        path: The file or folder.
        images_root: The folder that paths in it are relative to.
        num_images: Images of the data set.
        num_boxes: Boxes written.
        left_out: Reason to number of images that have no box: `"unreadable"`, `"no
            box"` (the score map is empty) and `"low score"`.
        left_out_path: CSV file with path and reason of each of these.
        unreadable: Paths of the files that could not be read, below `images_root`.
    """

    path: Path
    images_root: Path
    num_images: int
    num_boxes: int
    left_out: Mapping[str, int]
    left_out_path: Path
    unreadable: tuple[str, ...]

    @property
    def num_labelled(self) -> int:
        """Number of images with a box."""
        return self.num_images - sum(self.left_out.values())


def write_pseudo_labels(
    model: keras.Model,
    dataset: ImageDataset | str | Path,
    path: str | Path,
    format: str = "coco",
    *,
    class_ids: str = "predicted",
    min_score: float = 0.0,
    all_components: bool = False,
    images_root: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int = 32,
    part_size: int = 2048,
    progress: Callable[[int, int], None] | None = None,
    verbose: bool | str = "auto",
) -> PseudoLabelsWritten:
    """Writes the boxes that a localizer finds in images, to train a detector on.

    Boxes are in pixels of the image as the data set reads it (`ImageDataset.image`),
    far edge exclusive, clipped to the image: folders turn a photograph upright by its
    EXIF tag, as most trainers of detectors do. The threshold of the localizer moves
    every box: choose it with `evaluation.tune_threshold`, or look at some with
    `evaluation.compare_thresholds`.

    An image without a box is left out of the labels, since a trainer would take it
    for one without an object: files that cannot be read, empty score maps, scores
    below `min_score`. A CSV file lists these with the reason: `left_out.csv` in the
    folder written, or beside the file, as `birds.json.left_out.csv`.

    Output is written under another name and renamed. An interrupted job goes on when
    it is called again with the same images, model and options: its finished parts
    lie in the folder `.NAME.parts` beside the output. Memory does not grow with the
    number of images, apart from their paths.

    Args:
        model: A `Localizer`, or a classifier that one can be made of.
        dataset: The images; or a folder of images, whose classes nobody knows.
        path: What to write: a file `.json` for COCO, a file `.csv`, or a folder for
            YOLO and VOC.
        format: `"coco"`, `"yolo"` (Ultralytics), `"voc"` (Pascal VOC) or `"csv"`; the
            functions in `export/label_formats.py` say what each holds.
        class_ids: `"predicted"`: the box of the class that the model takes for the
            most probable. `"known"`: that of the image's class in the data set; the
            one to use where images are sorted by class.
        min_score: Float in [0, 1]. Probability of the class below which an image is
            left out: with known classes, a way to drop what the model does not
            understand.
        all_components: Whether to write the box of each of the localizer's
            `max_boxes` largest components instead of the largest one's. All have the
            score of the class.
        images_root: Folder that paths in the labels are relative to; default, the
            lowest folder that holds all images.
        overwrite: Whether labels at `path` may be replaced.
        batch_size: Integer of at least 1, images in a batch.
        part_size: Integer of at least 1, images in a part: so many, at most, are
            done again after an interruption.
        progress: Function of two integers, images done and images in all; called at
            the beginning and after each part.
        verbose: Whether to say on standard error how far the work is and how long the
            rest will take; `"auto"`: in a terminal or notebook. Not used where
            `progress` is given.

    Returns:
        What was written.

    Raises:
        FileExistsError: `path`, or the list of what is left out, exists and
            `overwrite` is false; or it is a folder that holds more than labels.
        FileNotFoundError: `dataset` is no folder.
        ValueError: An argument is out of range, the model does not know the classes
            of the data set, two images share a name, a name of an image or class
            cannot be written (not UTF-8, control characters, or a folder `images` in
            it for YOLO), or an interrupted job of other images, another model or
            other options is at `path`.

    Example:
        birds = data.image_folder("birds")
        done = export.write_pseudo_labels(
            localizer, birds, "birds.json", class_ids="known"
        )
        done.num_labelled, done.left_out
    """
    localizer = model if isinstance(model, Localizer) else Localizer(model)
    path = Path(path)
    choice = Choice(
        class_ids=class_ids, min_score=min_score, all_components=all_components
    )
    _check_choice(choice, localizer)
    _check_path(path, format, overwrite)
    _check_counts(batch_size=batch_size, part_size=part_size)
    if not isinstance(dataset, ImageDataset):
        dataset = image_files(dataset)
    class_names = names_of_classes(localizer, dataset, class_ids)
    root = lowest_folder(dataset) if images_root is None else Path(images_root)
    names = _names(root, dataset, format)
    job = {
        "images": digest_of_images(dataset, names, root),
        "model": digest_of_model(localizer, class_names),
        **asdict(choice),
        "part_size": part_size,
    }
    parts = LabelParts(_parts_path(path), job)
    labeller = Labeller(localizer, class_names, choice, batch_size)
    progress = progress or ProgressLine("Finding boxes", verbose)
    _fill(parts, part_size, labeller, dataset, names, progress)
    _write(parts, path, format, class_names)
    written = PseudoLabelsWritten(
        path=path,
        images_root=root,
        num_images=len(dataset),
        num_boxes=sum(1 for _ in parts),
        left_out=dict(Counter(reason for _, reason in parts.left_out())),
        left_out_path=_left_out_path(path, format),
        unreadable=tuple(n for n, reason in parts.left_out() if reason == UNREADABLE),
    )
    parts.delete()
    return written


def _fill(
    parts: LabelParts,
    part_size: int,
    labeller: Labeller,
    dataset: ImageDataset,
    names: list[str],
    progress: Callable[[int, int], None],
) -> None:
    """Finds what is missing in the parts."""
    total = len(dataset)
    done = min(len(parts) * part_size, total)
    rest = dataset.take(np.arange(done, total), dataset.split)
    found = labeller.label(rest, names[done:])
    while done < total:
        progress(done, total)
        parts.append(list(islice(found, part_size)))
        done += part_size
    progress(total, total)


def _write(
    parts: LabelParts, path: Path, format: str, class_names: tuple[str, ...]
) -> None:
    """Writes the labels, and what has none."""
    write = FORMATS[format].write
    if FORMATS[format].suffix is None:
        with replaced(path) as folder:
            write(parts, folder, class_names)
            _write_left_out(parts, folder / LEFT_OUT)
        return
    left_out_path = _left_out_path(path, format)
    with replaced(path) as file, replaced(left_out_path) as left_out:
        write(parts, file, class_names)
        _write_left_out(parts, left_out)


def _left_out_path(path: Path, format: str) -> Path:
    if FORMATS[format].suffix is None:
        return path / LEFT_OUT
    # With the suffix, since `birds.json` and `birds.csv` may lie side by side.
    return path.with_name(f"{path.name}.{LEFT_OUT}")


def _parts_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.parts")


def _names(root: Path, dataset: ImageDataset, format: str) -> list[str]:
    names = names_below(root, dataset, FORMATS[format].a_file_an_image)
    check = FORMATS[format].check_name
    for name in names if check else ():
        check(name)
    return names


def _write_left_out(parts: LabelParts, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows(parts.left_out())


def _check_choice(choice: Choice, localizer: Localizer) -> None:
    check_choice("class_ids", choice.class_ids, CLASS_IDS)
    check_number("min_score", choice.min_score)
    if choice.all_components and localizer.max_boxes == 1:
        raise ValueError(
            "`all_components` needs a `Localizer` with `max_boxes` above 1. Received: "
            "max_boxes=1."
        )


def _check_counts(**counts: Any) -> None:
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: "
                f"{name}={value!r}."
            )


def _check_path(path: Path, format: str, overwrite: bool) -> None:
    check_choice("format", format, tuple(FORMATS))
    suffix = FORMATS[format].suffix
    if suffix is not None and path.suffix.lower() != suffix:
        raise ValueError(
            f"`path` must end in {suffix!r} for format={format!r}. Received: {path}."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists. Choose another path, or pass `overwrite=True`."
        )
    if path.exists() and (suffix is None) != path.is_dir():
        raise FileExistsError(f"{path} exists and holds no labels of {format!r}.")
    if suffix is not None:
        # An interrupted job may have renamed its list, and nothing else.
        begun = _parts_path(path).is_dir()
        _check_left_out_path(_left_out_path(path, format), overwrite or begun)
    if path.is_dir():
        # Such as the images, which may lie there for a trainer to find.
        others = {entry.name for entry in path.iterdir()} - FORMATS[format].entries
        if others:
            raise FileExistsError(
                f"{path} holds more than labels: {sorted(others)[:8]}. Choose another "
                "path, or move that away."
            )


def _check_left_out_path(path: Path, overwrite: bool) -> None:
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(
            f"{path}, where images without a label are listed, exists. Choose another "
            "path for the labels, move that away, or, if it is a file, pass "
            "`overwrite=True`."
        )
