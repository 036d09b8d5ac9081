"""Segmentations of objects, as CUB-200-2011 and OpenImages-30k store them, for PxAP.

OpenImages-30k is the part of Open Images that wsolevaluation chose (Choe et al., 2020):
one PNG an object, and one of the region to be ignored. CUB has one grey PNG an image,
whose value says how many of five annotators took a pixel for the bird.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import existing_folder
from keras_wsol.data.images import BROKEN, PILLOW_FORMATS


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
    """Finds the segmentations of images of CUB-200-2011.

    Args:
        root: Path of the unpacked folder `segmentations`, or of the one it lies in.
        paths: Paths of images, such as `cub200(...).paths`; the last two parts
            (`001.Black_footed_Albatross/name.jpg`) name the file.
        threshold: Float. Grey value above which a pixel belongs to the bird. Default
            127.5: three of the five annotators say so.

    Returns:
        One segmentation an image, with nothing to be ignored.

    Raises:
        FileNotFoundError: The folder or a file is missing; the message names it.
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
        lists: Path of the file `localization.txt` of a split, in lines of
            `<image>,<object>,<ignore>`. An image with several objects has a line for
            each, of which only the first names the region to be ignored.

    Returns:
        Name of the image (`val/0bt_c3/1cd9ac0169ec7df0.jpg`) to its segmentation, in
        the order of the list. Files are looked for when they are read.

    Raises:
        FileNotFoundError: The folder or the list is missing.
        ValueError: A line has other parts; the message gives its number.
    """
    root, lists = existing_folder(root), Path(lists)
    if not lists.is_file():
        raise FileNotFoundError(f"The list of segmentations is missing: {lists}.")
    objects: dict[str, list[Path]] = {}
    ignored: dict[str, Path | None] = {}
    for number, line in enumerate(lists.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 3 or not parts[0] or not parts[1]:
            raise ValueError(
                f"{lists}, line {number}: expected `<image>,<object>,<ignore or "
                f"nothing>`. Received: {line!r}."
            )
        image, file, ignore = parts
        if ignore and image in objects:
            raise ValueError(
                f"{lists}, line {number}: only the first line of an image names the "
                f"region to be ignored. Received: {line!r}."
            )
        if image not in objects:
            ignored[image] = root / ignore if ignore else None
        objects.setdefault(image, []).append(root / file)
    return {
        image: Segmentation(tuple(paths), ignored[image])
        for image, paths in objects.items()
    }


def read_segmentation(
    segmentation: Segmentation, image_size: tuple[int, int] | None = (224, 224)
) -> tuple[np.ndarray, np.ndarray]:
    """Reads where objects are, and what is to be ignored, boolean `(H, W)`.

    As in the published evaluator, each file is resized to the nearest pixel (the one at
    the upper left of where the centre would be, as OpenCV does), cut at the threshold,
    and what belongs to an object is not ignored. Without `image_size`, files keep
    their size, which must be one.
    """
    if not segmentation.object_paths:
        raise ValueError("A segmentation must have at least one file. Received: none.")
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
        with Image.open(path, formats=PILLOW_FORMATS) as image:
            return np.asarray(image.convert("L"))
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read the segmentation: {path} ({error}).") from error


def resize_nearest(grey: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes to the nearest pixel as OpenCV's `INTER_NEAREST` does."""
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))), old - 1).astype(int)
        for new, old in zip(image_size, grey.shape, strict=True)
    )
    return grey[rows[:, None], columns]
