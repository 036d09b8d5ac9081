"""Features to their projection on their own first singular vector."""

from typing import Any

from keras import ops


def eigen_cam(features: Any) -> Any:
    """Projects the features of each cell on the first singular vector of the image.

    With the features as a matrix `O` of cells by channels, `O = U S V'`, the map is
    `O v_1`, the direction in which the cells of this image are largest. It needs no
    class and no gradient. The paper does not centre `O`, and neither does this;
    pytorch-grad-cam does. The sign of a singular vector is free; here the map's sum
    is not negative, so that after a ReLU the network's response counts as positive.

    The vector comes from the smaller of the matrices `O O'` (cells by cells) and
    `O' O` (channels by channels): time grows with the cube of its side, which a layer
    of many cells *and* channels makes slow.

    Args:
        features: Float tensor `(B, h, w, C)` of which `h`, `w` and `C` are known.

    Returns:
        float32 tensor `(B, 1, h, w)`: one map an image, the same for every class. NaN
        for an image whose features are not finite.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[3.0, 4.0], [6.0, 8.0]]]], "float32")
    >>> maps = ops.convert_to_numpy(eigen_cam(features))
    >>> np.round(maps[0, 0, 0], 3).tolist()
    [5.0, 10.0]

    Reference:
        - [Muhammad and Yeasin, 2020](https://arxiv.org/abs/2008.00299)
    """
    features = ops.cast(features, "float32")
    _, height, width, channels = features.shape
    # One image with NaN would fail the decomposition of the whole batch.
    finite = ops.all(ops.isfinite(features), axis=(1, 2, 3), keepdims=True)
    cells = ops.where(finite, features, ops.zeros_like(features))
    cells = ops.reshape(cells, (-1, height * width, channels))
    across = ops.transpose(cells, (0, 2, 1))
    if channels <= height * width:
        projected = ops.matmul(cells, _first_vector(ops.matmul(across, cells)))
    else:
        # O v_1 = s_1 u_1, and s_1 is the length of O' u_1.
        first = _first_vector(ops.matmul(cells, across))
        size = ops.norm(ops.matmul(across, first), axis=1, keepdims=True)
        projected = first * size
    down = ops.sum(projected, axis=1, keepdims=True) < 0
    projected = ops.where(down, -projected, projected)
    maps = ops.reshape(projected, (-1, 1, height, width))
    return ops.where(finite, maps, ops.full_like(maps, float("nan")))


def _first_vector(symmetric: Any) -> Any:
    """The eigenvector `(B, n, 1)` of the largest eigenvalue of `(B, n, n)`."""
    _, vectors = ops.eigh(symmetric)  # eigenvalues ascend
    return vectors[:, :, -1:]
