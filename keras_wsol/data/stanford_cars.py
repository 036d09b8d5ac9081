"""Stanford Cars."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice, composed, once
from keras_wsol.data.cub200 import WEAK_SPLITS, as_kind, part_of
from keras_wsol.data.dataset import ImageDataset, existing_folder, reading, verified

_CARS_FIELDS = dict.fromkeys(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), float)
_CARS_FIELDS |= {"class": int, "fname": str}
# For a process of its own: SciPy ends it where some bytes of a file are wrong.
_READER = """
import json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy, scipy.io
if sys.platform == "linux":  # a wrong size would take all memory
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
table = scipy.io.loadmat(sys.argv[1], simplify_cells=True)
# One struct or name alone has lost its dimension.
table = {k: numpy.atleast_1d(v).tolist() for k, v in table.items() if k[:2] != "__"}
json.dump(table, sys.stdout, default=lambda x: getattr(x, "tolist", x.__str__)())
"""


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
    names = _class_names(devkit / "cars_meta.mat")
    with reading("the annotations", path):
        once((composed(file), f"row {row}") for row, file in enumerate(files, start=1))
        whole = ImageDataset(
            name="stanford_cars",
            split=split,
            class_names=names,
            class_ids=np.array(labels, "int32") - 1,
            paths=np.array([str(images / file) for file in files]),
            boxes=boxes[:, None],
        )
    return verified(part_of(whole, split, seed), verify)


def _class_names(path: Path) -> tuple[str, ...]:
    with reading("the MATLAB file", path):
        table = _read_matlab(path)
        if "class_names" not in table:
            expected = f"{path} must hold the variable `class_names`"
            raise ValueError(f"{expected}. Received: {list(table)}.")
        return tuple(as_kind(str, name) for name in table["class_names"])


def struct_fields(path: Path, variable: str, kinds: Mapping[str, type]) -> list[list]:
    """Reads fields of an array of structs in a MATLAB file, as text or numbers."""
    with reading("the MATLAB file", path):
        rows = _read_matlab(path).get(variable)
        found = [*rows[0]] if rows and isinstance(rows[0], dict) else []
        missing = [name for name in kinds if name not in found]
        if missing:
            expected = f"{path} must hold an array of structs `{variable}`"
            raise ValueError(f"{expected}. Missing: {missing}. Received: {found}.")
        return [[as_kind(k, row[name]) for row in rows] for name, k in kinds.items()]


def _read_matlab(path: Path) -> dict[str, Any]:
    """Reads the variables of a MATLAB file of version 5 to 7.2."""
    command = [sys.executable, "-P", "-c", _READER, path.resolve(strict=True)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    except subprocess.SubprocessError as error:
        said = (error.stderr or b"").decode(errors="replace").splitlines()
        raise ValueError(said[-1] if said else "SciPy ends or hangs") from error
    return json.loads(done.stdout)
