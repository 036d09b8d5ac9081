"""Reads the arguments of `keras-wsol`, runs a command, says errors in one line."""

import argparse
import inspect
import logging
import re
import sys
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import keras_wsol
from keras_wsol.cli import labels_command, train_command, trained_model
from keras_wsol.cli.shared_arguments import adder, say

# Name to a function, whose docstring is the help, and what adds its arguments.
COMMANDS = {
    "train": (train_command.train, train_command.train_arguments),
    "boxes": (labels_command.boxes, labels_command.boxes_arguments),
    "evaluate": (trained_model.evaluate, trained_model.evaluate_arguments),
    "localize": (labels_command.localize, labels_command.localize_arguments),
    "compare": (trained_model.compare, trained_model.compare_arguments),
    "export": (trained_model.export, trained_model.export_arguments),
}
INTERRUPTED = """
keras-wsol: interrupted. The same command again goes on where it was (train, localize),
or begins anew (all others)."""
# What the library raises where a file or an argument is wrong. The rest are bugs.
EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError)
# An argument of the library, or one with its value; and those whose option has
# another name.
_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`|\b(\w+)=('[^']*'|[-+.\w]*\w)(?!\w)")
_RENAMED = {"path": "out", "root": "data", "test": "boxes"}
# What TensorFlow puts around its message, and before it.
_AROUND = re.compile(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:.*$|^\s+.*$|^Hint:.*$")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line with `arguments`, or those of the process.

    Returns:
        The exit status: 0; 2 where a file or an argument is wrong, or memory is out;
        130 if interrupted.
    """
    _show_every_letter()
    options = build_parser().parse_args(arguments)
    run, _ = COMMANDS[options.command]
    if not options.debug:
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # It is said with the place of the list.
            warnings.filterwarnings("ignore", ".*cannot be read and are left out")
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            if not options.debug:
                warnings.showwarning = _show_warning
            run(options)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug or not _is_expected(error):
            raise
        text = _in_options(_message(error), options.names)
        print(f"keras-wsol: error: {text}", file=sys.stderr)
        return 2
    return 0


def _show_every_letter() -> None:
    """Escapes what the code page of a terminal lacks, such as a letter of a name."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    text = keras_wsol.__doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="keras-wsol", description=text)
    version = f"keras-wsol {keras_wsol.__version__}"
    parser.add_argument("--version", action="version", version=version)
    debug = {"action": "store_true", "help": "show the traceback of an error"}
    parser.add_argument("--debug", **debug)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, add_arguments) in COMMANDS.items():
        text = inspect.getdoc(run)
        of_command = commands.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(adder(of_command))
        # It may stand before the command, too, and must not be reset here.
        of_command.add_argument("--debug", default=argparse.SUPPRESS, **debug)
    return parser


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    """Shows a warning to users, without the place in the code."""
    say(f"keras-wsol: warning: {' '.join(str(message).split())}")


def _of_tensorflow(error: Exception) -> bool:
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    return errors is not None and isinstance(error, errors.OpError)


def _is_expected(error: Exception) -> bool:
    # Keras raises a plain `Exception` where a download fails.
    download = type(error) is Exception and isinstance(error.__context__, OSError)
    return download or isinstance(error, EXPECTED) or _of_tensorflow(error)


def _in_options(text: str, names: Collection[str]) -> str:
    """Speaks of the options of a command in place of the library's arguments."""

    def said(found: re.Match) -> str:
        name, value = found[1] or found[3], found[2] or found[4] or ""
        option = _RENAMED.get(name, name)
        if option not in names:
            return found[0]
        value = "" if value == "True" else value.strip("'\"")
        return f"--{option.replace('_', '-')} {value}".rstrip()

    return _ARGUMENT.sub(said, re.sub(r"\b\w+Path\(('[^']*')\)", r"\1", text))


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
