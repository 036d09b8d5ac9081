"""Features to the mean of their channels."""

from typing import Any

from keras import ops

from keras_wsol.masks import spatial_attention


def channel_mean(features: Any) -> Any:
    """Averages features over channels: where the network responds, to whatever class.

    SCDA's aggregation map up to a constant (SCDA adds the channels up). SCDA keeps
    the cells above the mean of this map and their largest component; here, the
    threshold is that of the score map.

    Args:
        features: Float tensor `(B, h, w, C)`, after the activation.

    Returns:
        float32 tensor `(B, 1, h, w)`: one map an image, the same for every class.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[1.0, 3.0]], [[0.0, 0.5]]]], "float32")
    >>> ops.convert_to_numpy(channel_mean(features)).tolist()
    [[[[2.0], [0.25]]]]

    Reference:
        - [Wei et al., 2017](https://arxiv.org/abs/1604.04994) (SCDA)
    """
    return ops.transpose(spatial_attention(features), (0, 3, 1, 2))
