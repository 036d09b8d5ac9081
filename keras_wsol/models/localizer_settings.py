"""The settings of a localizer: which can change, and what each may be."""

from collections.abc import Callable
from typing import Any

from keras_wsol.layers.arguments import check_integer, check_number


def _check_cam_threshold(localizer: Any, value: Any) -> int | float:
    """Returns the threshold as a number of Python, if it is one in [0, 1)."""
    value = check_number("cam_threshold", value)
    if value == 1:  # above the maximum there is no cell
        raise ValueError(
            "`cam_threshold` must be a number in [0, 1). Received: cam_threshold=1."
        )
    return value


def _check_top_k(localizer: Any, value: Any) -> int:
    """Returns how many classes to localize, if the localizer has as many."""
    most = localizer.head.num_classes
    expected = f"an integer of at least 1 and at most {most}, the number of classes"
    return check_integer("top_k", value, high=most, expected=expected)


def _check_max_boxes(localizer: Any, value: Any) -> int:
    """Returns how many boxes to give of each map, if it is at least one."""
    return check_integer("max_boxes", value, expected="an integer of at least 1")


# Each takes the localizer and a value, and returns the value to keep or raises.
_CHECKS: dict[str, Callable[[Any, Any], Any]] = {
    "cam_threshold": _check_cam_threshold,
    "top_k": _check_top_k,
    "max_boxes": _check_max_boxes,
}


def changeable(name: str) -> property:
    """Returns a setting that can be set again, and is then used from the next call on.

    Args:
        name: Name of the setting, one of those that have a check.

    Returns:
        A property that keeps its value under the name with an underscore.
    """
    check = _CHECKS[name]

    def change(localizer: Any, value: Any) -> None:
        setattr(localizer, f"_{name}", check(localizer, value))
        # What `predict` and `evaluate` have compiled holds the value before. Keras
        # makes both anew, on each backend from functions that are new themselves.
        localizer.predict_function = localizer.test_function = None

    return property(_reader(name), change)


def fixed(name: str) -> property:
    """Returns a setting that is given once, as much else is made of it.

    Args:
        name: Name of the setting.

    Returns:
        A property that finds its value under the name with an underscore.
    """

    def refuse(localizer: Any, value: Any) -> None:
        raise AttributeError(
            f"`{name}` of a localizer cannot be changed: make another one, "
            f"`Localizer(model, {name}=...)`. Received: {name}={value!r}."
        )

    return property(_reader(name), refuse)


def _reader(name: str) -> Callable[[Any], Any]:
    def read(localizer: Any) -> Any:
        value = getattr(localizer, f"_{name}")
        # A copy: what is written into it would be neither checked nor used.
        return dict(value) if isinstance(value, dict) else value

    return read
