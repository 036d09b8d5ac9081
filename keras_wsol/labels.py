"""Boxes of many images, as labels to train a detector on."""

import csv
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_integer, check_number
from keras_wsol.data import ImageDataset
from keras_wsol.data.dataset import verified
from keras_wsol.data.image_folder import images_below
from keras_wsol.files import delete, make_folder, replaced
from keras_wsol.label_formats import (
    LABEL_FORMATS,
    LabelledImage,
    check_writable,
    names_below,
)
from keras_wsol.models import Localizer, class_names_of

__all__ = ["write_pseudo_labels"]


@dataclass(frozen=True, kw_only=True)
class LabelsWritten:
    """What `write_pseudo_labels` wrote, and what it left out.

    Attributes:
        path: The file or folder.
        images_root: The folder that paths in it are relative to.
        num_images: Images given, with those left out.
        num_boxes: Boxes written.
        left_out: Path below `images_root` and reason of each image without a box.
        left_out_path: CSV file of the same.
    """

    path: Path
    images_root: Path
    num_images: int
    num_boxes: int
    left_out: tuple[tuple[str, str], ...]
    left_out_path: Path


def write_pseudo_labels(
    localizer: keras.Model,
    images: ImageDataset | str | Path | Sequence[str | Path],
    path: str | Path,
    format: str = "coco",
    *,
    class_ids: str = "predicted",
    min_score: float = 0.0,
    images_root: str | Path | None = None,
    overwrite: bool = False,
    batch_size: int = 32,
    verbose: bool | str = "auto",
) -> LabelsWritten:
    """Writes the boxes that a localizer finds in images, to train a detector on.

    Boxes are in pixels of the image as the data set reads it: folders turn it upright
    by its EXIF tag, as most trainers do. An image gets the boxes of the localizer's
    `max_boxes` largest components, all with the score of the class.

    An image without a box is left out, since a trainer would take it for one without
    an object: files that cannot be read, empty score maps ("no box"), scores below
    `min_score` ("low score"). `NAME.left_out.csv` beside the output lists them. What is
    found is kept in `.NAME.jsonl` until all is written: a killed job goes on when it is
    called again.

    Args:
        localizer: `Localizer`, or a classifier that one can be made of.
        images: ImageDataset; or a folder, or files and folders, of unknown class.
        path: String or path. A `.json` file for COCO, a `.csv` file, or a folder.
        format: String. `"coco"`, `"yolo"` (Ultralytics), `"voc"` (Pascal VOC) or
            `"csv"`.
        class_ids: String. Whose box: of the `"predicted"` class, or of the class that
            is `"known"` from the data set.
        min_score: Float in [0, 1]. Least probability of the class. Default 0.
        images_root: String or path. Folder that paths in the labels are relative to.
            Default the lowest folder that holds all images.
        overwrite: Boolean. Whether labels at `path` may be replaced.
        batch_size: Integer. Images in a batch.
        verbose: Boolean or `"auto"`. Whether to show progress; `"auto"`: in a terminal.

    Returns:
        A record of what was written, with the images that were left out.

    Raises:
        FileExistsError: Something is at `path`, and `overwrite` is false or it is no
            labels.
        FileNotFoundError: An image or folder is missing.
        ValueError: An argument is out of range, a name cannot be written, the model
            does not know the classes, or another job was interrupted at `path`.

    Example:
        birds = data.image_folder("birds")
        done = write_pseudo_labels(localizer, birds, "birds.json", class_ids="known")
        done.num_boxes, done.left_out
    """
    if not isinstance(localizer, Localizer):
        localizer = Localizer(localizer)
    path = Path(path)
    check_choice("class_ids", class_ids, ("predicted", "known"))
    min_score = check_number("min_score", min_score)
    check_integer("batch_size", batch_size)
    journal = _Journal(path.with_name(f".{path.name}.jsonl"))
    _check_path(path, format, overwrite, begun=journal.path.is_file())
    dataset = open_images(images, verdicts_of(path))
    class_names = _class_names(localizer, dataset, class_ids == "known")
    unread = [os.fspath(file) for file, _ in dataset.left_out]
    root, names = names_below([*map(str, dataset.paths), *unread], images_root, format)
    job = {
        "images": _digest_of_images(dataset, names, root),
        "model": _digest_of_model(localizer, class_names),
        "class_ids": class_ids,
        "min_score": min_score,
    }
    count, done = len(dataset), journal.begin(job)
    rest = dataset.take(np.arange(done, count), dataset.split)
    progress = keras.utils.Progbar(count, verbose=_level(verbose), unit_name="image")
    progress.update(done)
    size = localizer.input_size
    batches = rest.evaluation_batches(batch_size, image_size=size) if len(rest) else ()
    for batch in batches:
        found = _find(localizer, batch, batch_size, class_ids == "known")
        journal.append(map(_entry, names[done:], found, repeat(min_score)))
        done += len(batch["images"])
        progress.update(done)
    reasons = [reason for _, reason in dataset.left_out]
    unread = zip(names[count:], reasons, strict=True)
    left_out = tuple(sorted([*unread, *journal.left_out()]))
    _write_list(_listed(path), left_out)
    with replaced(path) as temporary:
        LABEL_FORMATS[format].write(journal, temporary, class_names)
    written = LabelsWritten(
        path=path,
        images_root=root,
        num_images=len(names),
        num_boxes=sum(len(image.boxes) for image in journal),
        left_out=left_out,
        left_out_path=_listed(path),
    )
    for file in (journal.path, verdicts_of(path)):
        delete(file)
    return written


