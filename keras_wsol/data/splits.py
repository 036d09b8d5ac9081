"""Splitting a data set by seed."""

import numpy as np


def images_a_class(
    class_ids: np.ndarray, allowed: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Draws the same number of images from each class.

    Args:
        class_ids: int `(N,)`.
        allowed: bool `(N,)`, which images may be drawn.
        count: How many of each class; a class with no more than that keeps one for
            the other side of the split.
        seed: Integer.

    Returns:
        bool `(N,)`, which images were drawn.

    Example:
    >>> class_ids = np.array([0, 0, 0, 1, 1, 1])
    >>> drawn = images_a_class(class_ids, np.ones(6, bool), 1, seed=0)
    >>> int(drawn[:3].sum()), int(drawn[3:].sum())
    (1, 1)
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero((class_ids == class_id) & allowed)
        take = max(0, min(count, len(members) - 1))
        drawn[random.permutation(members)[:take]] = True
    return drawn


def share_a_class(class_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draws a share of the images of each class, rounded, never all of them.

    Args:
        class_ids: int `(N,)`.
        share: Float in [0, 1).
        seed: Integer.

    Returns:
        bool `(N,)`, which images were drawn.

    Example:
    >>> share_a_class(np.array([0, 0, 0, 0, 1, 1]), 0.5, seed=0).sum()
    np.int64(3)
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(class_ids), bool)
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        take = min(round(share * len(members)), len(members) - 1)
        drawn[random.permutation(members)[:take]] = True
    return drawn
