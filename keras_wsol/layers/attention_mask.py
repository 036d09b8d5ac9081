"""Draws: one of two maps, for a batch or for each sample; channels one by one."""

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


def draw_channel_mask(
    eligible: Any, rate: float, seed_generator: keras.random.SeedGenerator
) -> Any:
    """Draws which of the eligible channels are dropped, each on its own.

    Args:
        eligible: Boolean tensor `(B, 1, 1, C)`.
        rate: Float in [0, 1], probability that an eligible channel is dropped.
        seed_generator: Where the draws come from; it moves on with each call.

    Returns:
        float32 tensor `(B, 1, 1, C)`: 1 keeps, 0 drops.
    """
    uniform = keras.random.uniform(
        ops.shape(eligible), dtype="float32", seed=seed_generator
    )
    return 1.0 - ops.cast(ops.logical_and(eligible, uniform < rate), "float32")
