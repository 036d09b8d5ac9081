"""Gradients of a plain NumPy function, for checking those of a layer."""

import numpy as np


def numerical_gradient(function, inputs, weights, step=1e-6):
    """Central differences of sum(weights * function(inputs)) in float64."""
    inputs = np.asarray(inputs, np.float64)
    gradient = np.zeros(inputs.shape)
    for place in np.ndindex(*inputs.shape):
        sums = []
        for sign in (1.0, -1.0):
            moved = inputs.copy()
            moved[place] += sign * step
            sums.append(float(np.sum(weights * function(moved))))
        gradient[place] = (sums[0] - sums[1]) / (2.0 * step)
    return gradient
