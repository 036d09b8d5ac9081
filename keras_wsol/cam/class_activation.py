"""Features and class weights to class activation maps."""

from typing import Any

from keras import ops


def class_activation_maps(
    features: Any, kernel: Any, class_ids: Any, negative_weights: bool = True
) -> Any:
    """Weighs feature maps by the classifier's weights of the chosen classes.

    `cam_c = sum_k kernel[k, c] * features[..., k]` (Zhou et al., 2016), from the
    weights before the softmax; negative values are kept. Only the maps of the
    chosen classes are computed, never all of them.

    Args:
        features: Float tensor `(B, h, w, C)`, the map that the pooling of the
            head averages.
        kernel: Float tensor `(C, num_classes)` of the head's `Dense` layer.
        class_ids: Integer tensor `(B, K)`.
        negative_weights: Boolean. Whether weights below 0 count. Without them
            ("negative weight clamping", Bae et al., 2020), features that speak
            against the class leave the map as it is, and it covers more of the
            object. Default true [Zhou et al., 2016; on CUB-40's test split, three
            MobileNetV1 0.75, GT-known Loc was 61.2 without and 52.7 with them, and the
            gain in Top-1 Loc no more than the spread: +3.1, 95 % interval -2.5 to
            +7.3; `examples/results/README.md`].

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 2.0]], [[3.0, 0.0]]]], "float32")
    >>> kernel = np.array([[1.0, 0.0], [-1.0, 10.0]], "float32")
    >>> cams = class_activation_maps(features, kernel, np.array([[1, 0]]))
    >>> ops.convert_to_numpy(cams).reshape(2, 2).tolist()
    [[20.0, 0.0], [-1.0, 3.0]]

    Reference:
        - [Zhou et al., 2016](https://arxiv.org/abs/1512.04150)
        - [Bae et al., 2020](https://www.ecva.net/papers/eccv_2020/papers_ECCV/papers/123600613.pdf)
    """
    weights = ops.take(ops.transpose(ops.cast(kernel, "float32")), class_ids, axis=0)
    weights = weights if negative_weights else ops.relu(weights)
    return ops.einsum("bhwc,bkc->bkhw", ops.cast(features, "float32"), weights)
