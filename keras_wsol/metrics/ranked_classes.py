"""The best classes of a prediction."""

from numbers import Integral
from typing import Any

from keras import ops


def check_top_k(top_k: Any) -> int:
    """Returns `top_k` if it is a positive integer.

    Args:
        top_k: The argument of a metric.

    Returns:
        The same, as an `int`.

    Raises:
        ValueError: It is no integer of at least 1.
    """
    if isinstance(top_k, bool) or not isinstance(top_k, Integral) or top_k < 1:
        raise ValueError(
            f"`top_k` must be an integer of at least 1. Received: top_k={top_k!r}."
        )
    return int(top_k)


def check_ranked(y_pred: dict[str, Any], top_k: int) -> None:
    """Raises unless a prediction has at least `top_k` classes an image.

    Args:
        y_pred: A dictionary with `"class_ids"` `(B, K)`, best first.
        top_k: How many classes are looked at.

    Raises:
        ValueError: There are fewer; the message says how to get more.
    """
    count = y_pred["class_ids"].shape[1]
    if count is not None and count < top_k:
        raise ValueError(
            f"`y_pred` must hold {top_k} classes an image, best first: use "
            f"`Localizer(model, top_k={top_k})`, or another `top_k` here. "
            f"Received: {count}."
        )


def is_true_class(y_true: dict[str, Any], y_pred: dict[str, Any], top_k: Any) -> Any:
    """Says which of the best classes is the true one.

    Args:
        y_true: A dictionary with `"class_ids"` `(B,)`.
        y_pred: A dictionary with `"class_ids"` `(B, K)`, best first.
        top_k: How many classes are looked at; `None` for all.

    Returns:
        Boolean `(B, min(K, top_k))`.

    Example:
    >>> truth, found = {"class_ids": [4]}, {"class_ids": [[2, 4, 7]]}
    >>> ops.convert_to_numpy(is_true_class(truth, found, top_k=2)).tolist()
    [[False, True]]
    """
    class_ids = ops.cast(y_pred["class_ids"], "int32")[:, :top_k]
    return class_ids == ops.cast(y_true["class_ids"], "int32")[:, None]
