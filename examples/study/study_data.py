"""The data sets of the studies, each in the splits that they use."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_wsol import data

DATA = ("cub40", "imagenette10", "stanford_cars40", "oxford_pets3")


def splits(name: str, root: Path) -> list[data.ImageDataset]:
    """Reads a data set.

    Args:
        name: One of `DATA`.
        root: Its folder.

    Returns:
        Images to learn from by their labels, held-out images with boxes, and test
        images.
    """
    if name == "cub40":
        parts = ("train-weaksup", "train-fullsup", "test")
        return [data.cub200(root / "CUB_200_2011", each) for each in parts]
    if name == "imagenette10":
        train, val = (data.ilsvrc2012(root, x) for x in ("train-weaksup", "test"))
        ids = set((root / "train_fullsup.txt").read_text().split())
        held_out = np.array([Path(path).stem in ids for path in val.paths])
        return [train, val.take(held_out, "train-fullsup"), val.take(~held_out, "test")]
    if name == "stanford_cars40":
        train, test = (data.stanford_cars(root, x) for x in ("train", "test"))
    else:
        train, test = (pets(root, each) for each in ("trainval", "test"))
    per_class = 200 // train.num_classes
    return [*train.hold_out(per_class=min(per_class, 30)), test]


def pets(root: Path, split: str) -> data.ImageDataset:
    """Oxford-IIIT Pet; the box of an animal is that of its trimap."""
    lines = (root / "annotations" / f"{split}.txt").read_text().splitlines()
    stems = [line.split()[0] for line in lines]
    kinds = [stem.rsplit("_", 1)[0] for stem in stems]
    names = sorted(set(kinds))
    boxes = []
    for stem in stems:
        trimap = np.array(Image.open(root / "annotations" / "trimaps" / f"{stem}.png"))
        y, x = np.nonzero(trimap != 2)
        boxes.append([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
    return data.ImageDataset(
        name="oxford_pets3",
        split=split,
        class_names=tuple(names),
        class_ids=np.array([names.index(kind) for kind in kinds], "int32"),
        paths=np.array([str(root / "images" / f"{stem}.jpg") for stem in stems]),
        boxes=np.array(boxes, "float32"),
    )
