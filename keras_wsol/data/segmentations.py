"""Segmentations of objects, as CUB-200-2011 and OpenImages-30k store them, for PxAP."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_wsol.data.cub200 import read_list
from keras_wsol.data.dataset import existing_folder, reading
from keras_wsol.data.images import PILLOW_FORMATS


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
