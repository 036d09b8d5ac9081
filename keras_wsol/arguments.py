"""Checks of arguments: what was expected, then what came."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np


def check_number(
    name: str, value: Any, low: float = 0.0, high: float | None = 1.0
) -> int | float:
    """Returns `value` if it is a finite number in `[low, high]`, else raises."""
    limits = f"in [{low:g}, {high:g}]" if high is not None else f">= {low:g}"
    expected = f"`{name}` must be a number {limits}."
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{expected} Received: {name}={value!r} (of type {type(value).__name__})."
        )
    if not (math.isfinite(value) and low <= value <= (value if high is None else high)):
        raise ValueError(f"{expected} Received: {name}={value!r}.")
    return plain(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {list(choices)}. Received: {name}={value!r}."
        )


def check_bool(name: str, value: Any) -> None:
    """Raises `TypeError` unless `value` is a boolean."""
    if not isinstance(value, bool):
        raise TypeError(
            f"`{name}` must be a boolean. Received: {name}={value!r} (of type "
            f"{type(value).__name__})."
        )


def check_integer(
    name: str,
    value: Any,
    low: int = 1,
    high: int | None = None,
    expected: str | None = None,
) -> int:
    """Returns `value` if it is an integer in `[low, high]`, else raises."""
    limits = f">= {low}" if high is None else f"in [{low}, {high}]"
    expected = f"`{name}` must be {expected or f'an integer {limits}'}."
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{expected} Received: {name}={value!r} (of type {type(value).__name__})."
        )
    if not low <= value <= (value if high is None else high):
        raise ValueError(f"{expected} Received: {name}={value!r}.")
    return plain(value)


def fill_options(
    name: str, options: Mapping[str, Any] | None, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns `defaults` with those of `options` in their place."""
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(
            f"`{name}` must be a dictionary. Received: {options!r} (of type "
            f"{type(options).__name__})."
        )
    filled = {**defaults, **(options or {})}
    if set(filled) != set(defaults):
        raise ValueError(
            f"`{name}` may hold {sorted(defaults)}. Received: {sorted(options or {})}."
        )
    return filled


def check_activation(name: str, value: Any) -> Callable[[Any], Any]:
    """Returns the activation that `value` names or is."""
    try:
        return keras.activations.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be an activation: a function, or a name of "
            f"`keras.activations`. Received: {name}={value!r}."
        ) from error


def check_block_size(value: Any) -> int | str:
    """Returns `value` if it is an integer of at least 1, or `"adaptive"`."""
    expected = '`block_size` must be an integer >= 1 or "adaptive".'
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        raise TypeError(
            f"{expected} Received: block_size={value!r} (of type "
            f"{type(value).__name__})."
        )
    if value != "adaptive" and (isinstance(value, str) or value < 1):
        raise ValueError(f"{expected} Received: block_size={value!r}.")
    return plain(value)


def plain(value: Any) -> Any:
    """Turns a scalar of NumPy into one of Python."""
    return value.item() if isinstance(value, np.generic) else value
