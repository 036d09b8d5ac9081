"""The draw that picks one of two maps, for a batch or for each sample."""

from typing import Any

import keras
from keras import ops

DRAWS = ("batch", "sample")


def draw_first(
    inputs: Any, rate: float, draw: str, seed_generator: keras.random.SeedGenerator
) -> Any:
    """Draws whether the first of two maps is used.

    Args:
        inputs: Tensor `(B, H, W, C)`; only its batch size is read.
        rate: Float in [0, 1], probability of the first map.
        draw: `"batch"` for one draw a call, `"sample"` for one a sample.
        seed_generator: Where the draw comes from; it moves on with each call.

    Returns:
        Boolean tensor `(1, 1, 1, 1)` or `(B, 1, 1, 1)`.
    """
    samples = ops.shape(inputs)[0] if draw == "sample" else 1
    uniform = keras.random.uniform(
        (samples, 1, 1, 1), dtype="float32", seed=seed_generator
    )
    return uniform < rate
