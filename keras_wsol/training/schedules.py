"""Learning-rate schedules, in epochs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from keras_wsol.layers.arguments import check_choice, check_integer, check_number

SCHEDULES = ("cosine", "step", "constant")


def learning_rate(
    schedule: str,
    base: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    drop_epochs: Sequence[int] = (30, 60, 90),
) -> Any:
    """Makes a schedule that counts in epochs.

    Args:
        schedule: `"cosine"`: from `base` to 0 over all epochs. `"step"`: a tenth
            at each of `drop_epochs`. `"constant"`.
        base: Float, the first rate.
        epochs: Integer, length of the training.
        steps_per_epoch: Integer, batches in an epoch.
        drop_epochs: Integers that rise, used by `"step"`: after how many epochs
            the rate drops. Those past the end never come. Default 30, 60, 90; ADL's
            code has a fourth at 100.

    Returns:
        A float or a schedule of `keras.optimizers.schedules`.

    Raises:
        TypeError: A number has another type than it must have; a boolean is none.
        ValueError: `schedule` is unknown, a number is out of range, or `drop_epochs`
            do not rise.

    Example:
    >>> rate = learning_rate("step", 0.1, epochs=4, steps_per_epoch=10,
    ...                      drop_epochs=(2,))
    >>> [round(float(rate(step)), 3) for step in (0, 19, 20)]
    [0.1, 0.1, 0.01]
    """
    check_choice("schedule", schedule, SCHEDULES)
    base = check_number("base", base, high=None)
    epochs = check_integer("epochs", epochs)
    steps_per_epoch = check_integer("steps_per_epoch", steps_per_epoch)
    drop_epochs = _checked_drops(drop_epochs)
    if schedule == "constant":
        return base
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(base, epochs * steps_per_epoch)
    # Keras' boundaries are the last steps of the old rate.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [epoch * steps_per_epoch - 1 for epoch in drop_epochs],
        [base * 0.1**drops for drops in range(len(drop_epochs) + 1)],
    )


def _checked_drops(given: Sequence[int]) -> list[int]:
    drops = [check_integer("drop_epochs", epoch) for epoch in given]
    if any(one >= other for one, other in pairwise(drops)):
        raise ValueError(
            "`drop_epochs` must rise. Received: "
            f"drop_epochs={tuple(given)}. In order: {tuple(sorted(set(drops)))}."
        )
    return drops
