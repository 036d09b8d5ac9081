"""Errors that need no traceback, and what they say on the command line."""

import argparse
import re
import sys

# What the library raises where a file or an argument is wrong. The rest are bugs.
EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError)

_OUT_OF_MEMORY = "ResourceExhaustedError"  # TensorFlow's name

# What TensorFlow puts around its message.
_AROUND = re.compile(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:.*$")
# What leads from a graph to a line of Python, and its hints.
_ASIDE = ("Graph execution error", "Detected at node", "  ", "<stack", "Hint:")


def is_expected(error: Exception) -> bool:
    """Tells a wrong file or argument, or a machine too small, from a bug."""
    # Keras raises a plain `Exception` where a download fails.
    download = type(error) is Exception and isinstance(error.__context__, OSError)
    return download or isinstance(error, EXPECTED) or _of_tensorflow(error)


def message_of(error: Exception, options: argparse.Namespace) -> str:
    r"""Returns what an error says, in one line and in the words of the command line."""

    def option(match: re.Match[str]) -> str:
        name = match[1]
        return f"--{name.replace('_', '-')}" if name in vars(options) else match[0]

    text = _gist(error.message) if _of_tensorflow(error) else str(error)
    text = " ".join(text.split()) or type(error).__name__
    if isinstance(error, MemoryError) or type(error).__name__ == _OUT_OF_MEMORY:
        text = f"out of memory ({text})"
        if "batch_size" in vars(options):
            text += "; a smaller --batch-size needs less"
    return re.sub(r"`(\w+)(?:=True)?`", option, text)


def _of_tensorflow(error: Exception) -> bool:
    # Loaded already, if it is from there.
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    return errors is not None and isinstance(error, errors.OpError)


def _gist(message: str) -> str:
    """The sentence in what TensorFlow says of a failed operation."""
    lines = [
        _AROUND.sub("", line).strip()
        for line in message.splitlines()
        if not line.startswith(_ASIDE)
    ]
    said = [line for line in lines if line]
    return said[-1] if said else ""
