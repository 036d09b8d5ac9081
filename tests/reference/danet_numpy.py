"""DANet once more, in loops: the discrepant loss and the map of Xue et al., 2019.

The maps of a level are (h, w, m, classes), those of one class (h, w, m).
"""

import itertools
import math

import numpy as np

from tests.reference.cam_numpy import resize


def discrepancy(levels, drawn):
    """Absolute sum of the cosines of pairs that are drawn, over their number.

    Maps of the true class of each level are resized to the finest.
    """
    size = max(maps.shape[:2] for maps in levels)
    maps = []
    for level in levels:
        level = resize(level, size)
        maps += [level[..., j].ravel() for j in range(level.shape[-1])]
    chosen = [each for each, is_drawn in zip(maps, drawn, strict=True) if is_drawn]
    total = count = 0
    for one, other in itertools.combinations(chosen, 2):
        total += one @ other / math.sqrt((one @ one) * (other @ other) + 1e-8)
        count += 1
    return abs(total) / count


def logits(level):
    """(h, w, m, classes) to logits of the classes."""
    _, _, _, classes = level.shape
    return [sum(level[..., c].ravel()) / level[..., c].size for c in range(classes)]


def localization_map(levels, class_id):
    """Sum over levels of the mean ReLU; the first of a class, the others of theirs."""
    size = max(level.shape[:2] for level in levels)
    total = np.zeros(size)
    for number, level in enumerate(levels):
        predicted = max(range(level.shape[-1]), key=logits(level).__getitem__)
        own = level[..., predicted if number else class_id]
        total += resize(np.maximum(own, 0).mean(axis=-1), size)
    return total
