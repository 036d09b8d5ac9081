"""What part of an image a network is shown, and where boxes then lie."""

from typing import Any

VIEWS = ("whole", "center_crop")

# ADL's code resizes to 256 and crops 224.
RESIZE_OVER_CROP = 256 / 224


def check_view(view: Any) -> None:
    """Raises unless `view` is known.

    Args:
        view: What the caller passed.

    Raises:
        ValueError: It is none of `VIEWS`.
    """
    if view not in VIEWS:
        raise ValueError(f"`view` must be one of {list(VIEWS)}. Received: {view!r}.")


def resize_before_crop(image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size that an image has before it is cropped to `image_size`.

    Args:
        image_size: Height and width of the crop.

    Returns:
        Height and width times 256/224, rounded.

    Example:
    >>> resize_before_crop((224, 112))
    (256, 128)
    """
    height, width = image_size
    return round(height * RESIZE_OVER_CROP), round(width * RESIZE_OVER_CROP)


def view_geometry(
    view: str, image_size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns how a view is made: the size to resize to, and where to cut.

    Args:
        view: `"whole"` or `"center_crop"`.
        image_size: Height and width of the result.

    Returns:
        `(height, width)` to resize to, and `(top, left)` of the cut of
        `image_size`.

    Example:
    >>> view_geometry("center_crop", (224, 224))
    ((256, 256), (16, 16))
    """
    if view == "whole":
        return image_size, (0, 0)
    height, width = resize_before_crop(image_size)
    return (height, width), (
        (height - image_size[0]) // 2,
        (width - image_size[1]) // 2,
    )


def view_box_transform(
    view: str, image_size: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns scale and shift that take a box from [0, 1] to pixels of the view.

    Args:
        view: `"whole"` or `"center_crop"`.
        image_size: Height and width of the view.

    Returns:
        `(scale, shift)` for x0, y0, x1, y1: `pixels = unit * scale - shift`. What
        lies outside the view has to be clipped.

    Example:
    >>> view_box_transform("center_crop", (224, 224))
    ((256.0, 256.0, 256.0, 256.0), (16.0, 16.0, 16.0, 16.0))
    """
    (height, width), (top, left) = view_geometry(view, image_size)
    scale = tuple(map(float, (width, height, width, height)))
    return scale, tuple(map(float, (left, top, left, top)))
