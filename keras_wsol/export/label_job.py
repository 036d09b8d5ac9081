"""What the labels of a data set depend on: classes, images and model."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_wsol.data import ImageDataset
from keras_wsol.export.image_names import check_writable
from keras_wsol.models import Localizer, class_names_of


def names_of_classes(
    localizer: Localizer, dataset: ImageDataset, class_ids: str
) -> tuple[str, ...]:
    """Returns the names of the classes of a model."""
    names = _names_of_classes(localizer, dataset, class_ids)
    way_out = "Give the model, or the images, other `class_names`."
    check_writable("The name of a class", names, way_out)
    return names


def _names_of_classes(
    localizer: Localizer, dataset: ImageDataset, class_ids: str
) -> tuple[str, ...]:
    count, known = localizer.head.num_classes, class_names_of(localizer.model)
    names = tuple(dataset.class_names)
    if class_ids == "known" and (
        len(names) != count or (known is not None and tuple(known) != names)
    ):
        raise ValueError(
            f"For `class_ids='known'`, the model must know the classes of "
            f"{dataset.name!r} in their order. It has {count} classes "
            f"({list(known or ())[:3]} ...), the images have {len(names)} "
            f"({list(names)[:3]} ...). `data.image_folder` opens images by class."
        )
    if known is not None:
        return tuple(known)
    if len(names) == count:
        return names
    return tuple(f"class {class_id}" for class_id in range(count))


def digest_of_images(dataset: ImageDataset, names: Sequence[str], root: Path) -> str:
    """Returns a number that differs for other images or classes."""
    described = [list(names), dataset.orientation]
    if dataset.images is None:
        described += [str(root.resolve()), list(map(_size, dataset.paths.tolist()))]
    digest = hashlib.sha256(json.dumps(described).encode())
    digest.update(dataset.class_ids.astype("<i4").tobytes())
    if dataset.images is not None:
        digest.update(np.ascontiguousarray(dataset.images))
    return digest.hexdigest()


def digest_of_model(localizer: Localizer, class_names: Sequence[str]) -> str:
    """Returns a number that differs for other weights, options or class names."""
    config = localizer.get_config()
    # Names are counted up in a process; another network has other weights.
    options = {k: v for k, v in config.items() if k not in ("name", "model")}
    described = json.dumps([options, list(class_names)], sort_keys=True, default=str)
    digest = hashlib.sha256(described.encode())
    for weight in localizer.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return digest.hexdigest()


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:  # such as a missing file, which will be listed as unreadable
        return None
