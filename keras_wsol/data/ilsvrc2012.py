"""ILSVRC 2012 (ImageNet)."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from keras_wsol.data.boxes_from import Box, read_voc_file, size_of
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    padded_boxes,
    verified,
)
from keras_wsol.data.images import default_threads
from keras_wsol.data.stanford_cars import read_matlab, struct_fields

_ILSVRC_SPLITS = ("train-weaksup", "test")
# How far the shapes of the annotated and the stored image may differ: a whole pixel of
# the shorter side when a large image was scaled down.
_SHAPE_TOLERANCE = 0.02


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
        root: Path of the folder that holds `train/<wnid>/` and `val/`, with the
            validation images in it or in `val/<wnid>/`; or of `ILSVRC` of Kaggle's
            copy.
        split: String. `"train-weaksup"`: all training images, without boxes. `"test"`:
            the validation images, as in the papers. For `"train-fullsup"` see
            ImageNetV2 in `data.wsolevaluation`.
        devkit: Path of the development kit of 2012, with `data/meta.mat` and
            `data/ILSVRC2012_validation_ground_truth.txt`, needed if the validation
            images lie in one folder. Default: `root/ILSVRC2012_devkit_t12`.
        boxes: Path of the folder with the XML files, in it or below. Default:
            `root/bbox_val`, or Kaggle's place; without one, there are no boxes.
        blacklist: Path of a file with the numbers of validation images to leave out,
            counted from 1, one a line (`*_validation_blacklist.txt` of later kits).
            Default: none is left out [wsolevaluation].
        verify: As in `data.image_folder`. `False` saves the hours that 1.3 million
            images take.

    Returns:
        The split, sorted by path; class names are WordNet ids.

    Raises:
        FileNotFoundError: A folder or a list is missing; the message names it.
        ValueError: `split` is unknown, there is no image, the lists and folders do
            not fit together, or an annotation or the image of one cannot be read.

    Reference:
        - Russakovsky et al., 2015, ImageNet Large Scale Visual Recognition Challenge
        - readme.txt of the development kits of 2012 and 2015
    """
    if split not in _ILSVRC_SPLITS:
        raise ValueError(
            f"`split` must be one of {list(_ILSVRC_SPLITS)}; for 'train-fullsup', open "
            f"ImageNetV2 with `data.wsolevaluation`. Received: split={split!r}."
        )
    root = existing_folder(root)
    data = root / "Data" / "CLS-LOC"
    images = data if data.is_dir() else root
    kit = Path(devkit) if devkit is not None else root / "ILSVRC2012_devkit_t12"
    wnid_of = _synsets(kit) if (devkit is not None or kit.is_dir()) else {}
    folder = existing_folder(images / ("val" if split == "test" else "train"))
    found = _in_folders(folder)
    if split == "train-weaksup":
        return verified(
            _dataset(split, found, _classes(images, wnid_of, found)), verify
        )
    found = found or _by_ground_truth(folder, kit, wnid_of)
    whole = _dataset(split, found, _classes(images, wnid_of, found))
    if blacklist is not None:
        whole = _without(whole, Path(blacklist))
    whole = verified(whole, verify)
    places = (root / "bbox_val", root / "Annotations" / "CLS-LOC" / "val")
    if boxes is None:
        boxes = next((place for place in places if place.is_dir()), None)
    return whole if boxes is None else with_annotations(whole, boxes)


def with_annotations(whole: ImageDataset, folder: str | Path) -> ImageDataset:
    """Gives images the boxes of their own class in the XML files of their names."""
    folder = existing_folder(folder)
    files = {path.stem: path for path in folder.rglob("*.xml")}
    stems = [Path(path).stem for path in whole.paths.tolist()]
    if not files.keys() & set(stems):
        raise ValueError(
            f"{folder} must hold XML files named like the images. Received: "
            f"{len(files)} files, none of which is."
        )

    def boxes_of(index: int) -> list[Box] | None:
        file = files.get(stems[index])
        return [] if file is None else _boxes_of(whole, index, file)

    shown = len(whole) > 5000 and keras.config.is_interactive_logging_enabled()
    bar = keras.utils.Progbar(len(whole), unit_name="annotation", verbose=int(shown))
    found: list[list[Box] | None] = []
    with ThreadPoolExecutor(default_threads()) as threads:
        for boxes in threads.map(boxes_of, range(len(whole))):
            found.append(boxes)
            bar.update(len(found))
    misfits = [index for index, boxes in enumerate(found) if boxes is None]
    notes = dict(whole.notes)
    if misfits:
        notes["boxes"] = (
            f"{len(misfits)} images have none, since their annotation is of an image "
            f"of another shape; the first is {whole.paths[misfits[0]]}"
        )
    boxes = padded_boxes([some or [] for some in found])
    return replace(whole, boxes=boxes, notes=notes)


