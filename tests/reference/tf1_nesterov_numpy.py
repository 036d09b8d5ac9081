"""TensorFlow 1's momentum with a penalty in the loss, step by step, in loops.

Written from `tf.train.MomentumOptimizer`'s kernel (`accum = accum * momentum + grad`;
`var -= grad * lr + accum * momentum * lr`, ApplyMomentum with use_nesterov) and from
Tensorpack's order of work: the penalty is part of the loss, so its gradient
`decay * w` is there before `ScaleGradient` multiplies.
"""

import numpy as np


def tf1_nesterov(weights, gradients, rates, multipliers, decays, momentum=0.9):
    """Weights after each step, in float64.

    Args:
        weights: List of arrays.
        gradients: Function of the list of current weights and the step to a list of
            the gradients of the loss without penalty.
        rates: One number a step.
        multipliers: One number a weight.
        decays: One number a weight.
        momentum: Number.

    Returns:
        List, one entry a step, of lists of arrays.
    """
    weights = [np.array(weight, "float64") for weight in weights]
    velocities = [np.zeros_like(weight) for weight in weights]
    history = []
    for step, rate in enumerate(rates):
        found = gradients(weights, step)
        for i in range(len(weights)):
            gradient = (found[i] + decays[i] * weights[i]) * multipliers[i]
            velocities[i] = momentum * velocities[i] + gradient
            weights[i] = weights[i] - rate * (gradient + momentum * velocities[i])
        history.append([weight.copy() for weight in weights])
    return history


def steps_of_tenths(base, drops, steps):
    """The rate of each step: a tenth from each step of `drops` on."""
    return [base * 0.1 ** sum(step >= drop for drop in drops) for step in range(steps)]
