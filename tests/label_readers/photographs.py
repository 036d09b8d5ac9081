"""Twenty images as people have them, whose boxes are known: how files may lie."""

import numpy as np
from PIL import Image, ImageOps

from tests.labels import rectangles
from tests.labels.rectangles import CLASSES, draw

ORIENTATION = 0x0112  # the EXIF tag
# Suffix, mode, EXIF orientation, and how the file is saved.
KINDS = (
    *((".jpg", "RGB", tag, {"quality": 95, "subsampling": 0}) for tag in range(1, 9)),
    (".png", "RGB", 1, {}),
    (".png", "P", 1, {}),
    (".png", "L", 1, {}),
    (".png", "RGBA", 1, {}),
    (".webp", "RGB", 1, {"lossless": True}),
    (".webp", "RGB", 1, {"quality": 95}),
)
# Upright; a cell of the model's map is 8 x 8, 12 x 4 and 8 x 12 pixels of them.
SHAPES = ((48, 72), (72, 36), (48, 108))


def kind_name(number):
    return f"{CLASSES[number % 3]}/Größe & Maß/{number} übrig{KINDS[number][0]}"


def box_of(number):
    """Edges between cells, the box nowhere in the middle."""
    height, width = SHAPES[number % 3][0] // 6, SHAPES[number % 3][1] // 9
    left, top = number % 3, number % 2
    right, bottom = left + 2 + number % 4, top + 2 + number % 3
    return left * width, top * height, right * width, bottom * height


# Path to class name, upright height and width, and box.
PHOTOGRAPHS = {
    name: (CLASSES[class_id], size, box)
    for name, class_id, size, box in rectangles.IMAGES
}
PHOTOGRAPHS |= {
    kind_name(number): (CLASSES[number % 3], SHAPES[number % 3], box_of(number))
    for number in range(len(KINDS))
}
# Those that a reader must turn, as their tag says.
TAGGED = {kind_name(number) for number, kind in enumerate(KINDS) if kind[2] > 1}
WITH_TRAILER = kind_name(5)  # behind the end of the JPEG


def write_photographs(root):
    """Writes all of them, and two that are left out."""
    rectangles.write_images(root)
    for number, (_, mode, tag, options) in enumerate(KINDS):
        path = root / kind_name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        class_name, size, box = PHOTOGRAPHS[kind_name(number)]
        channel = CLASSES.index(class_name)
        colors = range(3) if mode == "L" else [channel]
        image = Image.fromarray(draw(size, *((c, 200, box) for c in colors)))
        as_tagged(image, tag).convert(mode).save(path, exif=exif(tag), **options)
    # As some phones do. Ultralytics takes the file for broken, and writes it anew.
    with (root / WITH_TRAILER).open("ab") as file:
        file.write(b"SEFT")
    return root


def as_tagged(image, tag):
    """The image as it is stored, so that the tag turns it upright."""
    image.getexif()[ORIENTATION] = {6: 8, 8: 6}.get(tag, tag)
    return ImageOps.exif_transpose(image)


def exif(tag):
    tags = Image.Exif()
    if tag > 1:
        tags[ORIENTATION] = tag
    return tags


def is_upright(image, name):
    """Whether an array `(height, width, channels)` is bright in the box alone."""
    _, size, (x0, y0, x1, y1) = PHOTOGRAPHS[name]
    if image.shape[:2] != size:
        return False
    inside = np.zeros(size, bool)
    inside[y0:y1, x0:x1] = True
    light = image.max(-1)
    return bool((light[inside] > 150).all() and (light[~inside] < 50).all())
