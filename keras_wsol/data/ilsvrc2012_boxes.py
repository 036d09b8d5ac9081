"""The boxes of ILSVRC 2012, in pixels of the images as they are."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from keras_wsol.data.box_arrays import padded_boxes
from keras_wsol.data.dataset import ImageDataset, existing_folder
from keras_wsol.data.reading import read_size
from keras_wsol.data.voc_file import read_voc_file

# How far the shapes of the annotated and the stored image may differ: a whole pixel
# of the shorter side when a large image was scaled down.
_SHAPE_TOLERANCE = 0.02
_THREADS = 8


def boxes_of_image(
    annotation: Path, image: str, wnid: str
) -> list[tuple[float, ...]] | None:
    """Reads the boxes of an image's own class.

    Args:
        annotation: The XML file.
        image: Path of the image.
        wnid: Its class.

    Returns:
        x0, y0, x1, y1 of each box, far edge exclusive, not yet clipped; or `None` if
        the annotation is of an image of another shape.

    Raises:
        ValueError: The annotation or the image cannot be read.
    """
    file = read_voc_file(annotation)
    corners = [corners for name, corners in file.objects if name == wnid]
    height, width = read_size(image)
    drawn_height, drawn_width = file.size if min(file.size) > 0 else (height, width)
    ratio = width * drawn_height / (height * drawn_width)
    if not abs(ratio - 1) <= _SHAPE_TOLERANCE:
        return None
    x, y = width / drawn_width, height / drawn_height
    return [
        (
            min(xmin, xmax) * x,
            min(ymin, ymax) * y,
            (max(xmin, xmax) + 1) * x,
            (max(ymin, ymax) + 1) * y,
        )
        for xmin, ymin, xmax, ymax in corners
    ]


def with_annotations(
    whole: ImageDataset,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> ImageDataset:
    """Gives images their boxes.

    Args:
        whole: The images, whose class names are WordNet ids.
        folder: Folder of XML files, in it or in folders below, named like the images.
        progress: Function of two integers, annotations read and in all; called every
            thousand and at the end.

    Returns:
        All images; those without an annotation, without an object of their class, and
        whose annotation is of an image of another shape have no box.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no annotation of these images, or one of them, or its
            image, cannot be read.
    """
    folder = existing_folder(folder)
    files = {path.stem: path for path in folder.rglob("*.xml")}
    if not files.keys() & {Path(path).stem for path in whole.paths.tolist()}:
        raise ValueError(
            f"{folder} must hold XML files named like the images. Received: "
            f"{len(files)} files, none of which is."
        )
    total = len(whole)

    def boxes_of(index: int) -> list[tuple[float, ...]] | None:
        path = str(whole.paths[index])
        file = files.get(Path(path).stem)
        wnid = whole.class_names[whole.class_ids[index]]
        return [] if file is None else boxes_of_image(file, path, wnid)

    found: list[list[tuple[float, ...]] | None] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for boxes in threads.map(boxes_of, range(total)):
            found.append(boxes)
            if progress and (len(found) % 1000 == 0 or len(found) == total):
                progress(len(found), total)
    misfits = [index for index, boxes in enumerate(found) if boxes is None]
    notes = dict(whole.notes)
    if misfits:
        notes["boxes"] = (
            f"{len(misfits)} images have none, since their annotation is of an image "
            f"of another shape; the first is {whole.paths[misfits[0]]}"
        )
    return replace(
        whole, boxes=padded_boxes([boxes or [] for boxes in found]), notes=notes
    )