class _Journal:
    """What is found so far: a line on the job, then a line an image, appended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, job: Mapping[str, Any]) -> int:
        """Returns how many images are done; refuses what another job has begun."""
        if not self.path.is_file() or not self._whole_lines():
            make_folder(self.path.parent)
            self.path.write_text(json.dumps(job) + "\n", "utf-8")
        begun = next(self._lines())
        differs = sorted(key for key in job if job[key] != begun.get(key))
        if differs:
            raise ValueError(
                f"{self.path} is of an interrupted job with another "
                f"{' and another '.join(differs)}. Repeat that job to finish it, or "
                "delete the file."
            )
        return self._whole_lines() - 1

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in entries)

    def __iter__(self) -> Iterator[LabelledImage]:
        for entry in self._entries():
            if "left_out" not in entry:
                yield LabelledImage(**entry)

    def left_out(self) -> Iterator[tuple[str, str]]:
        for entry in self._entries():
            if "left_out" in entry:
                yield entry["path"], entry["left_out"]

    def _entries(self) -> Iterator[dict[str, Any]]:
        lines = self._lines()
        next(lines)
        yield from lines

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def _whole_lines(self) -> int:
        """Counts the lines; cuts off one that a killed job did not end."""
        count = end = 0
        with self.path.open("rb+") as file:
            for line in file:
                if line.endswith(b"\n"):
                    count, end = count + 1, end + len(line)
            file.truncate(end)
        return count


def _find(
    localizer: Localizer, batch: Mapping[str, Any], batch_size: int, known: bool
) -> Iterator[dict[str, Any]]:
    """Gives size, class, score and boxes of each image of a batch."""
    count = len(batch["images"])
    # A short last batch is filled up: a new shape would be compiled anew.
    fill = [(0, batch_size - count)]
    inputs = {"images": np.pad(batch["images"], fill + [(0, 0)] * 3)}
    if known:
        inputs["class_ids"] = np.pad(batch["class_ids"], fill)
    out = {k: v[:, 0] for k, v in localizer.predict_on_batch(inputs).items()}
    boxes = out.get("component_boxes", out["boxes"][:, None])
    counts = out.get("num_components", out["valid"].astype(int))
    for row in range(count):
        height, width = map(int, batch["sizes"][row])
        scale = np.array([width, height]) / localizer.input_size[::-1]
        found = boxes[row, : counts[row]].astype("float64") * np.tile(scale, 2)
        yield {
            "width": width,
            "height": height,
            "class_id": int(out["class_ids"][row]),
            "score": round(float(out["scores"][row]), 6),
            # Hundredths of a pixel: finer than the cells of any map.
            "boxes": np.clip(found, 0, [width, height] * 2).round(2).tolist(),
        }


def _entry(name: str, found: Mapping[str, Any], min_score: float) -> dict[str, Any]:
    """Makes an image's line of the journal."""
    if not found["boxes"]:
        return {"path": name, "left_out": "no box"}
    if found["score"] < min_score:
        return {"path": name, "left_out": "low score"}
    return {"path": name, **found}


