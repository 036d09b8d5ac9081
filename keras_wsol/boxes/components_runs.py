"""Connected components in TensorFlow, on the runs of set cells in each row.

A score map is smooth, so its mask has a few runs a row. Runs are numbered in row-major
order: the first run of a component holds its first cell. Their number is known only at
run time, so XLA cannot compile this and takes `components_tiles.py`.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class _Runs(NamedTuple):
    """Runs in the flattened batch, each image with a blank row and column added."""

    starts: Any  # (R,) int64, place of the first cell
    ends: Any  # (R,) int64, one past the last
    rows: Any  # scalar int64, rows of an image, the blank one included
    columns: Any


def label(masks: Any) -> Any:
    """Labels (N, H, W) int32 of masks, as `keras_wsol.boxes.label_components`."""
    runs, opening = _find_runs(masks)
    first = tf.gather(runs.starts, _roots(runs))
    first = first % (runs.rows * runs.columns)
    row, column = first // runs.columns - 1, first % runs.columns
    index = row * (runs.columns - 1) + column
    # The number of runs begun up to a cell tells the run that it is in; 0 comes up
    # before the first run only, where the mask is not set.
    labels = tf.concat([[0], tf.cast(index, tf.int32) + 1], axis=0)
    number = tf.cumsum(tf.cast(tf.reshape(opening, [-1]), tf.int32))
    number = tf.reshape(number, tf.shape(opening))[:, 1:, :-1]
    return tf.where(masks, tf.gather(labels, number), 0)


def top(masks: Any, scores: Any, k: int) -> dict[str, Any]:
    """Measures components as `top_boxes`; `"mean_scores"` only with `scores`."""
    runs, _ = _find_runs(masks)
    roots = _roots(runs)
    numbers = tf.range(tf.size(roots))
    is_root = roots == numbers
    first = tf.gather(runs.starts, tf.where(is_root)[:, 0])
    ids = tf.gather(tf.cumsum(tf.cast(is_root, tf.int32)) - 1, roots)
    total = tf.size(first)

    areas = tf.math.unsorted_segment_sum(runs.ends - runs.starts, ids, total)
    last = tf.math.unsorted_segment_max(runs.starts, ids, total)
    x0 = tf.math.unsorted_segment_min(runs.starts % runs.columns, ids, total)
    x1 = tf.math.unsorted_segment_max(runs.ends % runs.columns, ids, total)
    y0 = first // runs.columns % runs.rows - 1
    y1 = last // runs.columns % runs.rows

    batch = tf.shape(masks)[0]
    places, kept, counts = _ranked(
        tf.cast(first // (runs.rows * runs.columns), tf.int32), areas, batch, k
    )

    def pick(values: Any) -> Any:
        shape = tf.concat([[batch, k], tf.shape(values)[1:]], axis=0)
        return tf.scatter_nd(places, tf.gather(values, kept), shape)

    result = {
        "boxes": pick(tf.cast(tf.stack([x0, y0, x1, y1], axis=-1), tf.float32)),
        "areas": pick(tf.cast(areas, tf.int32)),
        "counts": counts,
    }
    if scores is not None:
        # In float64: the sum of a run is a difference of sums of a row.
        inside = tf.cast(tf.where(masks, scores, 0.0), tf.float64)
        inside = tf.pad(inside, ((0, 0), (1, 0), (0, 1)))
        sums = tf.reshape(tf.cumsum(inside, axis=2, exclusive=True), [-1])
        sums = tf.gather(sums, runs.ends) - tf.gather(sums, runs.starts)
        sums = tf.math.unsorted_segment_sum(sums, ids, total)
        means = sums / tf.cast(areas, tf.float64)
        result["mean_scores"] = pick(tf.cast(means, tf.float32))
    return result


def _find_runs(masks: Any) -> tuple[_Runs, Any]:
    """Finds the runs, and (N, 1 + H, W + 1) the cells at which one begins."""
    # The blank row and column keep runs of different rows and images apart.
    padded = tf.pad(masks, ((0, 0), (1, 0), (1, 1)))
    before, after = padded[:, :, :-1], padded[:, :, 1:]
    opening = tf.logical_and(after, tf.logical_not(before))
    closing = tf.logical_and(before, tf.logical_not(after))
    shape = tf.shape(opening, out_type=tf.int64)
    starts = tf.where(tf.reshape(opening, [-1]))[:, 0]
    ends = tf.where(tf.reshape(closing, [-1]))[:, 0]
    return _Runs(starts, ends, rows=shape[1], columns=shape[2]), opening


def _touching(runs: _Runs, step: Any) -> Any:
    """For each run the first run `step` cells further up it touches, or itself."""
    count = tf.size(runs.starts)
    first = tf.searchsorted(runs.ends, runs.starts - step)
    inside = tf.minimum(first, count - 1)
    touches = tf.gather(runs.starts, inside) <= runs.ends - step
    return tf.where(touches & (first < count), inside, tf.range(count))


def _compress(parents: Any) -> Any:
    """Lets every run of a forest point at its root."""

    def jump(parents: Any, _: Any) -> tuple[Any, Any]:
        further = tf.gather(parents, parents)
        return further, tf.reduce_any(further != parents)

    return tf.while_loop(lambda _, moved: moved, jump, (parents, tf.constant(True)))[0]


def _roots(runs: _Runs) -> Any:
    """For each run (R,) int32 the first run of its component."""
    # Of two runs in consecutive rows that touch, the upper is the first that the lower
    # one touches, or the lower is the first that the upper one does: two numbers a run
    # hold all contacts. The first kind is a forest; the second joins its trees, a
    # tree to the earliest that touches it, until no contact is left between two trees.
    above = _touching(runs, runs.columns)
    below = _touching(runs, -runs.columns)
    numbers = tf.range(tf.size(above))
    new = tf.gather(above, below) != numbers
    upper = tf.cast(tf.where(new)[:, 0], tf.int32)
    parents = _compress(above)

    def between_trees(parents: Any, one: Any, other: Any) -> tuple[Any, Any]:
        one, other = tf.gather(parents, one), tf.gather(parents, other)
        differ = tf.where(one != other)[:, 0]
        return tf.gather(one, differ), tf.gather(other, differ)

    def join(parents: Any, one: Any, other: Any) -> tuple[Any, Any, Any]:
        later, earlier = tf.maximum(one, other), tf.minimum(one, other)
        parents = tf.tensor_scatter_nd_min(parents, later[:, None], earlier)
        parents = _compress(parents)
        return parents, *between_trees(parents, one, other)

    unknown = tf.TensorShape([None])
    return tf.while_loop(
        lambda parents, one, other: tf.size(one) > 0,
        join,
        (parents, *between_trees(parents, upper, tf.gather(below, upper))),
        shape_invariants=(unknown, unknown, unknown),
    )[0]


def _ranked(images: Any, areas: Any, batch: Any, k: int) -> tuple[Any, Any, Any]:
    """Ranks components by area within their image; `images` (C,) ascends.

    Gives the places (P, 2) as image and rank of those ranked below `k`, their numbers
    (P,), and how many (N,) each image has of them.
    """
    # Two stable sorts: by area, then by image; equal areas stay in row-major order.
    order = tf.argsort(areas, direction="DESCENDING", stable=True)
    order = tf.gather(order, tf.argsort(tf.gather(images, order), stable=True))
    begins = tf.searchsorted(images, tf.range(batch))
    ranks = tf.range(tf.size(order)) - tf.gather(begins, images)
    kept = tf.where(ranks < k)[:, 0]
    places = tf.stack([tf.gather(images, kept), tf.gather(ranks, kept)], axis=-1)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(images), images, batch)
    return places, tf.gather(order, kept), tf.minimum(counts, k)
