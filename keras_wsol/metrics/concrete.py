"""Metrics that need arrays at hand, not the symbolic tensors of a graph."""

from typing import Any

import keras
import numpy as np

_ADVICE = (
    "This metric takes concrete arrays, not the symbolic tensors of `compile` or "
    "`tf.function`. Use `evaluation.evaluate`, or the metrics `Top1Loc`, `Top5Loc`, "
    "`GTKnownLoc` and `MeanBoxIoU`."
)


def concrete(*values: Any) -> list[np.ndarray]:
    """Turns tensors and arrays into NumPy arrays.

    Args:
        *values: Arrays, tensors of the backend or nested sequences of numbers.

    Returns:
        One NumPy array for each, of its own dtype.

    Raises:
        ValueError: A value is symbolic; the message says what to do instead.
    """
    if any(keras.utils.is_keras_tensor(value) for value in values):
        raise ValueError(_ADVICE)
    return [_concrete(value) for value in values]


def _concrete(value: Any) -> np.ndarray:
    try:
        return np.asarray(keras.ops.convert_to_numpy(value))
    except (NotImplementedError, TypeError, AttributeError) as error:
        # What the backends raise for a tensor of a graph; for anything else the error
        # is the caller's, and says more than the advice.
        if not keras.ops.is_tensor(value):
            raise
        raise ValueError(_ADVICE) from error
