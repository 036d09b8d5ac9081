"""CUB-200-2011 as its public archive unpacks, and Stanford Cars."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice, composed, once
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    images_a_class,
    reading,
    verified,
)

WEAK_SPLITS = ("train", "train-weaksup", "train-fullsup", "test")
FULLSUP_A_CLASS = 5  # images a class whose boxes may choose thresholds [wsolevaluation]
LARGEST, LONGEST = 2**31, 4096  # beyond what a pixel and a path may be


def cub200(
    root: str | Path,
    split: str = "train-weaksup",
    seed: int = 0,
    *,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a split of CUB-200-2011 (or a folder of its layout).

    Args:
        root: Path of the folder `CUB_200_2011` of the archive, or of the one that it
            lies in, with `images/` and the five lists of the archive.
        split: String. `"train"`: the official training images. `"train-fullsup"`: some
            of them, whose boxes may choose thresholds and checkpoints: the ids in
            `train_fullsup.txt`, one a line, if there is this file, else 5 a class,
            drawn with `seed`; `notes` says which. `"train-weaksup"`: the rest, to train
            on. `"test"`: the official test images.
        seed: Integer. Used where `train_fullsup.txt` is missing. Default 0.
        verify: As in `data.image_folder`.

    Returns:
        The split, a box an image; some cross the border, where batches clip them.

    Raises:
        ValueError: `split` is unknown, or the lists do not fit together.
    """
    check_choice("split", split, WEAK_SPLITS)
    root = existing_folder(root)
    if (root / "CUB_200_2011").is_dir():
        root = root / "CUB_200_2011"
    names, labels, is_train, corners, classes = _tables(root)
    ids = sorted(names)
    class_id = {label: position for position, label in enumerate(sorted(classes))}
    x, y, width, height = np.array([corners[i] for i in ids], "float32").T
    readable = tuple(readable_name(classes[label]) for label in sorted(classes))
    with reading("the classes", root / "classes.txt"):
        whole = ImageDataset(
            name="cub200",
            split="all",
            class_names=readable,
            class_ids=np.array([class_id[labels[i]] for i in ids], "int32"),
            paths=np.array([str(root / "images" / names[i]) for i in ids]),
            boxes=np.stack([x, y, x + width, y + height], axis=-1)[:, None],
        )
    train = np.array([is_train[i] == 1 for i in ids])
    listed = root / "train_fullsup.txt"
    fullsup = None
    if split.startswith("train-") and listed.exists():
        fullsup = _listed(listed, np.array(ids), train)
    return verified(part_of(whole, split, seed, train, fullsup), verify)


def part_of(
    whole: ImageDataset,
    split: str,
    seed: int,
    train: np.ndarray | None = None,
    fullsup: np.ndarray | None = None,
) -> ImageDataset:
    """Takes a split: of all images, or where `train` tells training from test."""
    if train is None:
        train = np.full(len(whole), split != "test")
    if split in ("train", "test"):
        return whole.take(train == (split == "train"), split)
    how = "the ids of train_fullsup.txt"
    if fullsup is None:
        fullsup = images_a_class(whole.class_ids, train, FULLSUP_A_CLASS, seed)
        how = f"{FULLSUP_A_CLASS} images a class, drawn with seed {seed}"
    chosen = fullsup if split == "train-fullsup" else train & ~fullsup
    notes = {**whole.notes, "train-fullsup": how}
    return replace(whole.take(chosen, split), notes=notes)


def _tables(root: Path) -> tuple[dict, ...]:
    """Names, labels, flags and corners by id; classes by label."""
    names = dict(read_list(root / "images.txt", (int, str)))
    classes = dict(read_list(root / "classes.txt", (int, str)))
    labels = dict(read_list(root / "image_class_labels.txt", (int, int)))
    is_train = dict(read_list(root / "train_test_split.txt", (int, int)))
    lines = read_list(root / "bounding_boxes.txt", (int, float, float, float, float))
    corners = {i: values for i, *values in lines}
    files = ("image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
    for file, table in zip(files, (labels, is_train, corners), strict=True):
        missing = sorted(names.keys() - table.keys())
        if missing:
            raise ValueError(
                f"{root / file} must have all images of images.txt. Missing: "
                f"{len(missing)}, the first of id {missing[0]}."
            )
    unknown = sorted({labels[i] for i in names} - classes.keys())
    if unknown:
        raise ValueError(f"{root / 'classes.txt'} lacks the classes {unknown[:8]}.")
    wrong = sorted(set(is_train.values()) - {0, 1})
    if wrong:
        raise ValueError(
            f"{root / 'train_test_split.txt'} must say 1 for training or 0 for test. "
            f"Received: {wrong[:8]}."
        )
    return names, labels, is_train, corners, classes


def _listed(file: Path, ids: np.ndarray, train: np.ndarray) -> np.ndarray:
    given = [number for (number,) in read_list(file, (int,))]
    others = np.setdiff1d(given, ids[train])
    if others.size:
        raise ValueError(
            f"{file} must have ids of training images. Received: {others[:8]}."
        )
    return np.isin(ids, given)


def readable_name(name: str) -> str:
    """Returns the name of a class from that of its folder."""
    return name.split(".", 1)[-1].replace("_", " ")


def read_list(
    path: Path, kinds: Sequence[type], separator: str | None = None, keyed: bool = True
) -> list[tuple[Any, ...]]:
    """Reads the values of each line of a text file that is not empty.

    The first value is a key that must be there once, unless the list is not `keyed`.
    """
    found, lines = [], {}
    with reading("the text in UTF-8", path):
        text = path.read_text("utf-8-sig")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            pairs = zip(kinds, line.split(separator), strict=True)
            found.append(tuple(as_kind(kind, text.strip()) for kind, text in pairs))
        except ValueError as error:
            types = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(
                f"{path}, line {number}: must have the values {types}. "
                f"Received: {line[:200]!r}."
            ) from error
        key = composed(str(found[-1][0]))
        if keyed and lines.setdefault(key, number) != number:
            raise ValueError(f"{path} has {key!r} twice: lines {lines[key]}, {number}.")
    if keyed and not found:
        raise ValueError(f"{path} must have a line. It is empty.")
    return found


def as_kind(kind: type, value: Any) -> Any:
    """Turns a text, or what is of the kind, into text or a number for an array."""
    found = kind(value)
    # Written so that a NaN fails.
    fits = len(found) <= LONGEST if kind is str else abs(found) < LARGEST
    if not fits or (not isinstance(value, str) and found != value):
        raise ValueError(f"{value!r:.80} is no {kind.__name__}, or too large")
    return found


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
