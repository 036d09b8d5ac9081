"""Annotations with objects of several classes, joined to a data set of one class each.

A detector's labels name every object of an image; an image of a folder by class has
one class, and the boxes that count are those of its objects.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from keras_wsol.data.box_join import ImagePaths, check_box, last_part, with_boxes
from keras_wsol.data.dataset import ImageDataset
from keras_wsol.data.reading import read_size


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The objects of one image.

    Attributes:
        where: Where this stands, for messages.
        path: Path of the image, or the end of it.
        size: Height and width of the image that was annotated; `(0, 0)` if not known.
        objects: For each object its class and x0, y0, x1, y1, far edge exclusive.
    """

    where: str
    path: str
    size: tuple[int, int]
    objects: tuple[tuple[str, tuple[float, ...]], ...]


def join(
    dataset: ImageDataset,
    annotated: Sequence[Annotated],
    source: str,
    with_suffix: bool = True,
) -> ImageDataset:
    """Takes the images that have objects of their own class.

    Args:
        dataset: The images.
        annotated: The annotations; those without objects are passed over.
        source: Where they are from.
        with_suffix: Whether paths end in `.jpg` and the like.

    Returns:
        The images with boxes, in the order of `dataset`; the split is `"boxes"`.

    Raises:
        ValueError: There is no object, or an annotation does not fit: no image or
            several have its path, none of its objects is of the image's class, its
            image has another size, or a box is none.
    """
    annotated = [image for image in annotated if image.objects]
    if not annotated:
        raise ValueError(f"{source} must have at least one box. Received: none.")
    names = {last_part(image.path) for image in annotated}
    index_of = ImagePaths(dataset, names, with_suffix)
    boxes: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    others = 0
    for image in annotated:
        try:
            index = index_of.find(image.path)
            own = _own_boxes(image, dataset, index)
        except ValueError as error:
            raise ValueError(f"{image.where}: {error}") from error
        boxes[index] += own
        others += len(image.objects) - len(own)
    if others:
        source = f"{source}, without {others} boxes of other classes"
    return with_boxes(dataset, boxes, source)


def _own_boxes(
    image: Annotated, dataset: ImageDataset, index: int
) -> list[tuple[float, ...]]:
    own = dataset.class_names[dataset.class_ids[index]]
    boxes = [box for name, box in image.objects if name.strip() == own.strip()]
    if not boxes:
        names = sorted({name for name, _ in image.objects})
        raise ValueError(
            f"an object must be of the class of its image, {own!r}. Received: {names}."
        )
    for box in boxes:
        check_box(box)
    size = _size(dataset, index)
    if min(image.size) > 0 and image.size != size:
        raise ValueError(
            f"the image must have the annotated size, {_words(image.size)}. Received: "
            f"{_words(size)}, with images read as orientation={dataset.orientation!r}."
        )
    return boxes


def _size(dataset: ImageDataset, index: int) -> tuple[int, int]:
    if dataset.images is not None:
        return dataset.images[index].shape[:2]
    return read_size(dataset.paths[index], dataset.orientation)


def _words(size: tuple[int, int]) -> str:
    return f"{size[1]} wide and {size[0]} high"
