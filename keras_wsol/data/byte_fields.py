"""Numbers at known places of a file's bytes, in a graph."""

from collections.abc import Callable
from typing import Any


def apart(function: Callable[[], Any]) -> Any:
    """Calls a function whose graph is prepared only if it comes to be run.

    Each pass over a `tf.data.Dataset` prepares the graphs of its functions anew, which
    for the branches of formats that a data set does not have takes longer than to read
    a hundred images.

    Args:
        function: Function of no arguments that gives tensors.

    Returns:
        What it gives.
    """
    import tensorflow as tf

    if tf.executing_eagerly():
        return function()
    options = {"autograph": False, "experimental_attributes": {"_noinline": True}}
    return tf.function(function, **options)()


def length(encoded: Any) -> Any:
    """Number of bytes, an int64 scalar.

    Args:
        encoded: Scalar string tensor.

    Returns:
        int64 scalar.
    """
    import tensorflow as tf

    return tf.cast(tf.strings.length(encoded), tf.int64)


def fields(
    encoded: Any, offset: Any, count: int, kind: str = "uint8", *, big: bool = False
) -> Any:
    """Reads numbers; what lies behind the end of the file is zero.

    Args:
        encoded: Scalar string tensor.
        offset: Integer or int64 scalar tensor of at least 0.
        count: How many numbers.
        kind: Their type: `"uint8"`, `"uint16"`, `"int32"` or `"uint32"`.
        big: Whether the most significant byte comes first.

    Returns:
        int64 `(count,)`.

    Example:
    >>> fields(b"..AB", 2, 2, "uint16", big=True).numpy().tolist() == [0x4142, 0]
    True
    """
    import tensorflow as tf

    # The kernel that pads knows no uint32.
    dtype = tf.as_dtype("int32" if kind == "uint32" else kind)
    size = count * dtype.size
    offset = tf.minimum(tf.cast(offset, tf.int64), length(encoded))
    piece = tf.strings.substr(encoded, offset, tf.constant(size, tf.int64))
    numbers = tf.io.decode_raw(piece, dtype, not big, fixed_length=size)
    numbers = tf.cast(numbers, tf.int64)
    return numbers & 0xFFFFFFFF if kind == "uint32" else numbers
