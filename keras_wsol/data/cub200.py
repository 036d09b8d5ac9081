"""CUB-200-2011 as its public archive unpacks."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_wsol.arguments import check_choice
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    images_a_class,
    verified,
)

WEAK_SPLITS = ("train", "train-weaksup", "train-fullsup", "test")
FULLSUP_A_CLASS = 5  # images a class whose boxes may choose thresholds [wsolevaluation]


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
            lies in. It holds `images/`, `images.txt`, `image_class_labels.txt`,
            `classes.txt`, `bounding_boxes.txt` and `train_test_split.txt`.
        split: String. `"train"`: the official training images. `"train-fullsup"`: some
            of them, whose boxes may choose thresholds and checkpoints: the ids in
            `train_fullsup.txt`, one a line, if there is this file, else 5 a class,
            drawn with `seed`; `notes` says which. `"train-weaksup"`: the rest, to train
            on. `"test"`: the official test images.
        seed: Integer. Used where `train_fullsup.txt` is missing. Default 0.
        verify: As in `data.image_folder`.

    Returns:
        The split, with one box an image. Some boxes cross the border of their image
        by rounding; batches clip them.

    Raises:
        FileNotFoundError: A file is missing; the message names it.
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
    whole = ImageDataset(
        name="cub200",
        split="all",
        class_names=tuple(readable_name(classes[label]) for label in sorted(classes)),
        class_ids=np.array([class_id[labels[i]] for i in ids], "int32"),
        paths=np.array([str(root / "images" / names[i]) for i in ids]),
        boxes=np.stack([x, y, x + width, y + height], axis=-1)[:, None],
    )
    train = np.array([is_train[i] == 1 for i in ids])
    if split == "test":
        return verified(whole.take(~train, split), verify)
    listed = root / "train_fullsup.txt"
    fullsup = _listed(listed, np.array(ids), train) if listed.is_file() else None
    return verified(part_of(whole, split, seed, train, fullsup), verify)


def part_of(
    whole: ImageDataset,
    split: str,
    seed: int,
    train: np.ndarray | None = None,
    fullsup: np.ndarray | None = None,
) -> ImageDataset:
    """Takes a split of the training images, all or those where `train` is true."""
    train = np.ones(len(whole), bool) if train is None else train
    if split == "train":
        return whole.take(train, split)
    how = "the ids of train_fullsup.txt"
    if fullsup is None:
        fullsup = images_a_class(whole.class_ids, train, FULLSUP_A_CLASS, seed)
        how = f"{FULLSUP_A_CLASS} images a class, drawn with seed {seed}"
    chosen = fullsup if split == "train-fullsup" else train & ~fullsup
    notes = {**whole.notes, "train-fullsup": how}
    return replace(whole.take(chosen, split), notes=notes)


def _tables(root: Path) -> tuple[dict, ...]:
    """Names, labels, flags and corners by id; classes by label."""
    names = _table(root / "images.txt", str)
    classes = _table(root / "classes.txt", str)
    labels = _table(root / "image_class_labels.txt", int)
    is_train = _table(root / "train_test_split.txt", int)
    corners = _table(root / "bounding_boxes.txt", float, columns=4)
    for file, table in (
        ("image_class_labels.txt", labels),
        ("train_test_split.txt", is_train),
        ("bounding_boxes.txt", corners),
    ):
        missing = sorted(set(names) - set(table))
        if missing:
            raise ValueError(
                f"{root / file} lacks {len(missing)} images of images.txt, the first "
                f"with id {missing[0]} ({names[missing[0]]})."
            )
    unknown = sorted({labels[i] for i in names} - set(classes))
    if unknown:
        raise ValueError(
            f"image_class_labels.txt names classes that classes.txt does not have: "
            f"{unknown[:8]} (in {root})."
        )
    wrong = sorted(set(is_train.values()) - {0, 1})
    if wrong:
        raise ValueError(
            f"{root / 'train_test_split.txt'} must say 1 for training or 0 for test. "
            f"Received: {wrong[:8]}."
        )
    return names, labels, is_train, corners, classes


def _listed(file: Path, ids: np.ndarray, train: np.ndarray) -> np.ndarray:
    given = np.loadtxt(file, dtype=int, ndmin=1)
    unknown = np.setdiff1d(given, ids)
    if unknown.size:
        raise ValueError(
            f"{file} lists ids that images.txt does not have: {unknown[:8]}."
        )
    listed = np.isin(ids, given)
    outside = ids[listed & ~train]
    if outside.size:
        raise ValueError(
            f"{file} lists images of the test split, such as id {outside[0]}."
        )
    return listed


def readable_name(name: str) -> str:
    """Returns the name of a class from that of its folder."""
    return name.split(".", 1)[-1].replace("_", " ")


def _table(path: Path, kind: type, columns: int = 1) -> dict[int, object]:
    """Reads lines of an id and one or more values."""
    if not path.is_file():
        raise FileNotFoundError(
            f"A file of CUB-200-2011 is missing: {path}. `root` must be the folder "
            "`CUB_200_2011` of the archive."
        )
    table = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            key, *values = int(parts[0]), *map(kind, parts[1:])
            if len(values) != columns:
                raise ValueError
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: expected an id and {columns} value(s). "
                f"Received: {line!r}."
            ) from error
        table[key] = values if columns > 1 else values[0]
    return table
