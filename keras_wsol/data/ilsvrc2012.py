"""ILSVRC 2012 (ImageNet)."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_choice, composed, once, with_progress
from keras_wsol.data.boxes_from import read_voc_file, size_of, xml_below
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    padded_boxes,
    reading,
    verified,
)
from keras_wsol.data.fine_grained import read_list, struct_fields
from keras_wsol.data.image_folder import EXTENSIONS, below, images_below
from keras_wsol.data.images import default_threads

_WNID = re.compile("n[0-9]{8}")
_ILSVRC_SPLITS = ("train-weaksup", "test")
_SHAPE_TOLERANCE = 0.02  # a whole pixel where a large image was scaled down


def ilsvrc2012(
    root: str | Path,
    split: str = "train-weaksup",
    *,
    devkit: str | Path | None = None,
    boxes: str | Path | None = None,
    blacklist: str | Path | None = None,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens the training or the validation images of ILSVRC 2012.

    Class ids follow the sorted WordNet ids, as in `keras.applications`: 0 is
    `n01440764`, the tench. They are not the numbers of the development kit.

    Validation images have the boxes of their own class in their XML file. Corners are
    pixels counted from 0 that belong to the box: xmin, ymin, xmax, ymax become xmin,
    ymin, xmax + 1, ymax + 1. As in Inception's `process_bounding_boxes.py`, swapped
    corners are put in order, and boxes are scaled where the XML was drawn on an image
    of another size. If that had another shape, the image has no boxes, and `notes`
    counts such images.

    Args:
        root: Path of the folder that holds `train/<wnid>/` and `val/`, or `ILSVRC` of
            Kaggle's copy. Validation images lie in `val/` or in `val/<wnid>/`. Files
            count as in `data.image_folder`, also those in folders below.
        split: String. `"train-weaksup"`: all training images, without boxes. `"test"`:
            the validation images, as in the papers. For `"train-fullsup"` see
            ImageNetV2 in `data.wsolevaluation`.
        devkit: Path of the development kit of 2012, needed if the validation images
            lie in one folder. Default: `root/ILSVRC2012_devkit_t12`.
        boxes: Path of the folder with the XML files, in it or below. Default:
            `root/bbox_val`, or Kaggle's place; without one, there are no boxes.
        blacklist: Path of a file with the numbers of validation images to leave out,
            counted from 1, one a line (`*_validation_blacklist.txt` of later kits).
            Default: none is left out [wsolevaluation].
        verify: As in `data.image_folder`. `False` saves hours for 1.3 million images.

    Returns:
        The split, sorted by path; class names are WordNet ids.

    Raises:
        ValueError: Lists and folders do not fit together, or XML cannot be read.

    Reference:
        - Russakovsky et al., 2015, ImageNet Large Scale Visual Recognition Challenge
    """
    check_choice("split", split, _ILSVRC_SPLITS)
    root = existing_folder(root)
    data = root / "Data" / "CLS-LOC"
    images = data if data.is_dir() else root
    kit = root / "ILSVRC2012_devkit_t12" if devkit is None else Path(devkit)
    wnid_of = _synsets(kit) if devkit is not None or kit.is_dir() else {}
    folder = existing_folder(images / ("val" if split == "test" else "train"))
    truth = kit / "data" / "ILSVRC2012_validation_ground_truth.txt"
    source, paths = folder, images_below(folder)
    if not paths:
        where = f"in folders such as {folder / 'n01440764'}"
        raise ValueError(
            f"{folder} must hold images ({', '.join(EXTENSIONS)}), {where}."
        )
    # Path and WordNet id of each.
    found = [(path, below(folder, path).split("/")[0]) for path in paths]
    if split == "test" and not any("/" in below(folder, path) for path in paths):
        source, found = truth, _by_ground_truth(paths, truth, wnid_of)
    whole = _dataset(split, found, _classes(images, wnid_of, found), source)
    if split == "train-weaksup":
        return verified(whole, verify)
    if blacklist is not None:
        whole = _without(whole, Path(blacklist))
    whole = verified(whole, verify)
    places = (root / "bbox_val", root / "Annotations" / "CLS-LOC" / "val")
    if boxes is None:
        boxes = next((place for place in places if place.is_dir()), None)
    return whole if boxes is None else with_annotations(whole, boxes)


