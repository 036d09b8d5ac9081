"""Variables as the MATLAB files of public data sets hold them."""

import numpy as np


def structs(rows, fields):
    """A 1 x N struct array whose numbers are as small as MATLAB made them."""
    table = np.zeros((1, len(rows)), [(field, "O") for field in fields])
    for place, row in enumerate(rows):
        for field, value in zip(fields, row, strict=True):
            small = isinstance(value, int)
            if small:
                value = np.array([[value]], np.min_scalar_type(value))
            table[0, place][field] = value
    return table


def cell(names):
    names_in_cell = np.empty((1, len(names)), object)
    names_in_cell[0] = names
    return names_in_cell
