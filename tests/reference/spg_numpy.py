"""SPG once more, in loops: Zhang et al., 2018, eq. 1 and its authors' rule for few."""

import math

import numpy as np

from tests.reference.cam_numpy import resize, scale_to_unit

LEAST = 30


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def target(guide, high, low):
    """Map (H, W) in [0, 1] to 1, object; 0, background; 255, ignored."""
    above = sum(value > high for value in guide.ravel())
    high = 0.7 * max(guide.ravel()) if above < LEAST else high
    labels = np.full(guide.shape, 255)
    for place, value in np.ndenumerate(guide):
        if value > high:
            labels[place] = 1
        if value < low:
            labels[place] = 0
    return labels


def mask_loss(logits, labels):
    """Binary cross entropy over all pixels (B, H, W) that are not ignored."""
    losses = []
    for place, label in np.ndenumerate(labels):
        if label != 255:
            share = sigmoid(logits[place])
            losses.append(-math.log(share if label == 1 else 1 - share))
    return sum(losses) / len(losses) if losses else 0.0


def loss(class_maps, early, late, last, size, high, low):
    """The three losses of a batch: maps of the true class, and logits, `(B, h, w)`."""
    attention = [scale_to_unit(resize(each, size)) for each in class_maps]
    early, late, last = (
        np.array([resize(each, size) for each in logits])
        for logits in (early, late, last)
    )
    share = np.vectorize(sigmoid)
    guides = [attention, share(late), (share(early) + share(late)) / 2]
    total = 0.0
    for logits, guide, *limits in zip(
        (late, early, last), guides, high, low, strict=True
    ):
        labels = np.array([target(each, *limits) for each in guide])
        total += mask_loss(logits, labels)
    return total
