"""Boxes of the score maps of a localizer, as it gives them out."""

from typing import Any

from keras import ops

from keras_wsol.boxes import largest_boxes, top_boxes


def pixels_a_cell(images: Any, size: tuple[int, int]) -> Any:
    """Returns the scale from cells of a score map to pixels of the images.

    Args:
        images: `(B, H, W, C)`; the sizes may be unknown until the call.
        size: Height and width of the score map.

    Returns:
        float32 `(4,)`, of x0, y0, x1 and y1.

    Example:
    >>> scale = pixels_a_cell(ops.zeros((1, 30, 20, 3)), (3, 4))
    >>> ops.convert_to_numpy(scale).tolist()
    [5.0, 10.0, 5.0, 10.0]
    """
    _, height, width, _ = ops.shape(images)
    x = ops.cast(width, "float32") / size[1]
    y = ops.cast(height, "float32") / size[0]
    return ops.stack([x, y, x, y])


def map_boxes(
    maps: Any,
    cam_threshold: Any,
    max_boxes: int,
    scale: Any,
    static_shapes: bool = False,
) -> dict[str, Any]:
    """Finds the box of each map, and those of its components if asked for several.

    Args:
        maps: float32 `(B, K, h, w)` in [0, 1].
        cam_threshold: As in `boxes.largest_boxes`.
        max_boxes: As in `Localizer`.
        scale: `(4,)`, from `pixels_a_cell`.
        static_shapes: As in `boxes.largest_boxes`.

    Returns:
        `"boxes"` and `"valid"` of `Localizer`, with `max_boxes` above 1 also
        `"component_boxes"`, `"component_scores"` and `"num_components"`.

    Example:
    >>> maps = ops.convert_to_tensor([[[[0.0, 1.0]]]], "float32")
    >>> scale = ops.convert_to_tensor([10.0, 10.0, 10.0, 10.0])
    >>> ops.convert_to_numpy(map_boxes(maps, 0.5, 1, scale)["boxes"]).tolist()
    [[[10.0, 0.0, 20.0, 10.0]]]
    """
    count, *size = maps.shape[1:]
    flat = ops.reshape(maps, (-1, *size))
    several: dict[str, Any] = {}
    if max_boxes > 1:
        top = top_boxes(flat, cam_threshold, max_boxes, static_shapes=static_shapes)
        boxes = top["boxes"][:, 0]
        each = (-1, count, max_boxes)
        several = {
            "component_boxes": ops.reshape(top["boxes"], (*each, 4)) * scale,
            "component_scores": ops.reshape(top["mean_scores"], each),
            "num_components": ops.reshape(top["counts"], (-1, count)),
        }
    else:
        boxes = largest_boxes(flat, cam_threshold, static_shapes=static_shapes)
    boxes = ops.reshape(boxes, (-1, count, 4))
    valid = boxes[..., 2] > boxes[..., 0]
    return {"boxes": boxes * scale, "valid": valid, **several}
