"""Folders of images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_wsol.data.dataset import ImageDataset, existing_folder, share_a_class

UNKNOWN = "unknown"


def image_files(root: str | Path) -> ImageDataset:
    """Opens all images in a folder and the folders below it, without classes.

    Args:
        root: The folder. What counts as an image is said in `image_folder`.

    Returns:
        The images, sorted by path, all of one class, `"unknown"`, JPEG files upright
        as their EXIF tag says; without boxes.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: There is no image.
    """
    root = existing_folder(root)
    paths = images_below(root)
    if not paths:
        raise ValueError(
            f"{root} must hold images ({', '.join(EXTENSIONS)}). It has none."
        )
    return ImageDataset(
        name=root.resolve().name,
        split="all",
        class_names=(UNKNOWN,),
        class_ids=np.zeros(len(paths), "int32"),
        paths=np.array(paths),
        orientation="exif",
    )


EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
SPLITS = ("all", "train", "val")


def image_folder(
    root: str | Path,
    split: str = "all",
    *,
    val_share: float = 0.2,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> ImageDataset:
    """Opens a folder that holds one folder of images for each class.

    Args:
        root: The folder. `root/cat/1.jpg` is of class `cat`; deeper folders belong
            to the class, too. Files with other endings than those of JPEG, PNG,
            BMP, GIF and WebP are left out, and so is what starts with a dot.
        split: `"all"`, or `"train"` and `"val"`: a split of each class by seed.
        val_share: Float in [0, 1), the share of each class in `"val"`.
        seed: Integer, fixes the split.
        class_names: The classes by class id, such as those of a trained model;
            `None` for the names of the folders, sorted.

    Returns:
        The split, its JPEG files upright as their EXIF tag says, without boxes.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: There is no image, a folder is no known class, a class has no
            image, a name stands twice in `class_names`, or an argument is out of
            range.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {list(SPLITS)}. Received: {split!r}.")
    if not 0 <= val_share < 1:
        raise ValueError(f"`val_share` must be in [0, 1). Received: {val_share!r}.")
    root = existing_folder(root)
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    names = tuple(folders if class_names is None else class_names)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(
            f"`class_names` must name each class once. Received twice: {twice[:8]}."
        )
    unknown = sorted(set(folders) - set(names))
    if unknown:
        raise ValueError(
            f"`class_names` lacks the classes of these folders in {root}: {unknown}."
        )
    files = {name: images_below(root / name) for name in folders}
    empty = [name for name in folders if not files[name]]
    if empty or not folders:
        raise ValueError(
            f"{root} must hold a folder of images ({', '.join(EXTENSIONS)}) for each "
            f"class. Folders found: {folders[:20]}; without an image: {empty[:20]}."
        )
    paths = [path for name in folders for path in files[name]]
    ids = [names.index(name) for name in folders for _ in files[name]]
    whole = ImageDataset(
        name=root.resolve().name,
        split="all",
        class_names=names,
        class_ids=np.array(ids, "int32"),
        paths=np.array(paths),
        orientation="exif",
    )
    if split == "all":
        return whole
    val = share_a_class(whole.class_ids, val_share, seed)
    return whole.take(val if split == "val" else ~val, split)


def images_below(folder: Path) -> list[str]:
    """Lists the image files in a folder and the folders below it."""
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and path.is_file()
        and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
