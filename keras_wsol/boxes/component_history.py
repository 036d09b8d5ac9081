"""How the components of a score map grow and merge as the threshold falls.

Components of falling thresholds only grow and merge, so one pass over the cells,
highest first, meets those of every threshold. This file loads Numba; `sweep.py` loads
it when it is first needed.
"""

import numpy as np

from keras_wsol.boxes.compiler import compiled

# The eight neighbours as (row, column) steps, in a ring.
_RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def _one_of_each(ring: int) -> list[int]:
    """Neighbours, one of each component of those set in the bits of `ring`."""
    chosen: list[int] = []
    left = [n for n in range(8) if ring >> n & 1]
    while left:
        reached = [left[0]]
        chosen += reached
        for n in reached:
            reached += [m for m in left if m not in reached and _touch(n, m)]
        left = [m for m in left if m not in reached]
    return chosen


def _touch(n: int, m: int) -> bool:
    steps = zip(_RING[n], _RING[m], strict=True)
    return max(abs(a - b) for a, b in steps) == 1


_CHOSEN = [_one_of_each(ring) for ring in range(256)]
# For each set of joined neighbours: how many components they make among themselves
# (one, most often; at most four), then a neighbour of each.
_LOOK_AT = np.array([[len(c), *c, *[0] * (4 - len(c))] for c in _CHOSEN], np.int8)


@compiled
def cells_by_level(
    score_map: np.ndarray, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the cells of a map by how many cuts they are above.

    Args:
        score_map: float32 (H, W), finite, at least one value above 0.
        cuts: float32 (T,), ascending, at least 0.

    Returns:
        The cells above the lowest cut, int32 (C,), those above most cuts first, as
        row-major places in a map with a frame of one cell around it, so that each has
        eight neighbours; and how many are above each cut, int64 (T,), descending.
    """
    height, width = score_map.shape
    # So many equal bins of values; the search of a cell begins at its bin's first cut.
    bins = 1024
    scale = np.float64(bins - 1) / score_map.max()
    first_cut = np.zeros(bins + 1, np.int32)
    for cut in cuts:
        first_cut[min(np.int64(cut * scale), bins - 1) + 1] += 1
    first_cut = np.cumsum(first_cut)
    levels = np.zeros((height, width), np.int32)
    joined = np.zeros(len(cuts) + 1, np.int64)
    for row in range(height):
        for column in range(width):
            value = score_map[row, column]
            level = first_cut[np.int64(max(value, np.float32(0)) * scale)]
            while level < len(cuts) and value > cuts[level]:
                level += 1
            levels[row, column] = level
            joined[level] += 1
    # From how many at each level to how many at it or above.
    joined = np.cumsum(joined[::-1])[::-1][1:].copy()
    order = np.empty(joined[0], np.int32)
    free = np.append(joined[1:], 0)
    for row in range(height):
        for column in range(width):
            level = levels[row, column] - 1
            if level >= 0:
                order[free[level]] = (row + 1) * (width + 2) + column + 1
                free[level] += 1
    return order, joined


@compiled
def _joined_around(parents: np.ndarray, cell: int, steps: np.ndarray) -> int:
    ring = 0
    for n in range(8):
        ring |= np.int64(parents[cell + steps[n]] != 0) << n
    return ring


@compiled
def _add(mine: np.ndarray, theirs: np.ndarray) -> None:
    mine[0] += theirs[0]
    for i in range(1, 6):
        mine[i] = max(mine[i], theirs[i])


@compiled
def component_history(
    order: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lets cells join one after the other and notes what each of them makes.

    Every component of every threshold is the component that some cell had made when
    it joined: thresholds only choose moments of one history.

    Args:
        order: int32 (C,), cells in the order in which they join, as row-major places
            in a map with a frame of one cell around it, so that each has eight
            neighbours.
        height: Rows of the map, without the frame.
        width: Columns of the map, without the frame.

    Returns:
        The component (C, 6) int32 that each cell is part of just after it joined:
        number of cells, then minus first cell, -x0, -y0, x1, y1, so that all but the
        number are maxima; and the moment (C,) int32 at which another cell changes
        that component, C if none does.
    """
    stride = width + 2
    steps = np.empty(8, np.int64)
    for n in range(8):
        steps[n] = _RING[n][0] * stride + _RING[n][1]
    # A forest: the roots are cells that are their own parents. Cells that have not
    # joined hang on place 0, a corner of the frame.
    parents = np.zeros((height + 2) * stride, np.int32)
    latest = np.zeros(parents.size, np.int32)
    components = np.empty((len(order), 6), np.int32)
    changes = np.full(len(order), len(order), np.int32)
    for now in range(len(order)):
        cell = order[now]
        row, column = cell // stride, cell % stride
        mine = components[now]
        mine[0], mine[1] = 1, -cell
        mine[2], mine[3], mine[4], mine[5] = 1 - column, 1 - row, column, row
        parents[cell] = root = cell
        # One neighbour of each component is enough.
        ring = _joined_around(parents, cell, steps)
        for n in range(_LOOK_AT[ring, 0]):
            other = cell + steps[_LOOK_AT[ring, n + 1]]
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            if other == root:
                continue
            theirs = components[latest[other]]
            changes[latest[other]] = now
            # The smaller tree goes under the larger, which keeps the ways short.
            if theirs[0] > mine[0]:
                root, other = other, root
            parents[other] = root
            _add(mine, theirs)
        latest[root] = now
    return components, changes
