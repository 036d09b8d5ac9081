"""C2AM's losses and map once more, from the paper, in loops."""

import math

import numpy as np


def cosine(one, other):
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))


def limited(value):
    return min(max(value, 0.0005), 0.9995)


def parts(features, maps):
    """Mean features of foreground and background, each (B, C)."""
    count, height, width, channels = features.shape
    inside, outside = np.zeros((2, count, channels))
    for b, y, x in np.ndindex(count, height, width):
        inside[b] += maps[b, y, x] * features[b, y, x] / (height * width)
        outside[b] += (1 - maps[b, y, x]) * features[b, y, x] / (height * width)
    return inside, outside


def negative(inside, outside):
    pairs = [(a, b) for a in outside for b in inside]
    return sum(-math.log(1 - limited(cosine(a, b))) for a, b in pairs) / len(pairs)


def positive(vectors, alpha):
    total = 0.0
    for one in vectors:
        row = [cosine(one, other) for other in vectors]
        order = sorted(range(len(row)), key=lambda place: -row[place])
        for rank, place in enumerate(order):  # itself first, of rank 0
            weight = math.exp(-alpha * (rank - 1))
            total += weight * -math.log(limited(row[place]))
    return total / len(vectors) ** 2


def loss(features, maps, alpha):
    """Of features (B, h, w, C) and maps (B, h, w)."""
    inside, outside = parts(features, maps)
    return (
        positive(inside, alpha) + negative(inside, outside) + positive(outside, alpha)
    )


def logits(features, kernel):
    """3x3 convolution to one channel, zeros outside; kernel (3, 3, C)."""
    count, height, width, _ = features.shape
    found = np.zeros((count, height, width))
    for b, y, x in np.ndindex(found.shape):
        for i, j in np.ndindex(3, 3):
            if 0 <= y + i - 1 < height and 0 <= x + j - 1 < width:
                found[b, y, x] += features[b, y + i - 1, x + j - 1] @ kernel[i, j]
    return found


def sigmoid(values):
    return 1 / (1 + np.exp(-values))
