"""The numbers that a layer draws: those of a generator with its seed."""

import keras
from keras import ops


def replayed(seed, *shapes):
    """The first uniform draws of a layer with this seed, one array a shape."""
    generator = keras.random.SeedGenerator(seed)
    draws = [
        ops.convert_to_numpy(
            keras.random.uniform(shape, dtype="float32", seed=generator)
        )
        for shape in shapes
    ]
    return draws[0] if len(draws) == 1 else draws
