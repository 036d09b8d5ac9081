"""Images whose boxes are known: bright rectangles, and a classifier that sees them."""

import functools

import numpy as np
from PIL import Image

from keras_wsol import data
from keras_wsol.labels import write_pseudo_labels
from keras_wsol.models import Localizer
from tests.models.painted import painted_classifier

# One channel each. Whatever a format could stumble over is in the names.
CLASSES = ('blå, "hot" & <old>', "cat's #1", "δ")
SIZE = (24, 36)  # of the model; cells of 4 pixels
# File, class (channel), height and width, box; each edge lies between two cells once
# the image is of `SIZE`. There, the map of a class is 1 in the cells of its rectangle,
# 0 in the others, and passes 1/2 on the edge: that is the box at this threshold.
IMAGES = (
    (f"{CLASSES[0]}/one.png", 0, (24, 36), (12, 8, 24, 16)),
    (f"{CLASSES[0]}/two, 2.png", 0, (48, 72), (0, 16, 24, 48)),
    (f"{CLASSES[0]}/zoë.png", 0, (12, 36), (4, 4, 36, 8)),
    (f"{CLASSES[1]}/a < b & c.png", 1, (72, 36), (8, 12, 32, 60)),
    (f"{CLASSES[1]}/deep/日本.png", 1, (24, 108), (12, 4, 48, 20)),
    (f'{CLASSES[2]}/"q" 100%.png', 2, (36, 54), (6, 6, 30, 24)),
)
BROKEN = f"{CLASSES[1]}/broken.png"
BLACK = f"{CLASSES[2]}/black.png"


def draw(size, *rectangles):
    """A black image with rectangles: (channel, value, box)."""
    image = np.zeros((*size, 3), "uint8")
    for channel, value, (x0, y0, x1, y1) in rectangles:
        image[y0:y1, x0:x1, channel] = value
    return image


def write_images(root):
    """Six images with a box, one with none and one that is broken, by class."""
    for name, channel, size, box in IMAGES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(size, (channel, 200, box))).save(root / name)
    Image.fromarray(draw((30, 20))).save(root / BLACK)
    (root / BROKEN).write_bytes((root / IMAGES[0][0]).read_bytes()[:60])
    return root


@functools.cache  # so that one is compiled for all tests
def localizer(class_names=CLASSES, **options):
    """Sees class c in channel c."""
    model = painted_classifier(SIZE, 3, kernel=np.eye(3), class_names=class_names)
    dense = model.layers[-1]
    dense.set_weights([dense.get_weights()[0], np.zeros(3, "float32")])
    return Localizer(model, **{"cam_threshold": 0.5, **options})


def score(name):
    """Softmax of the means of the channels."""
    _, _, size, (x0, y0, x1, y1) = next(image for image in IMAGES if image[0] == name)
    mean = 200 * (x1 - x0) * (y1 - y0) / (size[0] * size[1])
    return 1 / (1 + 2 * np.exp(-mean))


@functools.cache
def opened(root):
    """The images of `write_images`, by class."""
    return data.image_folder(root, class_names=CLASSES)


def write(root, path, **options):
    """Labels of a folder of `write_images`, with the classes of its folders."""
    images = opened(root)
    options = {"class_ids": "known", "batch_size": 3, **options}
    return write_pseudo_labels(localizer(), images, path, **options)
