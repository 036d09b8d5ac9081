"""Reads the arguments of `keras-wsol`, runs a command, says errors in one line."""

import argparse
import re
import sys
import warnings
from collections.abc import Sequence

import keras_wsol
from keras_wsol.cli import (
    evaluate_command,
    export_command,
    localize_command,
    train_command,
)

COMMANDS = {
    "train": train_command,
    "evaluate": evaluate_command,
    "localize": localize_command,
    "export": export_command,
}
# What the next call does, for whoever has stopped a command.
INTERRUPTED = {
    "train": "The same command goes on where it was, ten minutes before at most.",
    "evaluate": "The same command begins anew.",
    "localize": "The same command goes on after the last batch.",
    "export": "Nothing was written; the same command begins anew.",
}
# What the library raises where a file or an argument is wrong. The rest are bugs.
EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError)
# What TensorFlow puts around its message, and before it.
_AROUND = re.compile(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:.*$|^\s+.*$|^Hint:.*$")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Strings. Default those of the process.

    Returns:
        The exit status: 0; 2 where a file or an argument is wrong, or memory is out;
        130 if interrupted.

    Raises:
        SystemExit: The arguments cannot be understood (status 2), or ask for help or
            the version (status 0).
    """
    options = build_parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            # It is said with the place of the list.
            warnings.filterwarnings(
                "ignore", message=".*cannot be read and are left out"
            )
            COMMANDS[options.command].run(options)
    except KeyboardInterrupt:
        text = INTERRUPTED[options.command]
        print(f"\nkeras-wsol: interrupted. {text}", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug or not _is_expected(error):
            raise
        print(f"keras-wsol: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    plain = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    text = keras_wsol.__doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="keras-wsol", description=text)
    version = f"keras-wsol {keras_wsol.__version__}"
    parser.add_argument("--version", action="version", version=version)
    debug = {"action": "store_true", "help": "show the traceback of an error"}
    parser.add_argument("--debug", **debug)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        text = command.__doc__
        added = commands.add_parser(
            name, help=text.splitlines()[0], description=text, **plain
        )
        command.add_arguments(added.add_argument)
        # It may stand before the command, too, and must not be reset here.
        added.add_argument("--debug", default=argparse.SUPPRESS, **debug)
    return parser


def _of_tensorflow(error: Exception) -> bool:
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    return errors is not None and isinstance(error, errors.OpError)


def _is_expected(error: Exception) -> bool:
    # Keras raises a plain `Exception` where a download fails.
    download = type(error) is Exception and isinstance(error.__context__, OSError)
    return download or isinstance(error, EXPECTED) or _of_tensorflow(error)


def _message(error: Exception) -> str:
    """What an error says, in one line."""
    text = str(error)
    if _of_tensorflow(error):  # its last sentence is the cause
        said = [_AROUND.sub("", line).strip() for line in error.message.splitlines()]
        text = next(filter(None, reversed(said)), "")
    text = " ".join(text.split()) or type(error).__name__
    if isinstance(error, MemoryError) or "OOM" in text:
        text = f"out of memory ({text}); a smaller --batch-size needs less"
    return text
