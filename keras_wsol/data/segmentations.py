"""Masks of objects, as CUB-200-2011 and OpenImages-30k store them, for PxAP.

`OpenImages-30k` is the part of Open Images that wsolevaluation chose (Choe et al.,
2020): one PNG an object, and one of the regions to be ignored. CUB's archive of
segmentations has one grey PNG an image, whose value says how many of five annotators
took a pixel for the bird.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import existing_folder
from keras_wsol.data.images import BROKEN, FORMATS

# Grey value above which most of CUB's annotators agree: 3 of 5 are 153.
CUB_THRESHOLD = 127.5
# OpenImages' masks are black and white; the published evaluator's value.
OPENIMAGES_THRESHOLD = 0.5


@dataclass(frozen=True)
class Segmentation:
    """Where the masks of an image are.

    Attributes:
        mask_paths: Files of its objects, at least one; their union is the mask.
        ignore_path: File of the region to be ignored, or `None`.
        threshold: Grey value, of 255, above which a pixel belongs to an object.
    """

    mask_paths: tuple[Path, ...]
    ignore_path: Path | None = None
    threshold: float = OPENIMAGES_THRESHOLD


def read_segmentation(
    segmentation: Segmentation, image_size: tuple[int, int] | None = (224, 224)
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the mask of an image, and what is to be ignored around it.

    As in the published evaluator, each file is resized to the nearest pixel (the one
    at the upper left of where the centre would be, as OpenCV does), cut at the
    threshold, and what belongs to an object is not ignored.

    Args:
        segmentation: Where the files are.
        image_size: Height and width of the result; `None` for that of the files,
            which must then be of one size.

    Returns:
        Two boolean arrays `(H, W)`: the objects, and what is to be ignored.

    Raises:
        ValueError: There is no mask, a file is missing or no readable image, or the
            files have different sizes.

    Example:
        mask, ignored = read_segmentation(openimages_masks(root, lists)["val/1.jpg"])
        metric.update_state(mask[None], score_map[None], ignored[None])
    """
    if not segmentation.mask_paths:
        raise ValueError("A segmentation must have at least one mask. Received: none.")
    paths = [*segmentation.mask_paths]
    if segmentation.ignore_path is not None:
        paths.append(segmentation.ignore_path)
    greys = [read_grey(path) for path in paths]
    if image_size is not None:
        greys = [resize_nearest(grey, image_size) for grey in greys]
    sizes = sorted({grey.shape for grey in greys})
    if len(sizes) > 1:
        raise ValueError(
            "Masks of an image must be of one size, or `image_size` be given. "
            f"Received: {sizes} for {paths[0]} and the others of its image."
        )
    pixels = np.stack(greys) > segmentation.threshold
    count = len(segmentation.mask_paths)
    mask = pixels[:count].any(axis=0)
    return mask, pixels[count:].any(axis=0) & ~mask


def read_grey(path: str | Path) -> np.ndarray:
    """Reads an image file as grey values."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return np.asarray(image.convert("L"))
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read the mask: {path} ({error}).") from error


def resize_nearest(grey: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes to the nearest pixel as OpenCV's `INTER_NEAREST` does."""
    rows, columns = (
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))), old - 1).astype(int)
        for new, old in zip(image_size, grey.shape, strict=True)
    )
    return grey[rows[:, None], columns]


def cub200_masks(
    root: str | Path,
    paths: Iterable[str | Path],
    threshold: float = CUB_THRESHOLD,
) -> list[Segmentation]:
    """Finds the masks of images of CUB-200-2011.

    Args:
        root: The unpacked folder `segmentations`, or the one it lies in.
        paths: Paths of images, such as `cub200(...).paths`; the last two parts
            (`001.Black_footed_Albatross/name.jpg`) name the mask.
        threshold: Grey value above which a pixel belongs to the bird. Default 127.5:
            at least three of the five annotators say so.

    Returns:
        One segmentation an image, with nothing to be ignored.

    Raises:
        FileNotFoundError: The folder or a mask is missing; the message names it.
    """
    root = existing_folder(root)
    if (root / "segmentations").is_dir():
        root = root / "segmentations"
    found = []
    for path in map(Path, paths):
        mask = root / path.parent.name / f"{path.stem}.png"
        if not mask.is_file():
            raise FileNotFoundError(f"The mask of {path} is missing: {mask}.")
        found.append(Segmentation((mask,), threshold=threshold))
    return found


def openimages_masks(root: str | Path, lists: str | Path) -> dict[str, Segmentation]:
    """Reads which masks belong to which image of OpenImages-30k.

    Args:
        root: Folder in which the paths of the list begin.
        lists: The file `localization.txt` of a split, in lines of
            `<image>,<mask>,<ignore>`. An image with several objects has a line for
            each, of which only the first names the region to be ignored.

    Returns:
        Name of the image (`val/0bt_c3/1cd9ac0169ec7df0.jpg`) to its masks, in the
        order of the list. Files are looked for when they are read.

    Raises:
        FileNotFoundError: The folder or the list is missing.
        ValueError: A line has other parts; the message gives its number.
    """
    root, lists = existing_folder(root), Path(lists)
    if not lists.is_file():
        raise FileNotFoundError(f"The list of masks is missing: {lists}.")
    masks: dict[str, list[Path]] = {}
    ignored: dict[str, Path | None] = {}
    for number, line in enumerate(lists.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        image, mask, ignore = _parts(line, f"{lists}, line {number}")
        if ignore and image in masks:
            raise ValueError(
                f"{lists}, line {number}: only the first line of an image names the "
                f"region to be ignored. Received: {line!r}."
            )
        if image not in masks:
            ignored[image] = root / ignore if ignore else None
        masks.setdefault(image, []).append(root / mask)
    return {
        image: Segmentation(tuple(paths), ignored[image])
        for image, paths in masks.items()
    }


def _parts(line: str, place: str) -> Sequence[str]:
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 3 or not parts[0] or not parts[1]:
        raise ValueError(
            f"{place}: expected `<image>,<mask>,<ignore or nothing>`. "
            f"Received: {line!r}."
        )
    return parts
