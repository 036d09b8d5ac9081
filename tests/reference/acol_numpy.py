"""ACoL once more, in loops: Zhang et al., 2018, section 3.2.

Features are (h, w, C), the maps of a class (h, w). Heads are one 1x1 convolution, a
kernel (C, classes) and a bias.
"""

import math

import numpy as np

from tests.reference.cam_numpy import scale_to_unit


def erase(features, class_map, threshold):
    """Zeros where the map of the first head, in [0, 1], reaches the threshold."""
    scaled = scale_to_unit(class_map)
    rest = features.astype("float64").copy()
    for y in range(len(rest)):
        for x in range(len(rest[0])):
            if scaled[y, x] >= threshold:
                rest[y, x] = 0
    return rest


def maps_of(features, head):
    """(h, w, C) to (h, w, classes)."""
    kernel, bias = head
    maps = np.zeros((*features.shape[:2], len(bias)))
    for y in range(features.shape[0]):
        for x in range(features.shape[1]):
            for c in range(len(bias)):
                maps[y, x, c] = features[y, x] @ kernel[:, c] + bias[c]
    return maps


def cross_entropy(logits, class_id):
    total = sum(math.exp(each - max(logits)) for each in logits)
    return math.log(total) - (logits[class_id] - max(logits))


def second_loss(features, class_id, first, second, threshold):
    """What the second head adds to the loss of the first, for an image."""
    erasing = maps_of(features, first)[..., class_id]
    maps = maps_of(erase(features, erasing, threshold), second)
    return cross_entropy(maps.mean(axis=(0, 1)), class_id)


def localization_map(features, class_id, first, second, threshold):
    """The larger of both heads' maps of a class, each in [0, 1]."""
    one = maps_of(features, first)[..., class_id]
    other = maps_of(erase(features, one, threshold), second)[..., class_id]
    return np.maximum(scale_to_unit(one), scale_to_unit(other))
