"""What wsolevaluation measures on: its splits, and segmentations for PxAP."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from keras_wsol.arguments import check_choice, composed
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    padded_boxes,
    reading,
    verified,
)
from keras_wsol.data.fine_grained import read_list, readable_name
from keras_wsol.data.images import PILLOW_FORMATS

_FOLDERS = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}


def wsolevaluation(
    metadata: str | Path,
    images: str | Path,
    split: str = "train-weaksup",
    *,
    class_names: Sequence[str] | None = None,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a split in the layout of wsolevaluation, `metadata/<data set>/<split>`.

    Boxes are the numbers of `localization.txt` as they stand, so that
    `convention="wsolevaluation"` of the metrics gives the figures of the published
    evaluator. As boxes whose far edge is exclusive they are right for CUB, but for what
    was cut at the image's last pixel, and a pixel short on the right and at the bottom
    for ImageNet (`data.ilsvrc2012` adds it) and ImageNetV2.

    Args:
        metadata: Path of `metadata/CUB`, `metadata/ILSVRC` or `metadata/OpenImages`,
            with the lists in `train/`, `val/` and `test/`.
        images: Path of the folder in which the names of images begin, such as
            `dataset/ILSVRC`, which holds `val/` and `val2/`.
        split: String. `"train-weaksup"`, to train on; `"train-fullsup"` (CUBV2,
            ImageNetV2, OpenImages' validation images), to choose thresholds and
            checkpoints; `"test"`.
        class_names: Sequence of names by class id, such as
            `data.ilsvrc2012(...).class_names`. Default `None`: where the test images
            lie in a folder for each class, its name (`Black footed Albatross`; for
            OpenImages its code, `0bt_c3`), else the class id.
        verify: As in `data.image_folder`.

    Returns:
        The split, in the order of `image_ids.txt`; without boxes where it has none, or
        has segmentations: see `data.openimages_segmentations`.

    Raises:
        ValueError: A line is wrong, lists do not fit together, or a class has no name.

    Reference:
        - [Choe et al., 2020](https://arxiv.org/abs/2001.07437)
    """
    check_choice("split", split, list(_FOLDERS))
    metadata, images = existing_folder(metadata), existing_folder(images)
    lists = existing_folder(metadata / _FOLDERS[split])
    ids = [image for (image,) in read_list(lists / "image_ids.txt", (str,), ",")]
    keys = list(map(composed, ids))
    lines = read_list(lists / "class_labels.txt", (str, int), ",")
    labels = {composed(image): label for image, label in lines}
    missing = [image for image in keys if image not in labels]
    if missing:
        raise ValueError(
            f"{lists / 'class_labels.txt'} must have the images of image_ids.txt. "
            f"Received: {len(ids)} images, of which {len(missing)} lack: {missing[:4]}."
        )
    boxes = _boxes(lists / "localization.txt", keys)
    with reading("the classes", lists / "class_labels.txt"):
        names = _class_names(metadata, labels) if class_names is None else class_names
        whole = ImageDataset(
            name=metadata.resolve().name,
            split=split,
            class_names=tuple(names),
            class_ids=np.array([labels[image] for image in keys], "int32"),
            paths=np.array([str(images / image) for image in ids]),
            boxes=boxes,
        )
    return verified(whole, verify)


def _class_names(metadata: Path, labels: dict[str, int]) -> tuple[str, ...]:
    """Names that are the same for all splits."""
    path = metadata / "test" / "class_labels.txt"
    of_test = dict(read_list(path, (str, int), ",")) if path.exists() else labels
    folders: dict[int, set[str]] = defaultdict(set)
    for image, label in of_test.items():
        folders[label].add(PurePosixPath(image).parent.name)
    count = 1 + max([*of_test.values(), *labels.values()])
    if count > 10**6:  # a name is made for each
        raise ValueError(f"{count} classes are too many")
    names = [next(iter(folders[n])) for n in range(count) if len(folders[n]) == 1]
    if len(set(names)) < count:
        return tuple(map(str, range(count)))
    # CUB's have a number in front; the codes of OpenImages stay as they are.
    return tuple(readable_name(name) if "." in name else name for name in names)


def _boxes(path: Path, ids: list[str]) -> np.ndarray | None:
    """Boxes of each image; `None` for segmentations, and where there are none."""
    # Lines of segmentations have two commas.
    if not path.exists():
        return None
    with reading("boxes", path), path.open(encoding="utf-8") as file:
        if file.readline().count(",") == 2:
            return None
    boxes: dict[str, list[list[int]]] = {image: [] for image in ids}
    for image, *corners in read_list(path, (str, *[int] * 4), ",", keyed=False):
        if composed(image) not in boxes:
            raise ValueError(f"{path} has boxes of {image!r}, not in image_ids.txt.")
        boxes[composed(image)].append(corners)
    return padded_boxes([boxes[image] for image in ids])


