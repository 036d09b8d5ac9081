"""Boxes of a score map at all thresholds at once, outside the graph.

Also as published evaluators find them: wsolevaluation (Choe et al., 2020), ADL.

Of wsolevaluation:

- The map is cut down to grey values `int(255 * score)`, in float64. At the threshold t
  the mask is what lies above the grey value `int(t * maximum)`.
- Contours are those of OpenCV's `findContours` with `RETR_TREE`: around 8-connected
  components and their 4-connected holes, through the centres of cells. Their area is
  that of the polygon: 0 for a line, however long.
- A box's far edge lies one cell behind the contour, but no farther than the map's last
  cell; a mask without a cell has the box 0, 0, 0, 0.
- True boxes are cut down to whole cells. The overlap counts far edges as inside.

ADL's code (Choe and Shim, 2019) differs in this: grey values are those of the map in
the colours of "cubehelix", far edges may lie behind the map's last cell, a mask without
a cell has the box 0, 0, 1, 1, and true boxes may lie outside of the map.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_wsol.arguments import check_choice, check_integer
from keras_wsol.boxes.components import check_rank
from keras_wsol.boxes.iou import pairwise_iou


def sweep_largest_boxes(
    score_maps: Any,
    thresholds: Any,
    convention: str = "default",
    *,
    jobs: int | None = None,
) -> np.ndarray:
    """Boxes the largest connected component of each map at every threshold.

    The result is that of `largest_boxes` for each threshold, to the last digit, but
    a thousand thresholds cost little more than one. Numba compiles the loops at the
    first call (seconds, then kept on disk where possible); maps run in threads.

    Args:
        score_maps: Array `(N, H, W)`, values in [0, 1].
        thresholds: Array `(T,)`, ascending, in [0, 1): shares of each map's maximum.
        convention: `"default"`, or `"wsolevaluation"` or `"adl"` for the boxes of these
            published evaluators to the last digit (`boxes/sweep.py` has their
            rules), whose maps and thresholds are float64.
        jobs: Integer, number of threads. Default: one a core.

    Returns:
        float32 array `(T, N, 4)`: x0, y0, x1, y1 in cells, the far edge exclusive (of
        wsolevaluation inclusive); the zero box where no cell is above the threshold
        (of ADL 0, 0, 1, 1).

    Raises:
        ValueError: A shape does not fit, the thresholds do not ascend in [0, 1), or a
            map is not in [0, 1] (published conventions only).

    Example:
    >>> score_map = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.0, 0.8, 0.2]])
    >>> sweep_largest_boxes(score_map[None], [0.1, 0.7, 0.9])[:, 0].tolist()
    [[2.0, 0.0, 4.0, 2.0], [2.0, 0.0, 4.0, 2.0], [3.0, 0.0, 4.0, 1.0]]
    """
    maps, thresholds = _prepare(score_maps, thresholds, convention)
    default = convention == "default"

    def boxes_of(score_map: np.ndarray) -> np.ndarray:
        if default:
            return _largest(_sweep(score_map, thresholds))
        if convention == "adl":
            return adl_boxes(score_map, thresholds)
        return border_sweep(score_map, thresholds)[0]

    boxes = np.zeros((len(thresholds), len(maps), 4), np.float32)
    return _in_threads(boxes_of, jobs, boxes, maps)


def sweep_best_iou(
    score_maps: Any,
    thresholds: Any,
    true_boxes: Any,
    convention: str = "default",
    *,
    jobs: int | None = None,
) -> np.ndarray:
    """Best overlap of any component with any true box, at every threshold.

    This is what MaxBoxAccV2 asks for: every component is boxed, and the best box
    counts.

    Args:
        score_maps: Array `(N, H, W)`, values in [0, 1].
        thresholds: Array `(T,)`, ascending, in [0, 1): shares of each map's maximum.
        true_boxes: Array `(N, M, 4)`: x0, y0, x1, y1 in cells, the far edge
            exclusive; padded with -1 where a map has fewer than M.
        convention: As for `sweep_largest_boxes`. `"wsolevaluation"` cuts true boxes
            down to whole cells and compares the boxes of all contours, also of holes.
        jobs: As for `sweep_largest_boxes`.

    Returns:
        float32 array `(T, N)` (of wsolevaluation float64), values in [0, 1]: 0 where
        no cell is above the threshold or a map has no true box.

    Raises:
        ValueError: As for `sweep_largest_boxes`, or a true box has a negative side or
            coordinate (wsolevaluation only).

    Example:
    >>> score_map = np.array([[0.9, 0.0, 0.6, 1.0], [0.0, 0.0, 0.8, 0.2]])
    >>> true_boxes = [[[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 4.0, 1.0]]]
    >>> sweep_best_iou(score_map[None], [0.1, 0.85, 0.9], true_boxes)[:, 0].tolist()
    [1.0, 1.0, 0.5]
    """
    check_choice("convention", convention, CONVENTIONS[:2])  # ADL's has one box
    maps, thresholds = _prepare(score_maps, thresholds, convention)
    true_boxes = np.asarray(keras.ops.convert_to_numpy(true_boxes))
    shape = true_boxes.shape
    if true_boxes.ndim != 3 or shape[0] != len(maps) or shape[2] != 4:
        raise ValueError(
            f"`true_boxes` must have shape (N, M, 4) for the N={len(maps)} score maps."
            f" Received: true_boxes.shape={shape}."
        )
    default = convention == "default"
    true_boxes = true_boxes.astype("float32") if default else whole_boxes(true_boxes)

    def best_of(score_map: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        if default:
            return _best_iou(_sweep(score_map, thresholds), boxes)
        return border_sweep(score_map, thresholds, boxes)[1]

    best = np.zeros((len(thresholds), len(maps)), maps.dtype)
    return _in_threads(best_of, jobs, best, maps, true_boxes)


class _Sweep(NamedTuple):
    components: np.ndarray  # (C, 6), as from component_history
    changes: np.ndarray  # (C,), as from component_history
    joined: np.ndarray  # (T,) number of cells above each threshold, descending


def _sweep(score_map: np.ndarray, thresholds: np.ndarray) -> _Sweep:
    from keras_wsol.boxes import numba_loops  # loads Numba

    if not 0 < score_map.max() < np.inf:
        # No cell is above a share of this.
        empty = np.zeros((0, 6), np.int32)
        return _Sweep(empty, empty[:, 0], np.zeros(len(thresholds), np.int64))
    cuts = thresholds * score_map.max()
    order, joined = numba_loops.cells_by_level(score_map, cuts)
    return _Sweep(*numba_loops.component_history(order, *score_map.shape), joined)


def _in_threads(
    function: Callable[..., Any],
    jobs: int | None,
    results: np.ndarray,
    *arrays: np.ndarray,
) -> np.ndarray:
    """Fills `results` (T, N, ...) with what a function gives for each map."""
    # Compiled code runs without the interpreter's lock, so that threads are enough.
    jobs = check_integer("jobs", (os.cpu_count() or 1) if jobs is None else jobs)
    with ThreadPoolExecutor(jobs) as pool:
        for n, result in enumerate(pool.map(function, *arrays)):
            results[:, n] = result
    return results


def _boxes(components: np.ndarray) -> np.ndarray:
    return (components[:, 2:] * np.array([-1, -1, 1, 1])).astype(np.float32)


def _largest(sweep: _Sweep) -> np.ndarray:
    boxes = np.zeros((len(sweep.joined), 4), np.float32)
    joined = sweep.joined[sweep.joined > 0]
    # Most cells, then first in row-major order, in one number. A component never
    # shrinks, so the largest at a moment is the largest of all made until then.
    sizes = (sweep.components[:, 0].astype(np.int64) << 32) + sweep.components[:, 1]
    record = np.maximum.accumulate(sizes)
    made = np.searchsorted(record, record[joined - 1])
    boxes[: len(joined)] = _boxes(sweep.components[made])
    return boxes


def _best_iou(sweep: _Sweep, true_boxes: np.ndarray) -> np.ndarray:
    moments = np.bincount(sweep.joined, minlength=len(sweep.changes) + 1)
    # How many thresholds, from the lowest on, let more than so many cells join.
    above = len(sweep.joined) - np.cumsum(moments)
    begin, end = above[sweep.changes], above[: len(sweep.changes)]
    seen = np.flatnonzero(begin < end)
    overlaps = pairwise_iou(_boxes(sweep.components[seen]), true_boxes)
    return _range_maxima(
        begin[seen], end[seen], overlaps.max(axis=1, initial=0), len(sweep.joined)
    )


def _range_maxima(
    begin: np.ndarray, end: np.ndarray, values: np.ndarray, size: int
) -> np.ndarray:
    """Largest value (size,) of the ranges [begin, end) that hold each place."""
    # A range is covered by two, possibly overlapping, whose length is a power of two;
    # these are halved until each is a single place.
    powers = np.frexp(end - begin)[1] - 1
    table = np.zeros((size.bit_length(), size), np.float32)
    np.maximum.at(table, (powers, begin), values)
    np.maximum.at(table, (powers, end - (1 << powers)), values)
    for power in range(len(table) - 1, 0, -1):
        half = 1 << (power - 1)
        row = table[power]
        np.maximum(table[power - 1], row, out=table[power - 1])
        np.maximum(table[power - 1, half:], row[:-half], out=table[power - 1, half:])
    return table[0]


def _prepare(
    score_maps: Any, thresholds: Any, convention: str
) -> tuple[np.ndarray, np.ndarray]:
    check_choice("convention", convention, CONVENTIONS)
    dtype = np.float32 if convention == "default" else np.float64
    maps = np.asarray(keras.ops.convert_to_numpy(score_maps), dtype)
    check_rank("score_maps", maps)
    if convention != "default" and not np.all((maps >= 0) & (maps <= 1)):
        raise ValueError(
            f"`score_maps` must be in [0, 1] and hold no NaN for {convention}."
        )
    thresholds = np.asarray(thresholds, dtype)
    if thresholds.ndim != 1 or not len(thresholds):
        raise ValueError(
            "`thresholds` must have shape (T,). "
            f"Received: thresholds.shape={thresholds.shape}."
        )
    ascend = np.all(np.diff(thresholds) >= 0)
    if not (ascend and thresholds[0] >= 0 and thresholds[-1] < 1):
        raise ValueError(
            f"`thresholds` must ascend in [0, 1). Received: thresholds={thresholds}."
        )
    return maps, thresholds


CONVENTIONS = ("default", "wsolevaluation", "adl")
ADL_THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)

# What is so near to a whole number, relatively, would have been whole in float64.
_NEARLY = 2.0**-21


def border_sweep(
    score_map: np.ndarray,
    thresholds: np.ndarray,
    true_boxes: np.ndarray | None = None,
    grey: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Follows the contours of one map at every threshold.

    Gives int64 (T, 4), the box of the contour with the largest area, of equal ones
    OpenCV's first, which is the last in row-major order; and float64 (T,), the best
    overlap of any contour's box with a true box.
    """
    from keras_wsol.boxes.numba_loops import border_boxes  # loads Numba

    grey = (score_map * 255).astype(np.uint8) if grey is None else grey
    cuts = (thresholds * grey.max(initial=0)).astype(np.int64)
    # Masks in which the same cells are above, though the cuts differ, are one.
    present = np.bincount(grey.ravel(), minlength=256) > 0
    present[0] = True
    number = np.cumsum(present) - 1
    mask_of_cut = number[cuts]
    masks, place = np.unique(mask_of_cut, return_inverse=True)
    # How many of the masks asked for a grey value lies in.
    levels = np.searchsorted(masks, number).astype(np.uint8)
    framed = np.pad(levels[grey], 1)
    count = int(framed.max())
    with_holes = true_boxes is not None
    true_boxes = np.zeros((0, 4), np.int64) if true_boxes is None else true_boxes
    if count:
        boxes, best = border_boxes(framed, count, true_boxes, with_holes)
    else:  # the one mask of a black map is empty
        boxes = np.zeros((1, 4), np.int64)
        best = inclusive_iou(boxes, true_boxes).max(axis=1, initial=0)
    return boxes[place], best[place]


