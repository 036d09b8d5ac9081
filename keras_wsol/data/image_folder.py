"""Folders of images."""

import hashlib
import os
import re
from collections.abc import Sequence
from itertools import filterfalse
from pathlib import Path

import numpy as np

from keras_wsol.arguments import check_choice, check_integer, composed, once
from keras_wsol.data.dataset import ImageDataset, existing_folder, reading, verified

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
# Control characters, which XML cannot hold or which end a line; halves of characters,
# which Python makes of file names that are not UTF-8; and what Unicode never assigns.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_FOLDER_SPLITS = ("all", "train", "val")
_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "dev", "eval"}
_SPLIT_NAMES |= {"test", "tests", "testing"}


def image_files(root: str | Path, *, verify: bool | str | Path = True) -> ImageDataset:
    """Opens all images in a folder and the folders below it, without classes.

    Args:
        root: Path of the folder. `image_folder` says what counts as an image.
        verify: As in `image_folder`.

    Returns:
        The images, sorted by path, upright, all of the class `"unknown"`.
    """
    root = existing_folder(root)
    paths = images_below(root)
    if not paths:
        raise ValueError(f"{root} must hold images ({', '.join(EXTENSIONS)}).")
    return verified(of_unknown_class(_name_of(root), paths), verify)


def of_unknown_class(name: str, paths: list[str]) -> ImageDataset:
    """The images at paths, all of the class `"unknown"`."""
    return _dataset(name, paths, np.zeros(len(paths), "int32"), ("unknown",))


def image_folder(
    root: str | Path,
    split: str = "all",
    *,
    val_share: float = 0.2,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a folder that holds one folder of images for each class.

    Args:
        root: Path of the folder. `root/cat/1.jpg` and what lies deeper is of class
            `cat`, also in linked folders. JPEG, PNG, BMP, GIF and WebP files count;
            hidden ones do not.
        split: String. `"all"`, or `"train"` and `"val"`. The path below `root` and
            `seed` alone decide on an image, whatever others come or go. But a class
            that would be in `"val"` whole keeps one image in `"train"`; one of few
            images may have none in `"val"`.
        val_share: Float in [0, 1). Chance of an image to be in `"val"`. Default 0.2.
        seed: Integer. Fixes the split. Default 0.
        class_names: Sequence of strings by class id. Default: the folders, sorted.
        verify: Boolean, or path. Whether to open every file once; those that cannot be
            read are in `left_out`, and in no batch. A path keeps the verdicts in a
            file, so that unchanged files are not opened again. Default `True`.

    Returns:
        The split, without boxes; JPEG files upright by their EXIF tag.

    Raises:
        ValueError: A folder is no known class or has no image, its name is no UTF-8, a
            name stands twice, or an argument is out of range.
    """
    check_choice("split", split, _FOLDER_SPLITS)
    if not 0 <= val_share < 1:
        raise ValueError(f"`val_share` must be in [0, 1). Received: {val_share!r}.")
    check_integer("seed", seed, -(2**63), 2**63 - 1)
    root = existing_folder(root)
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    with reading("names of folders", root):
        once((composed(name), ascii(name)) for name in folders)
    if len(folders) > 1 and {name.lower() for name in folders} <= _SPLIT_NAMES:
        raise ValueError(
            f"{root} must hold a folder of images for each class. Received what looks "
            f"like splits: {folders}. Pass one of them, such as {root / folders[0]}."
        )
    files = {name: images_below(root / name) for name in folders}
    if strange := list(filter(UNWRITABLE.search, folders)):
        expected = "must hold folders named in UTF-8, without control characters"
        raise ValueError(f"{root} {expected}. Received: {strange[:20]}.")
    empty = [name for name in folders if not files[name]]
    if empty or not folders:
        count = sum(path.suffix.lower() in EXTENSIONS for path in root.iterdir())
        raise ValueError(
            f"{root} must hold a folder of images ({', '.join(EXTENSIONS)}) for each "
            f"class. Folders found: {folders[:20]}; without an image: {empty[:20]}; "
            f"images in {root} itself, without a class: {count}."
        )
    own = list(map(composed, folders))
    names = tuple(own if class_names is None else map(composed, class_names))
    if len(set(names)) < len(names) or not set(own) <= set(names):
        raise ValueError(
            f"`class_names` must name the class of each folder in {root} once. "
            f"Missing: {sorted(set(own) - set(names))}. Received: {names[:20]}."
        )
    paths = [path for name in folders for path in files[name]]
    places = {name: place for place, name in enumerate(names)}
    counts = [len(files[name]) for name in folders]
    ids = np.repeat(np.array([places[name] for name in own], "int32"), counts)
    whole = _dataset(_name_of(root), paths, ids, names)
    if split != "all":
        drawn = (_in_val(root, files[name], val_share, seed) for name in folders)
        val = np.concatenate([*drawn])
        whole = whole.take(val if split == "val" else ~val, split)
    return verified(whole, verify)


def _in_val(root: Path, paths: list[str], share: float, seed: int) -> np.ndarray:
    """Which images of a class are in the validation split: those of low digests."""
    names = (f"{seed}/{composed(below(root, path))}" for path in paths)
    texts = (name.encode(errors="surrogateescape") for name in names)
    digests = [hashlib.blake2b(text, digest_size=6).hexdigest() for text in texts]
    drawn = np.array([int(digest, 16) / 2**48 for digest in digests])
    val = drawn < share
    if val.all():
        val[drawn.argmax()] = False
    return val


def below(root: Path, path: str) -> str:
    """Returns the path of a file below a folder, with slashes."""
    return path.removeprefix(str(root)).lstrip(os.sep).replace(os.sep, "/")


def _name_of(root: Path) -> str:
    return UNWRITABLE.sub("?", root.resolve().name)


def _dataset(
    name: str, paths: list[str], class_ids: np.ndarray, names: tuple[str, ...]
) -> ImageDataset:
    return ImageDataset(
        name=name,
        split="all",
        class_names=names,
        class_ids=class_ids,
        paths=np.array(paths),
        orientation="exif",
    )


def images_below(folder: str | Path) -> list[str]:
    """Lists the image files in a folder, the folders below it, and linked ones."""
    found, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        # A link may lead to where the walk has been.
        where = Path(parent).stat()
        if (where.st_dev, where.st_ino) in seen:
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        folders[:] = [name for name in folders if name[0] != "."]
        images = [
            name
            for name in names
            if name[0] != "." and name.lower().endswith(EXTENSIONS)
        ]
        with reading("names", parent):
            once((composed(name), ascii(name)) for name in folders + images)
        paths = [f"{parent}{os.sep}{name}" for name in images]
        # A pipe would be waited for. A link to nothing cannot be read, and is left out.
        found += [*filter(os.path.isfile, paths), *filterfalse(os.path.exists, paths)]
    return sorted(found)