@dataclass(frozen=True)
class Segmentation:
    """Files of the objects of an image, of the region to be ignored, and a threshold.

    A pixel belongs to an object where its grey value, of 255, is above the threshold.
    """

    object_paths: tuple[Path, ...]
    ignore_path: Path | None = None
    threshold: float = 0.5  # the published evaluator's


def cub200_segmentations(
    root: str | Path, paths: Iterable[str | Path], threshold: float = 127.5
) -> list[Segmentation]:
    """Finds the segmentations of images of CUB-200-2011, one grey PNG an image.

    Args:
        root: Path of the unpacked folder `segmentations`, or of the one it lies in.
        paths: Paths of images, such as `cub200(...).paths`; the last two parts
            (`001.Black_footed_Albatross/name.jpg`) name the file.
        threshold: Float. Grey value above which a pixel belongs to the bird. Default
            127.5: three of the five annotators say so.

    Returns:
        One segmentation an image, with nothing to be ignored.
    """
    root = existing_folder(root)
    if (root / "segmentations").is_dir():
        root = root / "segmentations"
    found = []
    for path in map(Path, paths):
        file = root / path.parent.name / f"{path.stem}.png"
        if not file.is_file():
            raise FileNotFoundError(f"The segmentation of {path} is missing: {file}.")
        found.append(Segmentation((file,), threshold=threshold))
    return found


def openimages_segmentations(
    root: str | Path, lists: str | Path
) -> dict[str, Segmentation]:
    """Reads which segmentations belong to which image of OpenImages-30k.

    Args:
        root: Path of the folder in which the paths of the list begin.
        lists: Path of the file `localization.txt` of a split, a line an object:
            `<image>,<object>,<ignore>`, the last, the region to be ignored, in the
            first line of an image alone [Choe et al., 2020].

    Returns:
        Name of the image (`val/0bt_c3/1cd9ac0169ec7df0.jpg`) to its segmentation, in
        the order of the list. Files are looked for when they are read.
    """
    root, lists = existing_folder(root), Path(lists)
    found: dict[str, Segmentation] = {}
    for image, file, ignore in read_list(lists, (str, str, str), ",", keyed=False):
        new = Segmentation((), root / ignore if ignore else None)
        if not image or not file or (ignore and image in found):
            raise ValueError(
                f"{lists} must have lines <image>,<object>,<ignore>, the last empty "
                f"but in the first of an image. Received: {image},{file},{ignore}."
            )
        old = found.get(image, new)
        found[image] = replace(old, object_paths=(*old.object_paths, root / file))
    return found


def read_segmentation(
    segmentation: Segmentation, image_size: tuple[int, int] | None = (224, 224)
) -> tuple[np.ndarray, np.ndarray]:
    """Reads where objects are, and what is to be ignored, boolean `(H, W)`.

    As in the published evaluator, each file is resized to the nearest pixel (the one at
    the upper left of where the centre would be, as OpenCV does), cut at the threshold,
    and what belongs to an object is not ignored. Without `image_size`, files keep
    their size, which must be one.
    """
    paths = [*segmentation.object_paths]
    if segmentation.ignore_path is not None:
        paths.append(segmentation.ignore_path)
    greys = [read_grey(path) for path in paths]
    if image_size is not None:
        greys = [resize_nearest(grey, image_size) for grey in greys]
    sizes = sorted({grey.shape for grey in greys})
    if len(sizes) > 1:
        raise ValueError(
            "Segmentations of an image must be of one size, or `image_size` be given. "
            f"Received: {sizes} for {paths[0]} and the others of its image."
        )
    pixels = np.stack(greys) > segmentation.threshold
    count = len(segmentation.object_paths)
    objects = pixels[:count].any(axis=0)
    return objects, pixels[count:].any(axis=0) & ~objects


def read_grey(path: str | Path) -> np.ndarray:
    """Reads an image file as grey values."""
    from PIL import Image

    try:
        with (
            reading("the segmentation", path),
            Image.open(path, formats=PILLOW_FORMATS) as image,
        ):
            return np.asarray(image.convert("L"))
    except (FileNotFoundError, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read the segmentation: {path} ({error}).") from error


def resize_nearest(grey: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes to the nearest pixel as OpenCV's `INTER_NEAREST` does."""
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))), old - 1).astype(int)
        for new, old in zip(image_size, grey.shape, strict=True)
    )
    return grey[rows[:, None], columns]
