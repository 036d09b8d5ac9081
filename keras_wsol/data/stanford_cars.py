"""Stanford Cars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice
from keras_wsol.data.cub200 import WEAK_SPLITS, part_of
from keras_wsol.data.dataset import ImageDataset, existing_folder, verified


def read_matlab(path: str | Path) -> Mapping[str, Any]:
    """Reads the variables of a MATLAB file of version 5 to 7.2."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The list is missing: {path}.")
    try:
        return loadmat(path, squeeze_me=True)
    # What scipy raises on files that are cut off or something else.
    except (MatReadError, ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"Cannot read the MATLAB file: {path} ({error}).") from error


def struct_fields(
    table: Mapping[str, Any], variable: str, names: tuple[str, ...], path: str | Path
) -> tuple[list[Any], ...]:
    """Takes fields of an array of structs."""
    # One struct alone has lost its dimension.
    rows = np.atleast_1d(table.get(variable, ()))
    found = rows.dtype.names or ()
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} must hold an array of structs `{variable}` with the fields "
            f"{list(names)}. Missing: {missing}. Received: {list(found)}."
        )
    return tuple(list(rows[name]) for name in names)


_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def stanford_cars(
    root: str | Path,
    split: str = "train-weaksup",
    seed: int = 0,
    *,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a split of Stanford Cars.

    Corners of boxes are counted from 1 and belong to the box, as MATLAB's indices:
    x1, y1, x2, y2 become x1 - 1, y1 - 1, x2, y2. TFDS' `cars196` takes them as they
    are, and is a pixel off.

    Args:
        root: Path of the folder with `cars_train/`, `cars_test/` and `devkit/`, which
            holds `cars_meta.mat` and `cars_train_annos.mat`; for the test split also
            `cars_test_annos_withlabels.mat`, in `devkit/` or beside it. Images may
            lie one folder deeper, in `cars_train/cars_train/`.
        split: String. `"train"`: the official training images. `"train-fullsup"`: 5 of
            them a class, drawn with `seed`, whose boxes may choose thresholds and
            checkpoints. `"train-weaksup"`: the rest, to train on. `"test"`: the
            official test images.
        seed: Integer. Draws `"train-fullsup"`. Default 0.
        verify: As in `data.image_folder`.

    Returns:
        The split, in the order of its list, with one box an image.

    Raises:
        FileNotFoundError: A folder or a list is missing; the message names it.
        ValueError: `split` is unknown, a list is no MATLAB file or lacks a field, or
            a class has no name.

    Reference:
        - Krause et al., 2013, 3D Object Representations for Fine-Grained
          Categorization
    """
    check_choice("split", split, WEAK_SPLITS)
    root = existing_folder(root)
    names = _class_names(root / "devkit" / "cars_meta.mat")
    part = "test" if split == "test" else "train"
    whole = _read(_images(root, part), _list(root, part), names, part)
    return verified(whole if split == part else part_of(whole, split, seed), verify)


def _read(images: Path, path: Path, names: tuple[str, ...], split: str) -> ImageDataset:
    fields = (*_CORNERS, "class", "fname")
    *corners, labels, files = struct_fields(
        read_matlab(path), "annotations", fields, path
    )
    class_ids = np.array(labels, "int32") - 1
    unknown = np.setdiff1d(class_ids, np.arange(len(names)))
    if unknown.size:
        raise ValueError(
            f"{path} must have classes from 1 to {len(names)}, the number of names in "
            f"cars_meta.mat. Received: {(unknown + 1)[:8].tolist()}."
        )
    boxes = np.array(corners, "float32").T - np.array([1, 1, 0, 0], "float32")
    return ImageDataset(
        name="stanford_cars",
        split=split,
        class_names=names,
        class_ids=class_ids,
        paths=np.array([str(images / file) for file in files]),
        boxes=boxes[:, None],
    )


def _images(root: Path, part: str) -> Path:
    folder = existing_folder(root / f"cars_{part}")
    deeper = folder / folder.name
    return deeper if deeper.is_dir() else folder


def _list(root: Path, part: str) -> Path:
    if part == "train":
        return root / "devkit" / "cars_train_annos.mat"
    name = "cars_test_annos_withlabels.mat"
    found = [path for path in (root / "devkit" / name, root / name) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"The list of test images with classes is missing: {root / 'devkit' / name}"
            ". The devkit's own `cars_test_annos.mat` has no classes."
        )
    return found[0]


def _class_names(path: Path) -> tuple[str, ...]:
    table = read_matlab(path)
    if "class_names" not in table:
        raise ValueError(
            f"{path} must hold the variable `class_names`. Received: "
            f"{[name for name in table if not name.startswith('__')]}."
        )
    return tuple(str(name) for name in np.atleast_1d(table["class_names"]))
