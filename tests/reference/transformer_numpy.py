"""A vision transformer before its final norm, one image at a time, in loops."""

import math

import numpy as np


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def normalized(tokens, scale, offset):
    mean = tokens.mean(axis=-1, keepdims=True)
    variance = ((tokens - mean) ** 2).mean(axis=-1, keepdims=True)
    return scale * (tokens - mean) / np.sqrt(variance + 1e-6) + offset


def attended(query, key, value, heads):
    size = query.shape[-1] // heads
    result = np.zeros(query.shape)
    for start in range(0, query.shape[-1], size):
        part = slice(start, start + size)
        for n in range(len(query)):
            scores = key[:, part] @ query[n, part] / math.sqrt(size)
            shares = np.exp(scores - scores.max())
            result[n, part] = shares / shares.sum() @ value[:, part]
    return result


def tokens_of(image, weights, patch, learned, heads, blocks, activation=gelu):
    """Tokens `(learned + patches, C)` of one image; `weights` by layer."""
    kernel, bias = weights["patches"]
    height, width = image.shape[0] // patch, image.shape[1] // patch
    tokens = []
    for y in range(height):
        for x in range(width):
            part = image[y * patch : (y + 1) * patch, x * patch : (x + 1) * patch]
            tokens.append(np.einsum("ijc,ijcf->f", part, kernel) + bias)
    tokens = np.concatenate([np.zeros((learned, len(bias))), tokens])
    tokens = tokens + weights["embedding"][0]
    for block in (f"block{n + 1}" for n in range(blocks)):

        def dense(x, name, block=block):
            kernel, bias = weights[f"{block}_{name}"]
            return x @ kernel + bias

        def scaled(x, name, block=block):
            return x * weights.get(f"{block}_{name}", [1.0])[0]

        x = normalized(tokens, *weights[f"{block}_norm1"])
        parts = [dense(x, name) for name in ("query", "key", "value")]
        x = dense(attended(*parts, heads), "projection")
        tokens = tokens + scaled(x, "scale1")
        x = normalized(tokens, *weights[f"{block}_norm2"])
        x = dense(activation(dense(x, "mlp1")), "mlp2")
        tokens = tokens + scaled(x, "scale2")
    return tokens