def adl_boxes(score_map: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Boxes int64 (T, 4) of the contour with the largest area, as ADL's code has it."""
    cells = np.minimum((score_map * 256).astype(np.int64), 255)
    # With a border behind, no far edge is cut off at the map's last cell.
    grey = np.pad(_grey_of_colours()[cells], ((0, 1), (0, 1)))
    boxes = border_sweep(score_map, thresholds, grey=grey)[0]
    return np.where(boxes.any(axis=1, keepdims=True), boxes, [0, 0, 1, 1])


@cache
def _grey_of_colours() -> np.ndarray:
    """OpenCV's grey of each of the 256 colours of Matplotlib's "cubehelix"."""
    import matplotlib as mpl

    colours = np.float32(mpl.colormaps["cubehelix"](np.arange(256))[:, :3]) * 255
    weights = np.array([9798, 19235, 3735])  # of red, green and blue, times 2**15
    grey = (colours.astype(np.uint8) @ weights + (1 << 14)) >> 15
    return grey.astype(np.uint8)


def whole_boxes(true_boxes: Any, outside: bool = False) -> np.ndarray:
    """Cuts true boxes down to whole cells, as published evaluators do.

    It scales boxes in float64. Of boxes scaled in float32, a whole number may have
    come out a little too low: what is that near to a whole number counts as it.
    """
    boxes = np.asarray(true_boxes)
    exact = boxes.astype(np.float64)
    if boxes.dtype == np.float32:
        nearest = np.rint(exact)
        is_near = np.abs(exact - nearest) <= np.abs(exact) * _NEARLY
        exact = np.where(is_near, nearest, exact)
    whole = np.trunc(exact).astype(np.int64)
    inverted = (exact[..., :2] > exact[..., 2:]).any(axis=-1)
    wrong = ((exact < 0).any(axis=-1) & (not outside)) | inverted
    wrong &= ~(exact < 0).all(axis=-1)
    if wrong.any():
        raise ValueError(
            "True boxes must be x0, y0, x1, y1 with 0 <= x0 <= x1 and 0 <= y0 <= y1, "
            f"or padding of -1. Received: {boxes[wrong][0].tolist()}."
        )
    return whole


def inclusive_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Overlap float64 `(A, B)` of boxes in whole cells that hold their far edges.

    Padding of -1 overlaps nothing.
    """
    grow = np.array([0, 0, 1, 1])
    return pairwise_iou(boxes_a + grow, boxes_b + grow)