def _boxes_of(whole: ImageDataset, index: int, file: Path) -> list[Box] | None:
    """Boxes of an image's own class; `None` if the annotated one has another shape."""
    wnid = whole.class_names[whole.class_ids[index]]
    drawn, objects = read_voc_file(file)
    height, width = size_of(whole, index)
    drawn_height, drawn_width = drawn if min(drawn) > 0 else (height, width)
    ratio = width * drawn_height / (height * drawn_width)
    if not abs(ratio - 1) <= _SHAPE_TOLERANCE:
        return None
    x, y = width / drawn_width, height / drawn_height
    return [
        (
            min(xmin, xmax) * x,
            min(ymin, ymax) * y,
            (max(xmin, xmax) + 1) * x,
            (max(ymin, ymax) + 1) * y,
        )
        for name, (xmin, ymin, xmax, ymax) in objects
        if name == wnid
    ]


def _dataset(
    split: str, found: list[tuple[str, str]], wnids: tuple[str, ...]
) -> ImageDataset:
    class_id = {wnid: place for place, wnid in enumerate(wnids)}
    unknown = sorted({wnid for _, wnid in found} - set(class_id))
    if unknown:
        raise ValueError(
            "Images must be of the classes of the development kit, or of the folders "
            f"in `train/`. Received others: {unknown[:8]}."
        )
    found = sorted(found)
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
    if wnid_of:
        return tuple(sorted(wnid_of.values()))
    train = images / "train"
    folders = [p.name for p in train.iterdir() if p.is_dir()] if train.is_dir() else []
    return tuple(sorted(folders or {wnid for _, wnid in found}))


def _in_folders(folder: Path) -> list[tuple[str, str]]:
    """Path and WordNet id of each image in `folder/<wnid>/`."""
    wnids = sorted(path for path in folder.iterdir() if path.is_dir())
    return [(str(path), wnid.name) for wnid in wnids for path in wnid.glob("*.JPEG")]


def _by_ground_truth(
    folder: Path, kit: Path, wnid_of: Mapping[int, str]
) -> list[tuple[str, str]]:
    """The same of images in one folder: a line for each, in the order of names."""
    paths = sorted(map(str, folder.glob("*.JPEG")))
    if not paths:
        raise ValueError(f"{folder} must hold images, *.JPEG. It has none.")
    truth = kit / "data" / "ILSVRC2012_validation_ground_truth.txt"
    if not truth.is_file():
        raise FileNotFoundError(
            f"The classes of the validation images are missing: {truth}. Pass the "
            "development kit of 2012 as `devkit`, or sort the images into val/<wnid>/."
        )
    numbers = [int(number) for number in truth.read_text().split()]
    if len(numbers) != len(paths):
        raise ValueError(
            f"{truth} must have a line for each image in {folder}. Received: "
            f"{len(numbers)} lines for {len(paths)} images."
        )
    unknown = sorted(set(numbers) - set(wnid_of))
    if unknown:
        raise ValueError(f"meta.mat lacks classes of {truth}: {unknown[:8]}.")
    return [
        (path, wnid_of[number]) for path, number in zip(paths, numbers, strict=True)
    ]


def _synsets(kit: Path) -> dict[int, str]:
    """Number in the kit to WordNet id, of the classes that images have."""
    path = existing_folder(kit) / "data" / "meta.mat"
    fields = ("ILSVRC2012_ID", "WNID", "num_children")
    rows = zip(*struct_fields(read_matlab(path), "synsets", fields, path), strict=True)
    # The kit also lists the ancestors of the classes.
    return {int(number): str(wnid) for number, wnid, children in rows if not children}


def _without(whole: ImageDataset, blacklist: Path) -> ImageDataset:
    if not blacklist.is_file():
        raise FileNotFoundError(f"The blacklist is missing: {blacklist}.")
    numbers = {int(number) for number in blacklist.read_text().split()}
    # Folders by class are not in the order of the numbers, so that names decide.
    kept = np.array(
        [int(Path(p).stem.rpartition("_")[2]) not in numbers for p in whole.paths]
    )
    note = {"left out": f"{int((~kept).sum())} images of {blacklist.name}"}
    return replace(whole.take(kept, whole.split), notes={**whole.notes, **note})
