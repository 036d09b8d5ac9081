"""Every figure of an evaluation once more, from logits and score maps, in loops."""

import numpy as np

from tests.reference import max_box_acc_numpy as reference


def centre_map(size, sigma=0.25):
    """A Gaussian with its top in the middle of the image."""
    height, width = size
    score_map = np.zeros(size)
    for y in range(height):
        for x in range(width):
            dy = ((y + 0.5) / height - 0.5) / sigma
            dx = ((x + 0.5) / width - 0.5) / sigma
            score_map[y, x] = np.exp(-(dx * dx + dy * dy) / 2)
    return (score_map / score_map.max()).astype("float32")


def middle_of_the_best(accuracy):
    best = [t for t, share in enumerate(accuracy) if share == max(accuracy)]
    return best[len(best) // 2]


def figures(class_ids, logits, maps, true_boxes, thresholds):
    """`maps` (N, H, W) are those of the true classes.

    Gives what does not depend on the choice of a threshold, and what does as lists by
    threshold.
    """
    ranks = [sum(row > row[c]) for row, c in zip(logits, class_ids, strict=True)]
    top1 = [rank == 0 for rank in ranks]
    ious = reference.largest_box_ious(true_boxes, maps, thresholds)
    both = [
        [iou >= 0.5 and right for iou, right in zip(row, top1, strict=True)]
        for row in ious
    ]
    centre = np.array([centre_map(maps.shape[1:])] * len(maps))
    centre_ious = reference.largest_box_ious(true_boxes, centre, thresholds)
    return {
        "top1_cls": np.mean(top1),
        "top5_cls": np.mean([rank < 5 for rank in ranks]),
        "ious": ious,
        "gt_known": reference.accuracy(ious),
        "top1_loc": [np.mean(row) for row in both],
        "max_box_acc_v2": reference.max_box_acc_v2(true_boxes, maps, thresholds),
        "centre": reference.accuracy(centre_ious),
        "centre_v2": reference.max_box_acc_v2(true_boxes, centre, thresholds),
    }


def interval(hits, seed=1, draws=4000):
    """Percentile bootstrap: images drawn with replacement, one by one."""
    rng = np.random.default_rng(seed)
    hits = np.asarray(hits, float)
    shares = [rng.choice(hits, len(hits)).mean() for _ in range(draws)]
    return np.quantile(shares, [0.025, 0.975])
