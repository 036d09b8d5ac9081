"""Boxes from a folder of Pascal VOC's XML files."""

from pathlib import Path

from keras_wsol.data.annotated import Annotated, join
from keras_wsol.data.box_join import without_suffix
from keras_wsol.data.dataset import ImageDataset, existing_folder
from keras_wsol.data.voc_file import read_voc_file


def boxes_from_voc(dataset: ImageDataset, root: str | Path) -> ImageDataset:
    """Gives the images of a data set that VOC files have boxes for, with the boxes.

    An XML file belongs to the image of its name: `cat/1.xml` to the one whose path is,
    or ends with, `cat/1` but for `.jpg` and the like. Of each image the objects of its
    own class count, and `notes` says how many boxes of other classes were left out.
    Corners are pixels counted from 1 that belong to the box, as in VOC's development
    kit: `xmin=1, ymin=1, xmax=10, ymax=5` is the box 0, 0, 10, 5. `width` and `height`
    must be those of the image as the data set reads it (`orientation`).

    ImageNet's files count from 0, and are often of images of another size: see
    `data.ilsvrc2012`.

    Args:
        dataset: The images, such as those of `image_folder`.
        root: The folder of annotations, or the one that holds it as `Annotations`.

    Returns:
        The images with boxes, in the order of `dataset`; `split` is `"boxes"`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A file cannot be read, there is no box, or a file does not fit: no
            image or several have its name, none of its objects is of the image's
            class, or its image has another size. The message names the file.

    Example:
        some = data.boxes_from_voc(data.image_folder("pets"), "VOCdevkit/Annotations")

    Reference:
        - [Development kit](http://host.robots.ox.ac.uk/pascal/VOC/voc2012/)
    """
    root = existing_folder(root)
    if (root / "Annotations").is_dir():
        root = root / "Annotations"
    annotated = [_read(path, root) for path in sorted(root.rglob("*.xml"))]
    return join(dataset, annotated, root.name, with_suffix=False)


def _read(path: Path, root: Path) -> Annotated:
    file = read_voc_file(path)
    return Annotated(
        where=str(path),
        path=without_suffix(path.relative_to(root).as_posix()),
        size=file.size,
        objects=tuple(
            (name, (xmin - 1, ymin - 1, xmax, ymax))
            for name, (xmin, ymin, xmax, ymax) in file.objects
        ),
    )
