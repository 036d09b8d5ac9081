"""Metrics of shards of a data set into one."""

from collections.abc import Iterable

import keras


def merge_variables(
    metric: keras.metrics.Metric, others: Iterable[keras.metrics.Metric]
) -> None:
    """Adds the state of metrics of the same kind to that of one.

    Every variable must be a sum over images, so that the sum of two is that of both
    shards.

    Args:
        metric: The metric that is changed.
        others: Metrics of the same class and arguments. They stay as they are.

    Raises:
        ValueError: A metric is of another class or has other arguments.
    """
    others = list(others)
    for other in others:
        check_same_kind(metric, other)
    for other in others:
        for mine, theirs in zip(metric.variables, other.variables, strict=True):
            mine.assign_add(keras.ops.cast(theirs.value, mine.dtype))


def check_same_kind(metric: keras.metrics.Metric, other: keras.metrics.Metric) -> None:
    """Raises unless the states of two metrics may be added.

    Args:
        metric: A metric.
        other: Another one.

    Raises:
        ValueError: The other is the same object, of another class, or has other
            arguments than `name` and `dtype`.
    """
    if other is metric:
        raise ValueError("A metric cannot be merged into itself.")
    if type(other) is not type(metric):
        raise ValueError(
            f"Metrics to merge must be of one class, here {type(metric).__name__}. "
            f"Received: {type(other).__name__}."
        )
    mine, theirs = metric.get_config(), other.get_config()
    differing = [
        name
        for name in mine
        if name not in ("name", "dtype") and mine[name] != theirs[name]
    ]
    if differing:
        raise ValueError(
            "Metrics to merge must have the same arguments. These differ: "
            f"{', '.join(differing)}."
        )
