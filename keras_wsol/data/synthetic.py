"""The embedded data set: creatures on clutter, drawn when asked for."""

import numpy as np

from keras_wsol.data.creatures import CLASS_NAMES, draw_creatures
from keras_wsol.data.dataset import ImageDataset

# Split of the data set to the split of the drawings: boxes of "train-fullsup" may
# be used to choose a threshold.
_DRAWN = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}


def synthetic(
    split: str = "train-weaksup",
    *,
    num_images: int = 600,
    num_classes: int = 6,
    image_size: int | tuple[int, int] = 128,
    seed: int = 0,
) -> ImageDataset:
    """Draws creatures on clutter; nothing is downloaded.

    The class is told by a small part of the creature, so that a plain class
    activation map finds just that part; the box is tight around the whole body.
    Image `i` of a split is a function of `seed`, `split` and `i`.

    Args:
        split: `"train-weaksup"`, `"train-fullsup"` or `"test"`.
        num_images: How many images.
        num_classes: How many classes.
        image_size: Side in pixels, or height and width.
        seed: Integer.

    Returns:
        The split, images in memory, with boxes.

    Raises:
        ValueError: An argument is out of range.

    Example:
    >>> synthetic("test", num_images=12, num_classes=3)
    ImageDataset('synthetic', split='test', images=12, classes=3, boxes=True)
    """
    if split not in _DRAWN:
        raise ValueError(f"`split` must be one of {list(_DRAWN)}. Received: {split!r}.")
    images, class_ids, boxes = draw_creatures(
        num_images,
        num_classes=num_classes,
        image_size=image_size,
        seed=seed,
        split=_DRAWN[split],
    )
    return ImageDataset(
        name="synthetic",
        split=split,
        class_names=CLASS_NAMES[:num_classes],
        class_ids=class_ids,
        paths=np.array([f"{split}/{index:06d}" for index in range(num_images)]),
        images=images,
        boxes=boxes,
    )
