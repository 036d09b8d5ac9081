"""Learning-rate schedules, in epochs."""

from typing import Any

import keras

SCHEDULES = ("cosine", "step", "constant")


def learning_rate(
    schedule: str,
    base: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    drop_epochs: tuple[int, ...] = (30, 60, 90),
) -> Any:
    """Makes a schedule that counts in epochs.

    Args:
        schedule: `"cosine"`: from `base` to 0 over all epochs. `"step"`: a tenth
            at each of `drop_epochs`. `"constant"`.
        base: Float, the first rate.
        epochs: Integer, length of the training.
        steps_per_epoch: Integer, batches in an epoch.
        drop_epochs: Used by `"step"`. Default 30, 60, 90 [ADL's code].

    Returns:
        A float or a schedule of `keras.optimizers.schedules`.

    Raises:
        ValueError: `schedule` is unknown.

    Example:
    >>> rate = learning_rate("step", 0.1, epochs=4, steps_per_epoch=10,
    ...                      drop_epochs=(2,))
    >>> [round(float(rate(step)), 3) for step in (0, 19, 20)]
    [0.1, 0.1, 0.01]
    """
    if schedule not in SCHEDULES:
        raise ValueError(
            f"`schedule` must be one of {list(SCHEDULES)}. Received: {schedule!r}."
        )
    if schedule == "constant":
        return base
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(base, epochs * steps_per_epoch)
    # Keras' boundaries are the last steps of the old rate.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [epoch * steps_per_epoch - 1 for epoch in drop_epochs],
        [base * 0.1**drops for drops in range(len(drop_epochs) + 1)],
    )
