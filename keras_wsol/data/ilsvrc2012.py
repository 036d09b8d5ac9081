"""ILSVRC 2012 (ImageNet)."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_wsol.data.boxes_from import read_voc_file
from keras_wsol.data.dataset import ImageDataset, existing_folder, padded_boxes
from keras_wsol.data.images import read_size
from keras_wsol.data.progress_line import ProgressLine
from keras_wsol.data.stanford_cars import read_matlab, struct_fields

# How far the shapes of the annotated and the stored image may differ: a whole pixel
# of the shorter side when a large image was scaled down.
_SHAPE_TOLERANCE = 0.02
_THREADS = 8


def boxes_of_image(
    annotation: Path, image: str, wnid: str
) -> list[tuple[float, ...]] | None:
    """Reads the boxes of an image's own class."""
    file = read_voc_file(annotation)
    corners = [corners for name, corners in file.objects if name == wnid]
    height, width = read_size(image)
    drawn_height, drawn_width = file.size if min(file.size) > 0 else (height, width)
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
        for xmin, ymin, xmax, ymax in corners
    ]


def with_annotations(
    whole: ImageDataset,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> ImageDataset:
    """Gives images their boxes."""
    folder = existing_folder(folder)
    files = {path.stem: path for path in folder.rglob("*.xml")}
    if not files.keys() & {Path(path).stem for path in whole.paths.tolist()}:
        raise ValueError(
            f"{folder} must hold XML files named like the images. Received: "
            f"{len(files)} files, none of which is."
        )
    total = len(whole)

    def boxes_of(index: int) -> list[tuple[float, ...]] | None:
        path = str(whole.paths[index])
        file = files.get(Path(path).stem)
        wnid = whole.class_names[whole.class_ids[index]]
        return [] if file is None else boxes_of_image(file, path, wnid)

    found: list[list[tuple[float, ...]] | None] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for boxes in threads.map(boxes_of, range(total)):
            found.append(boxes)
            if progress and (len(found) % 1000 == 0 or len(found) == total):
                progress(len(found), total)
    misfits = [index for index, boxes in enumerate(found) if boxes is None]
    notes = dict(whole.notes)
    if misfits:
        notes["boxes"] = (
            f"{len(misfits)} images have none, since their annotation is of an image "
            f"of another shape; the first is {whole.paths[misfits[0]]}"
        )
    return replace(
        whole, boxes=padded_boxes([boxes or [] for boxes in found]), notes=notes
    )


SPLITS = ("train-weaksup", "test")
TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def ilsvrc2012(
    root: str | Path,
    split: str = "train-weaksup",
    *,
    devkit: str | Path | None = None,
    boxes: str | Path | None = None,
    blacklist: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    verbose: bool | str = "auto",
) -> ImageDataset:
    """Opens the training or the validation images of ILSVRC 2012.

    Class ids follow the sorted WordNet ids, as in `keras.applications`: 0 is
    `n01440764`, the tench. They are not the numbers of the development kit.

    Validation images have the boxes of their own class in their XML file. Corners
    there are pixels counted from 0 that belong to the box (a whole image of 500 x 375
    is 0, 0, 499, 374): xmin, ymin, xmax, ymax become xmin, ymin, xmax + 1, ymax + 1.
    As in the published conversion (`process_bounding_boxes.py` of Inception), swapped
    corners are put in order, and boxes are scaled where the XML was drawn on an image
    of another size. Where it was of another shape, the boxes cannot be placed: the
    image is left without, and `notes` counts such images.

    Args:
        root: Folder that holds `train/<wnid>/` and `val/`, with the validation images
            in it or in `val/<wnid>/`; or the folder `ILSVRC` of Kaggle's copy.
        split: `"train-weaksup"`: all training images, without boxes. `"test"`: the
            validation images, as in the papers; the test images have no public
            labels. For `"train-fullsup"` wsolevaluation takes ImageNetV2: see
            `data.wsolevaluation`.
        devkit: Folder of the development kit of 2012, with `data/meta.mat` and
            `data/ILSVRC2012_validation_ground_truth.txt`; default:
            `root/ILSVRC2012_devkit_t12`. Needed if the validation images lie in one
            folder.
        boxes: Folder with the XML files of the validation images, in it or in
            folders below; default: `root/bbox_val`, or Kaggle's place. Without one, the
            split has no boxes.
        blacklist: File with the numbers of validation images to leave out, counted
            from 1, one a line, such as the `*_validation_blacklist.txt` of later
            kits: 1762 images whose boxes are poor. Default: none is left out, as in
            wsolevaluation.
        progress: Function of two integers, annotations read and in all; called every
            thousand and at the end.
        verbose: `True` for a line on standard error that says how far it is, `False`
            for none, `"auto"` for one in a terminal or notebook. Not used if
            `progress` is given.

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
    if split not in SPLITS:
        raise ValueError(
            f"`split` must be one of {list(SPLITS)}; for 'train-fullsup', open "
            f"ImageNetV2 with `data.wsolevaluation`. Received: {split!r}."
        )
    progress = progress or ProgressLine("Reading boxes", verbose, "annotations")
    root = existing_folder(root)
    data = root / "Data" / "CLS-LOC"
    images = data if data.is_dir() else root
    kit = Path(devkit) if devkit is not None else root / "ILSVRC2012_devkit_t12"
    wnid_of = _synsets(kit) if (devkit is not None or kit.is_dir()) else {}
    if split == "train-weaksup":
        folder = existing_folder(images / "train")
        found = _in_folders(folder)
        return _dataset(split, found, _classes(images, wnid_of, found))
    folder = existing_folder(images / "val")
    found = _in_folders(folder) or _by_ground_truth(folder, kit, wnid_of)
    whole = _dataset(split, found, _classes(images, wnid_of, found))
    if blacklist is not None:
        whole = _without(whole, Path(blacklist))
    places = (root / "bbox_val", root / "Annotations" / "CLS-LOC" / "val")
    if boxes is None:
        boxes = next((place for place in places if place.is_dir()), None)
    if boxes is None:
        return whole
    return with_annotations(whole, boxes, progress)


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
    truth = kit / "data" / TRUTH
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
