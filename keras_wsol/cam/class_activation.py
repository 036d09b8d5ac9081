"""Features and class weights to class activation maps."""

from typing import Any

from keras import ops


def class_activation_maps(features: Any, kernel: Any, class_ids: Any) -> Any:
    """Weighs feature maps by the classifier's weights of the chosen classes.

    `cam_c = sum_k kernel[k, c] * features[..., k]` (Zhou et al., 2016), from the
    weights before the softmax; negative values are kept. Only the maps of the
    chosen classes are computed, never all of them.

    Args:
        features: Float tensor `(B, h, w, C)`, the map that the pooling of the
            head averages.
        kernel: Float tensor `(C, num_classes)` of the head's `Dense` layer.
        class_ids: Integer tensor `(B, K)`.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0]], [[3.0, 0.0]]]], "float32")
    >>> kernel = np.array([[1.0, 0.0], [-1.0, 10.0]], "float32")
    >>> cams = class_activation_maps(features, kernel, np.array([[1, 0]]))
    >>> ops.convert_to_numpy(cams).reshape(2, 2).tolist()
    [[20.0, 0.0], [-1.0, 3.0]]
    """
    weights = ops.take(ops.transpose(ops.cast(kernel, "float32")), class_ids, axis=0)
    return ops.einsum("bhwc,bkc->bkhw", ops.cast(features, "float32"), weights)
