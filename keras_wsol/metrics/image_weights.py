"""Which images count, and how much."""

from typing import Any

from keras import ops


def image_weights(y_true: dict[str, Any], sample_weight: Any = None) -> Any:
    """Weights of a batch's images, 0 for those that could not be read.

    Args:
        y_true: A dictionary with `"class_ids"` `(B,)`.
        sample_weight: Optional `(B,)`. Default: 1 each.

    Returns:
        float32 `(B,)`: 0 where the class id is negative.

    Example:
    >>> ops.convert_to_numpy(image_weights({"class_ids": [4, -1]})).tolist()
    [1.0, 0.0]
    """
    counted = ops.cast(ops.cast(y_true["class_ids"], "int32") >= 0, "float32")
    if sample_weight is None:
        return counted
    return counted * ops.cast(sample_weight, "float32")