def with_annotations(whole: ImageDataset, folder: str | Path) -> ImageDataset:
    """Gives images the boxes of their own class in the XML files of their names."""
    found = xml_below(existing_folder(folder))
    stems = [composed(Path(path).stem) for path in whole.paths.tolist()]
    with reading("annotations", folder):
        once(zip(stems, whole.paths, strict=True))
        files = once((composed(path.stem), path) for path in found)
    if not files.keys() & set(stems):
        raise ValueError(
            f"{folder} must hold XML files named like the images. Received: "
            f"{len(files)} files, none of which is."
        )
    arguments = range(len(whole)), map(files.get, stems)
    shown = len(whole) > 5000 and keras.config.is_interactive_logging_enabled()
    with ThreadPoolExecutor(default_threads()) as threads:
        boxes = threads.map(_boxes_of, repeat(whole), *arguments)
        found = [*with_progress(boxes, len(whole), "annotation", shown)]
    misfits = whole.paths[[boxes is None for boxes in found]]
    notes = dict(whole.notes)
    if len(misfits):
        notes["boxes"] = (
            f"{len(misfits)} images have none, since their annotation is of an image "
            f"of another shape; the first is {misfits[0]}"
        )
    padded = padded_boxes([() if boxes is None else boxes for boxes in found])
    return replace(whole, boxes=padded, notes=notes)


def _boxes_of(whole: ImageDataset, index: int, file: Path | None) -> Any:
    """Boxes of an image's own class; `None` if the annotated one has another shape."""
    if file is None:
        return ()
    wnid = whole.class_names[whole.class_ids[index]]
    drawn, objects = read_voc_file(file)
    height, width = size_of(whole, index)
    drawn_height, drawn_width = drawn if min(drawn) > 0 else (height, width)
    scale = np.array([width / drawn_width, height / drawn_height])
    if not abs(scale[0] / scale[1] - 1) <= _SHAPE_TOLERANCE:
        return None
    corners = np.array([box for name, box in objects if name == wnid])
    # Both corners belong to the box, and may be swapped.
    corners = np.sort(corners.reshape(-1, 2, 2), axis=1)
    corners[:, 1] += 1
    return (corners * scale).reshape(-1, 4)


def _dataset(
    split: str, found: list[tuple[str, str]], wnids: tuple[str, ...], source: Path
) -> ImageDataset:
    class_id = {wnid: place for place, wnid in enumerate(wnids)}
    unknown = sorted({wnid for _, wnid in found} - class_id.keys())
    if unknown:
        raise ValueError(
            f"{source} must have the classes of the development kit, or of the folders "
            f"in `train/`, such as n01440764. Received others: {unknown[:8]}."
        )
    return ImageDataset(
        name="ilsvrc2012",
        split=split,
        class_names=wnids,
        class_ids=np.array([class_id[wnid] for _, wnid in found], "int32"),
        paths=np.array([path for path, _ in found]),
    )


def _classes(
    images: Path, wnid_of: Mapping[int, str], found: list[tuple[str, str]]
) -> tuple[str, ...]:
    """The sorted WordNet ids, from the list that is most likely whole."""
    train = images / "train"
    folders = [p.name for p in train.iterdir() if p.is_dir()] if train.is_dir() else []
    folders = list(filter(_WNID.fullmatch, folders))  # not .cache
    wnids = wnid_of.values() or folders or {wnid for _, wnid in found}
    return tuple(sorted(filter(_WNID.fullmatch, wnids)))


def _by_ground_truth(
    paths: list[str], truth: Path, wnid_of: Mapping[int, str]
) -> list[tuple[str, str]]:
    """The same of images in one folder, which have a line each, by their names."""
    if not truth.is_file():
        raise FileNotFoundError(
            f"The classes of the validation images are missing: {truth}. Pass the "
            "development kit of 2012 as `devkit`, or sort the images into val/<wnid>/."
        )
    numbers = [number for (number,) in read_list(truth, (int,), keyed=False)]
    if len(numbers) != len(paths):
        raise ValueError(
            f"{truth} must have a line for each image in {Path(paths[0]).parent}. "
            f"Received: {len(numbers)} lines for {len(paths)} images."
        )
    wnids = [wnid_of.get(number, str(number)) for number in numbers]
    return list(zip(paths, wnids, strict=True))


def _synsets(kit: Path) -> dict[int, str]:
    """Number in the kit to WordNet id, of the classes that images have."""
    path = existing_folder(kit) / "data" / "meta.mat"
    kinds = {"ILSVRC2012_ID": int, "WNID": str, "num_children": int}
    rows = list(zip(*struct_fields(path, "synsets", kinds), strict=True))
    with reading("the classes", path):
        once((wnid, number) for number, wnid, _ in rows)
        # The kit also lists the ancestors of the classes.
        return once((number, wnid) for number, wnid, children in rows if not children)


def _without(whole: ImageDataset, blacklist: Path) -> ImageDataset:
    numbers = {number for (number,) in read_list(blacklist, (int,))}
    # Folders by class are not in the order of the numbers, so that names decide.
    with reading("numbers in the names of images, as in", blacklist):
        listed = [int(Path(p).stem.rpartition("_")[2]) in numbers for p in whole.paths]
    notes = {**whole.notes, "left out": f"{sum(listed)} images of {blacklist.name}"}
    return replace(whole.take(~np.array(listed), whole.split), notes=notes)
