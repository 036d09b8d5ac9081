"""Boxes of many images, as labels to train a detector on."""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol import files, label_formats
from keras_wsol.arguments import check_choice, check_integer, check_number
from keras_wsol.cam.by_class import has_classes_of
from keras_wsol.data import ImageDataset
from keras_wsol.data.dataset import verified
from keras_wsol.data.image_folder import images_below, of_unknown_class
from keras_wsol.data.numpy_pipeline import turned_otherwise
from keras_wsol.export.saved_model import as_localizer
from keras_wsol.label_formats import LABEL_FORMATS, WRITTEN, LabelFormat, LabelledImage
from keras_wsol.models import Localizer, class_names_of
from keras_wsol.models.localizer_batches import filled

__all__ = ["write_pseudo_labels"]


@dataclass(frozen=True, kw_only=True)
class LabelsWritten:
    """What `write_pseudo_labels` wrote, and what it left out."""

    path: Path
    images_root: Path  # the folder that paths in the labels are relative to
    num_images: int  # with those that are left out
    num_boxes: int
    left_out: tuple[tuple[str, str], ...]  # path and reason of images without a box
    left_out_path: Path  # CSV file of the same
    class_ids: np.ndarray  # (images of the data set,) int32, -1 where left out


def write_pseudo_labels(
    localizer: keras.Model,
    images: ImageDataset | str | Path | Sequence[str | Path],
    path: str | Path,
    format: str = "coco",
    *,
    class_ids: str = "predicted",
    min_score: float = 0.0,
    images_root: str | Path | None = None,
    flat: bool = False,
    overwrite: bool = False,
    batch_size: int = 32,
    verbose: bool | str = "auto",
    then: Callable[[LabelsWritten], None] | None = None,
) -> LabelsWritten:
    """Writes the boxes that a localizer finds in images, to train a detector on.

    Boxes are in pixels of the image as the data set reads it: files are upright, as
    Ultralytics and OpenCV turn JPEG files by their EXIF tag. torchvision and Datumaro
    do not: apply Pillow's `ImageOps.exif_transpose` there. An image has the boxes of
    the localizer's `max_boxes` largest components; the score of each is the probability
    of the class, times its component's share of the largest.

    The folder of YOLO or VOC holds links to the images, or copies where links are not
    possible, and lists a fifth of each class in `val.txt`: those images whose path
    below `images_root` has the least SHA-256. Images in memory are not written.

    An image without a box is left out, since a trainer would take it for one without
    an object. `NAME.left_out.csv` beside the output lists it with the reason: it cannot
    be read, its map is empty ("no box"), or its score too low ("low score"). So is one
    whose EXIF tag ("EXIF orientation") trainers follow and the data set does not, such
    as a PNG's, unless the format is CSV.

    A killed job goes on when it is called again: `.NAME.jsonl` keeps what is found, and
    other jobs away while it is at work.

    Args:
        localizer: `Localizer`, or a classifier that one can be made of.
        images: `ImageDataset`; or files and folders, of unknown class.
        path: String or path. A `.json` file for COCO, a `.csv` file, or a folder.
        format: String. `"coco"`, `"yolo"` (Ultralytics), `"voc"` or `"csv"`.
        class_ids: String. Whose box: of the `"predicted"` class, or of the class that
            is `"known"` from the data set.
        min_score: Float in [0, 1]. Least probability of an image's class. Default 0.
        images_root: String or path. Folder that paths in the labels are relative to.
            Default: the lowest folder that holds all images.
        flat: Boolean. Whether the folder of YOLO or VOC has no folders of classes.
        overwrite: Boolean. Whether labels at `path` may be replaced; what else is in
            their folder stays. Default `False`.
        batch_size: Integer. Images in a batch.
        verbose: Boolean or `"auto"`. Whether to show progress; `"auto"`: in a terminal.
        then: Function of the record that ends the job: called again after a kill in it.

    Returns:
        A record: `num_boxes`, `num_images`, `left_out`, and the paths.

    Raises:
        FileExistsError: Something else is at `path`, or labels without `overwrite`, or
            another job is at work there.
        ValueError: A name cannot be written in this format, the model does not know
            the classes, or another job was interrupted at `path`.

    Example:
        birds = data.image_folder("birds")
        done = write_pseudo_labels(localizer, birds, "birds.json", class_ids="known")
    """
    localizer, path = as_localizer(localizer), Path(path)
    known = check_choice("class_ids", class_ids, ("predicted", "known")) == "known"
    min_score = check_number("min_score", min_score)
    check_integer("batch_size", batch_size)
    form, journal = check_output(path, format, overwrite, flat), journal_of(path, flat)
    dataset = open_images(images, verdicts_of(path))
    count, class_names = len(dataset), _class_names(localizer, dataset, known)
    label_formats.check_classes(class_names, format)
    paths = [*dataset.paths.tolist(), *(file for file, _ in dataset.left_out)]
    inside = [p for p in paths if Path(p).absolute().is_relative_to(path.absolute())]
    if inside:
        raise ValueError(f"{path} must not hold the images, such as {inside[0]}.")
    root, names = label_formats.names_below(paths, images_root, format, flat, count)
    job = {
        "images": _digest_of_images(dataset, names, root),
        "model": _digest_of_model(localizer, class_names),
        "class_ids": class_ids,
        "min_score": min_score,
    }
    with files.claimed(journal.path):
        _check_path(path, form, overwrite)
        done = journal.begin(job)
        mine = [overwrite or journal.owns(file) for file in (_list_of(path), path)]
        files.delete_leftovers(path)
        files.delete_leftovers(_list_of(path))
        rest = dataset.take(np.arange(done, count), dataset.split)
        shown = sys.stdout.isatty() if verbose == "auto" else verbose
        progress = keras.utils.Progbar(count, verbose=int(shown), unit_name="image")
        progress.update(done)
        options = {"image_size": localizer.input_size}
        batches = rest.evaluation_batches(batch_size, **options) if len(rest) else ()
        for batch in batches:
            some = names[done : done + len(batch["images"])]
            found = _find(localizer, batch, some, batch_size, known, min_score)
            if dataset.images is None and format != "csv":
                found = _agreed(found, batch["paths"], dataset.orientation)
            journal.append(found)
            done += len(some)
            progress.update(done)
        unread = zip(names[count:], (why for _, why in dataset.left_out), strict=True)
        left_out = tuple(sorted([*unread, *journal.left_out()]))
        with files.replaced(_list_of(path), mine[0]) as temporary:
            _write_list(temporary, left_out)
            journal.own(temporary)
        with files.replaced(path, mine[1]) as temporary:
            form.write(journal, temporary, class_names)
            if form.links and dataset.images is None:
                label_formats.link_images(journal, root, temporary / form.links)
            if form.links:
                label_formats.keep_others(path, temporary)
            journal.own(temporary)
        written = LabelsWritten(
            path=path,
            images_root=root,
            num_images=len(names),
            num_boxes=sum(len(image.boxes) for image in journal),
            left_out=left_out,
            left_out_path=_list_of(path),
            class_ids=np.array(journal.class_ids(), "int32"),
        )
        if then:
            then(written)
        for file in (verdicts_of(path), journal.path):
            files.delete(file)
    return written


