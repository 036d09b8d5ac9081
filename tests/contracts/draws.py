"""Stand-ins for `keras.random.uniform`: numbers that the test knows."""

from contextlib import contextmanager
from unittest import mock

import keras
import numpy as np
from keras import ops


class ForcedDraws:
    """The same sequence of numbers on every backend; it notes what it gave."""

    def __init__(self):
        self.generator = np.random.default_rng(15)
        self.made = []

    def __call__(self, shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        check_request(minval, maxval, dtype, seed)
        self.made.append(self.generator.random(tuple(map(int, shape)), "float32"))
        return self.made[-1]


class ReplayedDraws:
    """Gives the draws of another call, which may be tensors of a graph.

    A batch that is larger than theirs gets them for each of its samples.
    """

    def __init__(self, draws):
        self.left = list(draws)

    def __call__(self, shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
        check_request(minval, maxval, dtype, seed)
        return ops.broadcast_to(self.left.pop(0), tuple(shape))


def check_request(minval, maxval, dtype, seed):
    """What every draw of a layer asks for."""
    assert (minval, maxval, dtype) == (0.0, 1.0, "float32")
    assert seed is not None, "a draw without the layer's generator"


@contextmanager
def drawing(uniform):
    """Layers draw from `uniform` meanwhile."""
    with mock.patch.object(keras.random, "uniform", uniform):
        yield uniform
