"""The loops that visit every cell of a map, compiled by Numba.

Components of falling thresholds only grow and merge, so one pass over the cells,
highest first, meets those of every threshold: `component_history`. Borders are followed
as by OpenCV's `findContours`, but at all thresholds at once: `border_boxes` (Suzuki and
Abe, 1985, "Topological structural analysis of digitized binary images by border
following").
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function to run without the interpreter's lock."""
    # Numba's cache does not see changes in other files, so what is compiled calls only
    # what is compiled in this one.
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder in which to keep the machine code
        return numba.njit(nogil=True)(function)


# Directions, counter-clockwise on the screen: right, up and right, up, ...
_X = (1, 1, 0, -1, -1, -1, 0, 1)
_Y = (0, -1, -1, -1, 0, 1, 1, 1)


@compiled
def _steps(width: int) -> np.ndarray:
    """What each direction adds to a row-major place in a map of this width."""
    steps = np.empty(8, np.int64)
    for n in range(8):
        steps[n] = _Y[n] * width + _X[n]
    return steps


@compiled
def cells_by_level(
    score_map: np.ndarray, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the cells of a map by how many cuts they are above.

    The map is float32, finite, with a value above 0; cuts ascend from 0. Gives the
    cells above the lowest cut, int32 (C,), those above most cuts first, as row-major
    places in a map with a frame of one cell; and how many are above each cut (T,).
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
def component_history(
    order: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lets cells join in the order of `cells_by_level`; notes what each of them makes.

    Gives the component (C, 6) int32 that each cell is part of just after it joined:
    number of cells, then minus first cell, -x0, -y0, x1, y1, so that all but the
    number are maxima; and the moment (C,) int32 at which another cell changes that
    component, C if none does.
    """
    stride = width + 2
    steps = _steps(stride)
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
        for n in range(8):
            other = cell + steps[n]
            if parents[other] == 0:
                continue
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
            mine[0] += theirs[0]
            for i in range(1, 6):
                mine[i] = max(mine[i], theirs[i])
        latest[root] = now
    return components, changes


# A border runs through the centres of the cells of a component, around it (an outer
# border) or around a hole in it. Components are 8-connected, holes 4-connected.

# Sides of a cell, as numbers of `passed`; times four they are directions.
_RIGHT_SIDE, _LEFT_SIDE = 0, 1


@compiled
def _starts(
    levels: np.ndarray, width: int, with_holes: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds, for every border of every level, a place to begin, and some more.

    Gives twice the cell, plus 1 if background is on its left; and the first level, in
    ascending order, and the one after the last at which that is so.
    """
    # The first cell of a component, in row-major order, has none of it above or on its
    # left. The first cell of a hole has cells of the border above it and on its left.
    sides = np.empty(2 * levels.size, np.int32)
    begins = np.empty(2 * levels.size, np.int16)
    ends = np.empty(2 * levels.size, np.int16)
    count = 0
    for cell in range(width + 1, levels.size - width - 1):
        above = max(levels[cell - width], levels[cell - width + 1])
        begin = max(levels[cell - 1], levels[cell - width - 1], above)
        if begin < levels[cell]:
            sides[count] = 2 * cell + _LEFT_SIDE
            begins[count], ends[count] = begin, levels[cell]
            count += 1
        end = min(levels[cell], levels[cell - width + 1])
        if with_holes and levels[cell + 1] < end:
            sides[count] = 2 * cell + _RIGHT_SIDE
            begins[count], ends[count] = levels[cell + 1], end
            count += 1
    order = np.argsort(begins[:count])
    return sides[order], begins[order], ends[order]


@compiled
def _update(
    active: np.ndarray,
    count: int,
    level: int,
    begins: np.ndarray,
    ends: np.ndarray,
    following: int,
) -> tuple[int, int]:
    """Drops starts that are over, adds those that begin; their number, the next one."""
    kept = 0
    for n in range(count):
        if ends[active[n]] > level:
            active[kept] = active[n]
            kept += 1
    while following < len(begins) and begins[following] == level:
        active[kept] = following
        kept, following = kept + 1, following + 1
    return kept, following


@compiled
def _before(
    levels: np.ndarray, steps: np.ndarray, cell: int, gap: int, level: int
) -> int:
    """Direction of the next cell above the level, clockwise; `gap` if there is none."""
    for turn in range(1, 8):
        direction = (gap - turn) & 7
        if levels[cell + steps[direction]] > level:
            return direction
    return gap


@compiled
def _follow(
    levels: np.ndarray,
    steps: np.ndarray,
    start: int,
    side: int,
    level: int,
    passed: np.ndarray,
) -> tuple[int, int, int, int, int, int]:
    """Follows a border once around, counter-clockwise if it is an outer one.

    Gives twice the area inside, negative for a hole; the first cell in row-major
    order; and how far the border goes left, up, right and down from its start.
    """
    passed[side, start] = level + 1
    back = _before(levels, steps, start, 4 * side, level)
    area = x = y = left = up = right = down = 0
    if back == 4 * side:
        return area, start, left, up, right, down
    last = start + steps[back]
    cell = first = start
    while True:
        ahead = back + 1
        while levels[cell + steps[ahead & 7]] <= level:
            ahead += 1
        # What lies between `back` and `ahead` is background.
        if ahead > 8:
            passed[_RIGHT_SIDE, cell] = level + 1
        if back < 4 < ahead or ahead > 12:
            passed[_LEFT_SIDE, cell] = level + 1
        ahead &= 7
        area += y * _X[ahead] - x * _Y[ahead]
        x, y = x + _X[ahead], y + _Y[ahead]
        left, right = min(left, x), max(right, x)
        up, down = min(up, y), max(down, y)
        at_last, cell = cell == last, cell + steps[ahead]
        first = min(first, cell)
        if at_last and cell == start:
            return area, first, left, up, right, down
        back = (ahead + 4) & 7


@compiled
def _best_overlap(box: np.ndarray, true_boxes: np.ndarray) -> float:
    """Best overlap of a box with a true box; boxes hold their far edges."""
    best = 0.0
    for true in true_boxes:
        width = min(box[2], true[2]) - max(box[0], true[0]) + 1
        height = min(box[3], true[3]) - max(box[1], true[1]) + 1
        if width > 0 and height > 0:
            both = width * height
            area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
            area += (true[2] - true[0] + 1) * (true[3] - true[1] + 1)
            best = max(best, both / (area - both))
    return best


@compiled
def border_boxes(
    levels: np.ndarray, num_levels: int, true_boxes: np.ndarray, with_holes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Follows the borders of the cells above each level, of holes `with_holes`.

    `levels` is uint8 (H + 2, W + 2) with a frame of zeros, whose largest value is
    `num_levels`; level i, from 0 on, is the mask `levels > i`. True boxes are int64
    (M, 4). Gives for each level what `sweep.border_sweep` gives for a threshold.
    """
    height, width = levels.shape
    flat = levels.ravel()
    steps = _steps(width)
    sides, begins, ends = _starts(flat, width, with_holes)
    active = np.empty(len(sides), np.int32)
    # At which level, plus one, a border last passed the right or left of a cell.
    passed = np.zeros((2, flat.size), np.int16)
    boxes = np.zeros((num_levels, 4), np.int64)
    best = np.zeros(num_levels)
    box = np.empty(4, np.int64)
    count = following = 0
    for level in range(num_levels):
        count, following = _update(active, count, level, begins, ends, following)
        largest = (-1, -1)
        for n in range(count):
            cell, side = divmod(np.int64(sides[active[n]]), 2)
            if passed[side, cell] > level:
                continue
            area, first, left, up, right, down = _follow(
                flat, steps, cell, side, level, passed
            )
            row, column = divmod(cell, width)
            box[0], box[1] = column - 1 + left, row - 1 + up
            box[2] = min(column + right, width - 3)
            box[3] = min(row + down, height - 3)
            best[level] = max(best[level], _best_overlap(box, true_boxes))
            if (area, first) > largest:
                largest = (area, first)
                boxes[level] = box
    return boxes, best
