"""CBAM in loops, from Woo et al. (2018), section 3, in float64.

Weights are arguments, in the order of Keras: those of the shared layers as in
`squeeze_excite_numpy`, then the convolution's kernel (k, k, 2, 1) and its bias; of
a branch that is switched off there are none.
"""

import numpy as np

from tests.reference.adl_numpy import attention_map, maximum_of
from tests.reference.cagd_numpy import channel_attention
from tests.reference.squeeze_excite_numpy import elementwise, excite


def convolve(planes, kernel, bias=0.0):
    """'same' cross-correlation padded with zeros, (H, W, 2) -> (H, W).

    >>> planes = np.zeros((2, 3, 2))
    >>> planes[0, 1] = [1.0, 10.0]
    >>> kernel = np.arange(18.0).reshape(3, 3, 2, 1)
    >>> convolve(planes, kernel).tolist()  # kernel[i, j] meets the cell at its place
    [[120.0, 98.0, 76.0], [54.0, 32.0, 10.0]]
    """
    height, width, _ = planes.shape
    half = kernel.shape[0] // 2
    outputs = np.full((height, width), float(bias))
    for i, j in np.ndindex(height, width):
        for row, column, plane in np.ndindex(*kernel.shape[:3]):
            y, x = i + row - half, j + column - half
            if 0 <= y < height and 0 <= x < width:
                weight = float(kernel[row, column, plane, 0])
                outputs[i, j] += float(planes[y, x, plane]) * weight
    return outputs


def channel_gates(features, weights, activation, gate_activation, use_bias):
    """M_c (Eq. 2): (B, H, W, C) -> (B, C)."""
    means = channel_attention(features)
    gates = np.zeros(means.shape)
    for b, mean in enumerate(means):
        maximum = [maximum_of(features[b, :, :, c]) for c in range(means.shape[1])]
        logits = excite(mean, weights, activation, use_bias)
        logits = logits + excite(maximum, weights, activation, use_bias)
        gates[b] = elementwise(gate_activation, logits)
    return gates


def spatial_gates(features, weights, gate_activation):
    """M_s (Eq. 3): (B, H, W, C) -> (B, H, W)."""
    means = attention_map(features)
    gates = np.zeros(means.shape)
    for b in range(len(means)):
        planes = np.zeros((*means.shape[1:], 2))
        for i, j in np.ndindex(*means.shape[1:]):
            planes[i, j] = means[b, i, j], maximum_of(features[b, i, j])
        bias = weights[1][0] if len(weights) > 1 else 0.0
        gates[b] = elementwise(gate_activation, convolve(planes, weights[0], bias))
    return gates


def cbam(
    features,
    weights,
    ratio=16,
    kernel_size=7,
    activation="relu",
    gate_activation="sigmoid",
    use_bias=True,
    channel=True,
    spatial=True,
):
    """Eq. 1: channels first, then positions of what that gives, (B, H, W, C).

    >>> ones = np.ones((1, 1, 1, 1))
    >>> kernel = np.array([np.log(3.0), 0.0]).reshape(1, 1, 2, 1)
    >>> weights = [np.zeros((1, 1)), np.zeros((1, 1)), kernel]  # channel gates 1 / 2
    >>> cbam(2.0 * ones, weights, 1, 1, use_bias=False).item()  # 2 / 2 * 3 / (1 + 3)
    0.75
    """
    features = np.asarray(features, np.float64)
    channels = features.shape[-1]
    count = (4 if use_bias else 2) if channel else 0
    if channel:
        assert weights[0].shape == (channels, max(1, channels // ratio))
        gates = channel_gates(
            features, weights[:count], activation, gate_activation, use_bias
        )
        features = features * gates[:, None, None, :]
    if spatial:
        assert weights[count].shape == (kernel_size, kernel_size, 2, 1)
        gates = spatial_gates(features, weights[count:], gate_activation)
        features = features * gates[..., None]
    return features