def _check_path(path: Path, format: str, overwrite: bool, begun: bool) -> None:
    """Refuses a path that cannot be written, or holds what must not be replaced."""
    form = LABEL_FORMATS[check_choice("format", format, tuple(LABEL_FORMATS))]
    if form.suffix is not None and path.suffix.lower() != form.suffix:
        raise ValueError(
            f"`path` must end in {form.suffix!r} for format={format!r}. Received: "
            f"{path}."
        )
    # A job that was killed at the end may have written its list, and no labels.
    for file, may_replace in ((path, overwrite), (_listed(path), overwrite or begun)):
        if file.exists() and not may_replace:
            raise FileExistsError(
                f"{file} exists. Choose another path, or pass `overwrite=True`."
            )
    others = []
    if path.is_dir():  # such as the images, which may lie there for a trainer
        others = sorted({entry.name for entry in path.iterdir()} - form.entries)
    if others or (path.is_file() and form.suffix is None):
        raise FileExistsError(
            f"{path} holds more than labels of {format!r}: {others[:8]}. Choose "
            "another path, or move that away."
        )


def _listed(path: Path) -> Path:
    """Path of the list of images without a label."""
    return path.with_name(f"{path.name}.left_out.csv")


def _write_list(path: Path, left_out: Iterable[tuple[str, str]]) -> None:
    with replaced(path) as file, file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerows([("path", "reason"), *left_out])


def verdicts_of(path: Path) -> Path:
    """Path of the verdicts on the images of labels, kept while the job goes on."""
    return path.with_name(f".{path.name}.verified.jsonl")


def open_images(images: Any, verify: Path) -> ImageDataset:
    """Opens a folder, or files and folders, of unknown class."""
    if isinstance(images, ImageDataset):
        return images
    paths = [images] if isinstance(images, str | Path) else images
    folders = {path: Path(path).is_dir() for path in paths}
    files = [images_below(Path(p)) if folders[p] else [str(p)] for p in paths]
    files = list(chain.from_iterable(files))
    if not files:
        raise ValueError(f"There must be an image in {[*map(str, paths)]}.")
    make_folder(verify.parent)
    dataset = ImageDataset(
        name="images",
        split="all",
        class_names=("unknown",),
        class_ids=np.zeros(len(files), "int32"),
        paths=np.array(files),
        orientation="exif",
    )
    return verified(dataset, verify)


def _class_names(
    localizer: Localizer, dataset: ImageDataset, known: bool
) -> tuple[str, ...]:
    """Returns the names of the model's classes, or those of the images."""
    count, of_model = localizer.num_classes, class_names_of(localizer.model)
    names = tuple(dataset.class_names)
    if known and (len(names) != count or tuple(of_model or names) != names):
        raise ValueError(
            f"For `class_ids='known'`, the model must know the classes of "
            f"{dataset.name!r} in their order. It has {count} classes "
            f"({list(of_model or ())[:3]} ...), the images have {len(names)} "
            f"({list(names)[:3]} ...). `data.image_folder` opens images by class."
        )
    if of_model is not None:
        names = tuple(of_model)
    elif len(names) != count:
        names = tuple(f"class {class_id}" for class_id in range(count))
    way_out = "Give the model, or the images, other `class_names`."
    check_writable("The name of a class", names, way_out)
    return names


def _digest_of_images(dataset: ImageDataset, names: Sequence[str], root: Path) -> str:
    """Differs for other names, sizes of files, pixels in memory, or classes."""
    described = [list(names), dataset.orientation]
    if dataset.images is None:
        sizes = [Path(path).stat().st_size for path in dataset.paths.tolist()]
        described += [str(root.resolve()), sizes]
    digest = hashlib.sha256(json.dumps(described).encode())
    digest.update(dataset.class_ids.astype("<i4").tobytes())
    if dataset.images is not None:
        digest.update(np.ascontiguousarray(dataset.images))
    return digest.hexdigest()


def _digest_of_model(localizer: Localizer, class_names: Sequence[str]) -> str:
    """Differs for other weights, settings or class names."""
    config = keras.saving.serialize_keras_object(localizer)
    described = json.dumps([_unnamed(config), list(class_names)], sort_keys=True)
    digest = hashlib.sha256(described.encode())
    for weight in localizer.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return digest.hexdigest()


def _unnamed(config: Any) -> Any:
    """A configuration without names, which count up in a process, and the network."""
    if isinstance(config, dict):
        dropped = ("name", "model", "build_config", "compile_config")
        return {k: _unnamed(v) for k, v in config.items() if k not in dropped}
    return config


def _level(verbose: bool | str) -> int:
    """The level of a progress bar."""
    if verbose == "auto":
        return int(sys.stdout.isatty())
    return int(verbose)
