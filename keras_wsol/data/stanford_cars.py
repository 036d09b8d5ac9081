"""Stanford Cars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice
from keras_wsol.data.cub200 import WEAK_SPLITS, part_of
from keras_wsol.data.dataset import ImageDataset, existing_folder, verified

_CARS_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


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
        split: String, as in `data.cub200`. `"train-fullsup"` are 5 images a class.
        seed: Integer. Draws `"train-fullsup"`. Default 0.
        verify: As in `data.image_folder`.

    Returns:
        The split, in the order of its list, with one box an image.

    Raises:
        ValueError: `split` is unknown, or a list is no MATLAB file or lacks something.

    Reference:
        - Krause et al., 2013, 3D Object Representations for Fine-Grained Categorization
    """
    check_choice("split", split, WEAK_SPLITS)
    root = existing_folder(root)
    devkit = root / "devkit"
    path, part = devkit / "cars_train_annos.mat", "cars_train"
    if split == "test":
        name, part = "cars_test_annos_withlabels.mat", "cars_test"
        path = root / name if (root / name).is_file() else devkit / name
    images = existing_folder(root / part)
    if (images / part).is_dir():
        images = images / part
    *corners, labels, files = struct_fields(path, "annotations", _CARS_FIELDS)
    boxes = np.array(corners, "float32").T - np.array([1, 1, 0, 0], "float32")
    whole = ImageDataset(
        name="stanford_cars",
        split=split,
        class_names=_class_names(devkit / "cars_meta.mat"),
        class_ids=np.array(labels, "int32") - 1,
        paths=np.array([str(images / file) for file in files]),
        boxes=boxes[:, None],
    )
    return verified(part_of(whole, split, seed), verify)


def _class_names(path: Path) -> tuple[str, ...]:
    table = _read_matlab(path)
    if "class_names" not in table:
        found = [name for name in table if not name.startswith("__")]
        raise ValueError(
            f"{path} must hold the variable `class_names`. Received: {found}."
        )
    return tuple(str(name) for name in np.atleast_1d(table["class_names"]))


def struct_fields(path: Path, variable: str, names: tuple[str, ...]) -> list[list[Any]]:
    """Reads fields of an array of structs in a MATLAB file."""
    # One struct alone has lost its dimension.
    rows = np.atleast_1d(_read_matlab(path).get(variable, ()))
    found = rows.dtype.names or ()
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{path} must hold an array of structs `{variable}`. Missing: {missing}. "
            f"Received: {list(found)}."
        )
    return [list(rows[name]) for name in names]


def _read_matlab(path: Path) -> Mapping[str, Any]:
    """Reads the variables of a MATLAB file of version 5 to 7.2."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with path.open("rb") as file:
        try:
            return loadmat(file, squeeze_me=True)
        # What scipy raises on files that are cut off or something else.
        except (MatReadError, ValueError, TypeError, OSError, NotImplementedError) as e:
            raise ValueError(f"Cannot read the MATLAB file: {path} ({e}).") from e
