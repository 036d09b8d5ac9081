"""SqueezeExcite in loops, from Hu et al. (2018), section 3, in float64.

Weights are arguments: W1 (channels, middle), W2 (middle, channels), as Keras keeps
them, the transposes of the paper's; a bias may be None, as in the paper's formula.
"""

import math

import numpy as np

from tests.reference.cagd_numpy import channel_attention

ACTIVATIONS = {
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1.0 + math.exp(-x)),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
    "hard_sigmoid": lambda x: min(max(x / 6.0 + 0.5, 0.0), 1.0),
}


def dense(vector, kernel, bias=None):
    """One fully connected layer, (n,) -> (m,).

    >>> dense([1.0, 2.0], np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0]])).tolist()
    [1.0, 2.0, 11.0]
    """
    outputs = np.zeros(kernel.shape[1])
    for m in range(kernel.shape[1]):
        outputs[m] = 0.0 if bias is None else float(bias[m])
        for n in range(kernel.shape[0]):
            outputs[m] += float(vector[n]) * float(kernel[n, m])
    return outputs


def elementwise(activation, values):
    """An activation by its name in Keras, any shape."""
    values = np.asarray(values, np.float64)
    outputs = np.zeros(values.shape)
    for place in np.ndindex(*values.shape):
        outputs[place] = ACTIVATIONS[activation](float(values[place]))
    return outputs


def excite(pooled, weights, activation="relu", use_bias=True):
    """W2 delta(W1 z) before the gate's activation, (channels,) -> (channels,).

    `weights` are W1, bias 1, W2, bias 2, or W1, W2 without biases.
    """
    w1, b1, w2, b2 = weights if use_bias else (weights[0], None, weights[1], None)
    return dense(elementwise(activation, dense(pooled, w1, b1)), w2, b2)


def squeeze_excite(
    features,
    weights,
    ratio=16,
    activation="relu",
    gate_activation="sigmoid",
    use_bias=True,
):
    """Eq. 2 to 4, (B, H, W, C) -> (B, H, W, C).

    >>> w1, w2 = np.array([[1.0], [-1.0]]), np.array([[0.0, math.log(3.0)]])
    >>> features = np.array([[[[3.0, 4.0]], [[1.0, 2.0]]]])  # means 2 and 3
    >>> squeeze_excite(features, [w1, w2], 2, use_bias=False).ravel().tolist()
    [1.5, 2.0, 0.5, 1.0]
    >>> swapped = features[..., ::-1]  # means 3 and 2, so the middle is 1
    >>> squeeze_excite(swapped, [w1, w2], 2, use_bias=False).round(9).ravel().tolist()
    [2.0, 2.25, 1.0, 0.75]
    """
    features = np.asarray(features, np.float64)
    channels = features.shape[-1]
    assert weights[0].shape == (channels, max(1, channels // ratio))
    output = np.zeros(features.shape)
    for b, pooled in enumerate(channel_attention(features)):
        logits = excite(pooled, weights, activation, use_bias)
        gates = elementwise(gate_activation, logits)
        for i, j, c in np.ndindex(*features.shape[1:]):
            output[b, i, j, c] = float(features[b, i, j, c]) * gates[c]
    return output
