"""How the components of a score map grow and merge as the threshold falls.

Every component of every threshold is the component that some cell had made when it
joined: thresholds only choose moments of one history, which costs one look at each
cell. This file is plain Python and slow; `sweep.py` lets Numba compile it.
"""

import numpy as np

CELLS, FIRST, X0, Y0, X1, Y1 = range(6)


def component_history(
    order: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lets cells join one after the other and notes what each of them makes.

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
    steps = np.array(
        [-stride, -1, 1, stride, -stride - 1, 1 - stride, stride - 1, stride + 1]
    )
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
        parents[cell] = cell
        root = cell
        for step in steps:
            other = cell + step
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            if other in (0, root):
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
