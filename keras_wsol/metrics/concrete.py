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
    try:
        return [np.asarray(keras.ops.convert_to_numpy(value)) for value in values]
    except (NotImplementedError, TypeError, AttributeError) as error:
        raise ValueError(_ADVICE) from error