class _Journal:
    """What is found: a line on the job, a line an image, a line on what is in place."""

    def __init__(self, path: Path, flat: bool) -> None:
        self.path, self.flat = path, flat

    def begin(self, job: Mapping[str, Any]) -> int:
        """Returns how many images are done; refuses what another job has begun."""
        with self.path.open("ab+") as file:
            file.seek(0)
            first = file.readline()
            if not first.endswith(b"\n"):
                file.truncate(0)
                file.write(json.dumps(job).encode() + b"\n")
                return 0
            done, end = 0, len(first)
            for line in file:
                if line.endswith(b"\n"):  # else a killed job did not end it
                    done, end = done + (b'"owned"' not in line[:9]), end + len(line)
            file.truncate(end)
        with files.reading(self.path, "delete it to begin anew"):
            begun = dict(json.loads(first))
        differs = sorted(key for key in job if job[key] != begun.get(key))
        if differs:
            raise ValueError(
                f"{self.path} is of an interrupted job with another "
                f"{' and another '.join(differs)}. Repeat that job to finish it, or "
                "delete the file."
            )
        return done

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)

    def own(self, path: Path) -> None:
        """Notes that what is at a path, or is renamed from there, is of this job."""
        self.append([{"owned": path.lstat().st_ino}])

    def owns(self, path: Path) -> bool:
        """Whether this job has put there what is there, before it was killed."""
        if not (self.path.is_file() and os.path.lexists(path)):
            return False
        with self.path.open(encoding="utf-8") as file:
            return json.dumps({"owned": path.lstat().st_ino}) + "\n" in file

    def __iter__(self) -> Iterator[LabelledImage]:
        for entry in self._entries():
            if "left_out" not in entry:
                source = entry["path"]
                path = label_formats.placed(source, self.flat)
                entry |= {"path": path, "source": source}
                yield LabelledImage(**entry)

    def left_out(self) -> list[tuple[str, str]]:
        return [(e["path"], e["left_out"]) for e in self._entries() if "left_out" in e]

    def class_ids(self) -> list[int]:
        return [entry.get("class_id", -1) for entry in self._entries()]

    def _entries(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                with files.reading(self.path, "delete it to begin anew"):
                    entry = dict(json.loads(line))
                if "owned" not in entry:
                    yield entry


def _find(
    localizer: Localizer,
    batch: Mapping[str, Any],
    names: Sequence[str],
    batch_size: int,
    known: bool,
    min_score: float,
) -> Iterator[dict[str, Any]]:
    """Gives the line of the journal of each image of a batch."""
    read = ("images", "class_ids") if known else ("images",)
    inputs = filled(batch_size, **{name: batch[name] for name in read})
    out = {k: v[:, 0] for k, v in localizer.predict_on_batch(inputs).items()}
    boxes = out.get("component_boxes", out["boxes"][:, None])
    scores = out.get("component_scores", out["scores"][:, None])
    counts = out.get("num_components", out["valid"].astype(int))
    for row, name in enumerate(names):
        height, width = map(int, batch["sizes"][row])
        scale = np.tile(np.array([width, height]) / localizer.input_size[::-1], 2)
        found = boxes[row, : counts[row]].astype("float64") * scale
        of_boxes = np.round(scores[row, : counts[row]].astype("float64"), 6).tolist()
        if not of_boxes or of_boxes[0] < min_score:
            yield {"path": name, "left_out": "low score" if of_boxes else "no box"}
            continue
        yield {
            "path": name,
            "width": width,
            "height": height,
            "class_id": int(out["class_ids"][row]),
            "scores": of_boxes,
            # Hundredths of a pixel: finer than the cells of any map.
            "boxes": np.clip(found, 0, [width, height] * 2).round(2).tolist(),
        }


def _agreed(
    found: Iterator[dict[str, Any]], paths: Iterable[str], orientation: str
) -> Iterator[dict[str, Any]]:
    """Leaves out images that trainers would see turned otherwise than the data set."""
    for entry, path in zip(found, paths, strict=True):
        if turned_otherwise(path, orientation):
            entry = {"path": entry["path"], "left_out": "EXIF orientation"}
        yield entry


def _list_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.left_out.csv")


def journal_of(path: Path, flat: bool = False) -> _Journal:
    """The journal of labels, which is there until their job is done."""
    return _Journal(path.with_name(f".{path.name}.jsonl"), flat)


def check_output(
    path: Path, format: str, overwrite: bool, flat: bool = False
) -> LabelFormat:
    """Refuses a path that cannot be written, or holds what must not be replaced."""
    form = LABEL_FORMATS[check_choice("format", format, tuple(LABEL_FORMATS))]
    if form.suffix not in (None, path.suffix.lower()):
        raise ValueError(
            f"`path` must end in {form.suffix!r} for format={format!r}. Received: "
            f"{path}."
        )
    if flat and form.suffix:
        raise ValueError(f"`flat` is for a folder. Received: format={format!r}.")
    journal = journal_of(path).path
    if journal.is_file():
        with files.claimed(journal):
            pass  # no other job is at work
    _check_path(path, form, overwrite)
    return form


def _check_path(path: Path, form: LabelFormat, overwrite: bool) -> None:
    files.restore(path)
    for file in (path, _list_of(path)):
        if os.path.lexists(file) and not (overwrite or journal_of(path).owns(file)):
            raise FileExistsError(
                f"{file} exists. Choose another path, or pass `overwrite=True`."
            )
    empty = path.is_dir() and not any(path.iterdir())
    ours = (path / WRITTEN).is_file() if form.links else path.is_file()
    if path.exists() and not (empty or ours):
        raise FileExistsError(
            f"{path} does not hold our labels. Choose another path, or move it away."
        )


def _write_list(path: Path, left_out: Iterable[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([("path", "reason"), *left_out])


def verdicts_of(path: Path) -> Path:
    """Path of the verdicts on the images of labels, kept while the job goes on."""
    return path.with_name(f".{path.name}.verified.jsonl")


def open_images(images: Any, verify: Path) -> ImageDataset:
    """Opens a folder, or files and folders, of unknown class."""
    if isinstance(images, ImageDataset):
        return images
    paths: list[str] = []
    for path in map(Path, [images] if isinstance(images, str | Path) else images):
        paths += images_below(path) if path.is_dir() else [str(path)]
    if not paths:
        raise ValueError(f"There must be an image in `images`. Received: {images}.")
    files.make_folder(verify.parent)
    return verified(of_unknown_class("images", paths), verify)


def _class_names(
    localizer: Localizer, dataset: ImageDataset, known: bool
) -> tuple[str, ...]:
    """Returns the names of the model's classes, or those of the images."""
    count, of_model = localizer.num_classes, class_names_of(localizer.model)
    names = tuple(dataset.class_names)
    if known and not has_classes_of(dataset, localizer.model, count):
        raise ValueError(
            f"For `class_ids='known'`, the model must know the classes of "
            f"{dataset.name!r} in their order, {len(names)} such as {names[:3]}. "
            f"Received: {count} such as {(of_model or ())[:3]}."
        )
    numbered = tuple(f"class {class_id}" for class_id in range(count))
    return tuple(of_model or (names if len(names) == count else numbered))


def _digest_of_images(dataset: ImageDataset, names: Sequence[str], root: Path) -> str:
    """Differs for other names, sizes of files, pixels in memory, or classes."""
    described = [names, dataset.orientation, dataset.class_ids.tolist()]
    if dataset.images is not None:
        return _digest(described, [dataset.images])
    sizes = [Path(path).stat().st_size for path in dataset.paths.tolist()]
    return _digest([*described, str(root.resolve()), sizes], [])


def _digest_of_model(localizer: Localizer, class_names: Sequence[str]) -> str:
    """Differs for other weights, settings, sizes of images or maps, or class names."""
    dropped = ("name", "model")  # a name counts up in a process
    config = {k: v for k, v in localizer.get_config().items() if k not in dropped}
    network = localizer.score_map.split(localizer.model).network
    shapes = [str(x.shape) for x in (*network.inputs, *network.outputs)]
    weights = map(keras.ops.convert_to_numpy, localizer.weights)
    return _digest([config, shapes, class_names], weights)


def _digest(described: Any, arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
