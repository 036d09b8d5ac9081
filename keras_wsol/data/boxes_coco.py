"""Boxes from a JSON file of COCO's detection task."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_wsol.data.annotated import Annotated, join
from keras_wsol.data.dataset import ImageDataset


def boxes_from_coco(dataset: ImageDataset, path: str | Path) -> ImageDataset:
    """Gives the images of a data set that a COCO file has boxes for, with the boxes.

    Of each image the objects of its own class count: categories are matched with
    `class_names` by name, and `notes` says how many boxes of other classes were left
    out. Crowds (`iscrowd`) are left out as well. `file_name` names an image as the
    paths of `boxes_from_csv` do; `width` and `height` must be those of the image as the
    data set reads it (`orientation`), so that no box lands on a turned photograph.

    Args:
        dataset: The images, such as those of `image_folder`.
        path: The file. `bbox` is x, y, width, height in pixels.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such JSON, has no box, or an annotation does not fit: no
            image or several have its path, none of its objects is of the image's
            class, or its image has another size. The message names the image.

    Example:
        some = data.boxes_from_coco(data.image_folder("pets"), "instances.json")

    Reference:
        - [Format](https://cocodataset.org/#format-data)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a JSON file. Nothing is at: {path}.")
    try:
        annotated = _read(json.loads(path.read_text("utf-8-sig")), path)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be JSON of COCO's detection task. Received: "
            f"{type(error).__name__}: {error}."
        ) from error
    return join(dataset, annotated, path.name)


def _read(content: Mapping[str, Any], path: Path) -> list[Annotated]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects: dict[Any, list[tuple[str, tuple[float, ...]]]] = defaultdict(list)
    for entry in content["annotations"]:
        x, y, width, height = map(float, entry["bbox"])
        name = names[entry["category_id"]]
        # An object of an image that does not exist is an error below.
        found = objects[entry["image_id"]]
        if not entry.get("iscrowd"):
            found.append((name, (x, y, x + width, y + height)))
    images = {image["id"]: image for image in content["images"]}
    unknown = sorted(set(objects) - set(images), key=str)
    if unknown:
        raise ValueError(f"annotations of images that are not listed: {unknown[:8]}")
    return [
        Annotated(
            where=f"{path}, image {image['file_name']!r}",
            path=image["file_name"],
            size=(int(image.get("height", 0)), int(image.get("width", 0))),
            objects=tuple(objects.get(key, ())),
        )
        for key, image in images.items()
    ]
