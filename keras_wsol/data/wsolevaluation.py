"""Splits of wsolevaluation: CUB and CUBV2, ImageNet and ImageNetV2, OpenImages."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from keras_wsol.arguments import check_choice, composed
from keras_wsol.data.cub200 import read_list, readable_name
from keras_wsol.data.dataset import (
    ImageDataset,
    existing_folder,
    padded_boxes,
    reading,
    verified,
)

_FOLDERS = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}


def wsolevaluation(
    metadata: str | Path,
    images: str | Path,
    split: str = "train-weaksup",
    *,
    class_names: Sequence[str] | None = None,
    verify: bool | str | Path = True,
) -> ImageDataset:
    """Opens a split in the layout of wsolevaluation, `metadata/<data set>/<split>`.

    Boxes are the numbers of `localization.txt` as they stand, so that
    `convention="wsolevaluation"` of the metrics gives the figures of the published
    evaluator. As boxes whose far edge is exclusive they are right for CUB, but for what
    was cut at the image's last pixel, and a pixel short on the right and at the bottom
    for ImageNet (`data.ilsvrc2012` adds it) and ImageNetV2.

    Args:
        metadata: Path of `metadata/CUB`, `metadata/ILSVRC` or `metadata/OpenImages`,
            with the lists in `train/`, `val/` and `test/`.
        images: Path of the folder in which the names of images begin, such as
            `dataset/ILSVRC`, which holds `val/` and `val2/`.
        split: String. `"train-weaksup"`, to train on; `"train-fullsup"` (CUBV2,
            ImageNetV2, OpenImages' validation images), to choose thresholds and
            checkpoints; `"test"`.
        class_names: Sequence of names by class id, such as
            `data.ilsvrc2012(...).class_names`. Default `None`: where the test images
            lie in a folder for each class, its name (`Black footed Albatross`; for
            OpenImages its code, `0bt_c3`), else the class id.
        verify: As in `data.image_folder`.

    Returns:
        The split, in the order of `image_ids.txt`; without boxes where it has none, or
        has segmentations: see `data.openimages_segmentations`.

    Raises:
        ValueError: A line is wrong, lists do not fit together, or a class has no name.

    Reference:
        - [Choe et al., 2020](https://arxiv.org/abs/2001.07437)
    """
    check_choice("split", split, list(_FOLDERS))
    metadata, images = existing_folder(metadata), existing_folder(images)
    lists = existing_folder(metadata / _FOLDERS[split])
    ids = [image for (image,) in read_list(lists / "image_ids.txt", (str,), ",")]
    keys = list(map(composed, ids))
    lines = read_list(lists / "class_labels.txt", (str, int), ",")
    labels = {composed(image): label for image, label in lines}
    missing = [image for image in keys if image not in labels]
    if missing:
        raise ValueError(
            f"{lists / 'class_labels.txt'} must have the images of image_ids.txt. "
            f"Received: {len(ids)} images, of which {len(missing)} lack: {missing[:4]}."
        )
    boxes = _boxes(lists / "localization.txt", keys)
    with reading("the classes", lists / "class_labels.txt"):
        names = _class_names(metadata, labels) if class_names is None else class_names
        whole = ImageDataset(
            name=metadata.resolve().name,
            split=split,
            class_names=tuple(names),
            class_ids=np.array([labels[image] for image in keys], "int32"),
            paths=np.array([str(images / image) for image in ids]),
            boxes=boxes,
        )
    return verified(whole, verify)


def _class_names(metadata: Path, labels: dict[str, int]) -> tuple[str, ...]:
    """Names that are the same for all splits."""
    path = metadata / "test" / "class_labels.txt"
    of_test = dict(read_list(path, (str, int), ",")) if path.exists() else labels
    folders: dict[int, set[str]] = defaultdict(set)
    for image, label in of_test.items():
        folders[label].add(PurePosixPath(image).parent.name)
    count = 1 + max([*of_test.values(), *labels.values()])
    if count > 10**6:  # a name is made for each
        raise ValueError(f"{count} classes are too many")
    names = [next(iter(folders[n])) for n in range(count) if len(folders[n]) == 1]
    if len(set(names)) < count:
        return tuple(map(str, range(count)))
    # CUB's have a number in front; the codes of OpenImages stay as they are.
    return tuple(readable_name(name) if "." in name else name for name in names)


def _boxes(path: Path, ids: list[str]) -> np.ndarray | None:
    """Boxes of each image; `None` for segmentations, and where there are none."""
    # Lines of segmentations have two commas.
    if not path.exists():
        return None
    with reading("boxes", path), path.open(encoding="utf-8") as file:
        if file.readline().count(",") == 2:
            return None
    boxes: dict[str, list[list[int]]] = {image: [] for image in ids}
    for image, *corners in read_list(path, (str, *[int] * 4), ",", keyed=False):
        if composed(image) not in boxes:
            raise ValueError(f"{path} has boxes of {image!r}, not in image_ids.txt.")
        boxes[composed(image)].append(corners)
    return padded_boxes([boxes[image] for image in ids])
