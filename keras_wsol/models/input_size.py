"""Images of any size to the input size of a model."""

from typing import Any

from keras import ops


def resize_to_input(images: Any, size: tuple[int, int]) -> Any:
    """Resizes images, bilinear with half-pixel centres, antialiased.

    Args:
        images: `(B, H, W, 3)`, floats or integers.
        size: Height and width of the result.

    Returns:
        float32 tensor `(B, height, width, 3)`; images of that size as they are.

    Example:
    >>> tuple(resize_to_input(ops.ones((1, 4, 6, 3), "uint8"), (2, 3)).shape)
    (1, 2, 3, 3)
    """
    images = ops.cast(images, "float32")
    if tuple(images.shape[1:3]) == tuple(size):
        return images
    return ops.image.resize(
        images,
        size,
        interpolation="bilinear",
        antialias=True,
        data_format="channels_last",
    )
