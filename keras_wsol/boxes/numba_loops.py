"""The loops that visit every cell of a map, compiled by Numba.

This file loads Numba, so the functions that need it load it late.

Components of falling thresholds only grow and merge, so one pass over the cells,
highest first, meets those of every threshold: `component_history`. Borders, as OpenCV's
`findContours` follows them, are followed by `border_boxes` without drawing a mask for
each threshold (Suzuki and Abe, 1985, "Topological structural analysis of digitized
binary images by border following").
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function, and keeps the machine code on disk where there is a folder.

    It runs without the interpreter's lock, so that threads share the work. It may call
    compiled functions of the same file alone: Numba does not see changes of others.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder in which to keep the machine code
        return numba.njit(nogil=True)(function)


# The eight neighbours as (row, column) steps, in a ring.
_RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


@compiled
def cells_by_level(
    score_map: np.ndarray, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts the cells of a map by how many cuts they are above.

    The map is float32 (H, W), finite, with a value above 0; cuts ascend from 0. Gives
    the cells above the lowest cut, int32 (C,), those above most cuts first, as
    row-major places in a map with a frame of one cell; and how many are above each
    cut, int64 (T,), descending.
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
    it joined: thresholds only choose moments of one history. `order` is that of
    `cells_by_level`.

    Gives the component (C, 6) int32 that each cell is part of just after it joined:
    number of cells, then minus first cell, -x0, -y0, x1, y1, so that all but the
    number are maxima; and the moment (C,) int32 at which another cell changes that
    component, C if none does.
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
            _add(mine, theirs)
        latest[root] = now
    return components, changes


# A border runs through the centres of the cells of a component, around it (an outer
# border) or around a hole in it. Components are 8-connected, holes 4-connected.

# Directions, counter-clockwise on the screen: right, up and right, up, ...
_X = (1, 1, 0, -1, -1, -1, 0, 1)
_Y = (0, -1, -1, -1, 0, 1, 1, 1)
# Sides of a cell, as numbers of `passed`; times four they are directions.
_RIGHT, _LEFT = 0, 1


@compiled
def _starts(
    levels: np.ndarray, width: int, with_holes: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds, for every border of every level, a place to begin, and some more.

    The first cell of a component, in row-major order, has none of it above or on its
    left. The first cell of a hole has cells of the border above it and on its left.

    Gives twice the cell, plus 1 for its left side, on which background is; and the
    first level, and the one after the last, at which that is so.
    """
    sides = np.empty(2 * levels.size, np.int32)
    begins = np.empty(2 * levels.size, np.int16)
    ends = np.empty(2 * levels.size, np.int16)
    count = 0
    for cell in range(width + 1, levels.size - width - 1):
        above = max(levels[cell - width], levels[cell - width + 1])
        begin = max(levels[cell - 1], levels[cell - width - 1], above)
        if begin < levels[cell]:
            sides[count] = 2 * cell + _LEFT
            begins[count], ends[count] = begin, levels[cell]
            count += 1
        end = min(levels[cell], levels[cell - width + 1])
        if with_holes and levels[cell + 1] < end:
            sides[count] = 2 * cell + _RIGHT
            begins[count], ends[count] = levels[cell + 1], end
            count += 1
    return sides[:count], begins[:count], ends[:count]


@compiled
def _chains(begins: np.ndarray, num_levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Chains what begins at the same level: the first of each, then each one's next."""
    firsts = np.full(num_levels, -1, np.int32)
    following = np.empty(len(begins), np.int32)
    for start in range(len(begins)):
        following[start] = firsts[begins[start]]
        firsts[begins[start]] = start
    return firsts, following


@compiled
def _update(
    active: np.ndarray,
    count: int,
    level: int,
    ends: np.ndarray,
    first: int,
    following: np.ndarray,
) -> int:
    """Keeps starts that are not over yet, adds a chain of new ones; their number."""
    kept = 0
    for n in range(count):
        if ends[active[n]] > level:
            active[kept] = active[n]
            kept += 1
    while first >= 0:
        active[kept] = first
        kept, first = kept + 1, following[first]
    return kept


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
    order; and how far the border goes to the left, up, to the right and down from the
    cell where it starts.
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
            passed[_RIGHT, cell] = level + 1
        if back < 4 < ahead or ahead > 12:
            passed[_LEFT, cell] = level + 1
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
    """Follows the borders of the cells above each level.

    `levels` is uint8 (H + 2, W + 2), a picture with a frame of zeros, whose largest
    value is `num_levels`; level i, from 0 on, is the mask `levels > i`. True boxes are
    int64 (M, 4) and hold their far edges. `with_holes` follows the borders of holes,
    too.

    Gives for each level, int64 (num_levels, 4), the box of the outer border with the
    largest area, of equal ones that whose first cell in row-major order comes last;
    and float64 (num_levels,), the best overlap of any border's box with a true box.
    Boxes are x0, y0, x1, y1 in cells without the frame; x1 and y1 are one behind the
    border, unless the map ends there.
    """
    height, width = levels.shape
    flat = levels.ravel()
    steps = np.empty(8, np.int64)
    for n in range(8):
        steps[n] = _Y[n] * width + _X[n]
    sides, begins, ends = _starts(flat, width, with_holes)
    firsts, following = _chains(begins, num_levels)
    active = np.empty(len(sides), np.int32)
    # At which level, plus one, a border last passed the right or left of a cell.
    passed = np.zeros((2, flat.size), np.int16)
    boxes = np.zeros((num_levels, 4), np.int64)
    best = np.zeros(num_levels)
    box = np.empty(4, np.int64)
    count = 0
    for level in range(num_levels):
        count = _update(active, count, level, ends, firsts[level], following)
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
