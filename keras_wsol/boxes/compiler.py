"""Machine code for the loops that visit every cell of a map."""

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function by Numba, which takes seconds when it is first called.

    The machine code is kept on disk where there is a folder for it, and runs without
    the interpreter's lock, so that threads share the work. Files whose functions are
    decorated load Numba, so they are themselves loaded late, by the functions that
    need them.

    Args:
        function: Function of numbers and NumPy arrays. It may call others of the same
            file that are compiled, but not of another file: Numba does not see that
            another file has changed.

    Returns:
        The compiled function; what was given is its attribute `py_func`.

    Example:
    >>> compiled(lambda a, b: a + b)(2, 3)
    5
    """
    import numba

    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is no folder in which to keep the machine code
        return numba.njit(nogil=True)(function)
