"""Checks of arguments.

Each returns the value, or raises with what was expected and what came.
"""

import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np


def check_number(
    name: str,
    value: Any,
    low: float = 0.0,
    high: float | None = 1.0,
    expected: str | None = None,
) -> int | float:
    """Returns `value` if it is a finite number in `[low, high]`, else raises."""
    limits = f"in [{low:g}, {high:g}]" if high is not None else f">= {low:g}"
    return _in_range(name, value, Real, low, high, expected or f"a number {limits}")


def check_integer(
    name: str,
    value: Any,
    low: int = 1,
    high: int | None = None,
    expected: str | None = None,
) -> int:
    """Returns `value` if it is an integer in `[low, high]`, else raises."""
    limits = f">= {low}" if high is None else f"in [{low}, {high}]"
    expected = expected or f"an integer {limits}"
    return _in_range(name, value, Integral, low, high, expected)


def _in_range(
    name: str, value: Any, kind: type, low: float, high: float | None, expected: str
) -> Any:
    expected = f"`{name}` must be {expected}."
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{expected} {_received(name, value, with_type=True)}")
    finite = -math.inf < value < math.inf
    if not (finite and low <= value <= (value if high is None else high)):
        raise ValueError(f"{expected} {_received(name, value)}")
    return plain(value)


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Returns `value` if it is one of `choices`, else raises `ValueError`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {list(choices)}. {_received(name, value)}"
            f"{near_name(value, choices)}"
        )
    return value


def near_name(value: Any, choices: Iterable[Any]) -> str:
    """Asks for the choice that is spelt nearly as `value`, behind a message."""
    near = get_close_matches(str(value), map(str, choices), 1, cutoff=0.7)
    return "".join(f" Did you mean {each!r}?" for each in near)


def shows_progress(verbose: bool | str) -> int:
    """Returns 1 to show progress, else 0; `"auto"` is 1 in a terminal or notebook."""
    if verbose == "auto":
        verbose = sys.stdout.isatty() or "ipykernel" in sys.modules
    return int(bool(verbose))


def with_progress(
    items: Iterable[Any], total: int | None, unit: str, verbose: bool | str
) -> Iterator[Any]:
    """Passes items on, and shows how many are done."""
    bar = keras.utils.Progbar(total, verbose=shows_progress(verbose), unit_name=unit)
    number = 0
    for number, each in enumerate(items, 1):
        yield each
        bar.update(number)
    if number != total:
        bar.update(number, finalize=True)


def check_bool(name: str, value: Any) -> bool:
    """Returns `value` if it is a boolean, else raises `TypeError`."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"`{name}` must be a boolean. {_received(name, value, with_type=True)}"
        )
    return bool(value)


def check_texts(name: str, value: Any) -> dict[str, str]:
    """Returns a mapping of strings as a dictionary, an empty one for None."""
    value = {} if value is None else value
    if not isinstance(value, Mapping) or not all(
        isinstance(each, str) for each in (*value, *value.values())
    ):
        raise TypeError(
            f"`{name}` must be a mapping of strings to strings. "
            f"{_received(name, value)}"
        )
    return dict(value)


def composed(name: str) -> str:
    """Returns a name as names are compared: macOS takes letters apart from accents."""
    return unicodedata.normalize("NFC", name)


def once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Returns pairs as a dictionary, or says which key is there twice."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            both = f"{found[key]!s:.200} and {value!s:.200}"
            raise ValueError(f"{key!r:.200} must be there once. Received: {both}")
        found[key] = value
    return found


def check_layout(layers: Iterable[Any] = ()) -> None:
    """Raises where Keras, or one of the layers, puts channels first."""
    formats = [getattr(each, "data_format", None) for each in layers]
    if "channels_first" in (formats or [keras.config.image_data_format()]):
        raise ValueError(
            "Images and maps must have their channels last. Call "
            '`keras.config.set_image_data_format("channels_last")`, and make the model '
            "after it. Received: data_format='channels_first'."
        )


def plain(value: Any) -> Any:
    """Turns a scalar of NumPy into one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _received(name: str, value: Any, with_type: bool = False) -> str:
    kind = f" (of type {type(value).__name__})" if with_type else ""
    return f"Received: {name}={value!r}{kind}."
