"""The command line: a thin skin over the package."""

import argparse
import os
import sys
from collections.abc import Sequence

import keras_wsol
from keras_wsol.commands import COMMANDS
from keras_wsol.commands.command import Command
from keras_wsol.commands.expected_errors import is_expected, message_of

DESCRIPTION = """\
Weakly supervised localization: image labels in, boxes out.

  quickstart                     sees it work on drawn images, in minutes
  train, evaluate                learn from images sorted by class, then measure
  localize, export               boxes of many images, or a model for other programs"""
EPILOG = """\
example:
  keras-wsol train --data birds --out runs/birds
  keras-wsol localize --model runs/birds/localizer.keras --images photos --out boxes.csv

Each command has a --help of its own. Errors come without a traceback, unless --debug is
given or KERAS_WSOL_DEBUG is set."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What to read instead of `sys.argv`.

    Returns:
        The exit status: 0; 2 where a file or an argument is wrong, or memory is out;
        130 if interrupted.

    Raises:
        SystemExit: The arguments cannot be understood (status 2), or ask for help or
            the version (status 0).
    """
    options = build_parser().parse_args(arguments)
    command = COMMANDS[options.command]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        command.run(options)
    except KeyboardInterrupt:
        print(f"\nkeras-wsol: interrupted. {command.interrupted}", file=sys.stderr)
        return 130
    except Exception as error:
        debug = options.debug or os.environ.get("KERAS_WSOL_DEBUG")
        if debug or not is_expected(error):
            raise
        print(f"keras-wsol: error: {message_of(error, options)}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; it needs no Keras."""
    parser = argparse.ArgumentParser(
        prog="keras-wsol",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"keras-wsol {keras_wsol.__version__}"
    )
    _add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        _add_command(commands, name, command)
    return parser


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
) -> None:
    parser = commands.add_parser(
        name,
        help=command.summary,
        usage=f"keras-wsol {name} {command.usage} [options]".replace("  ", " "),
        description=command.description,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    # It may stand before the command, too, and must not be reset here.
    _add_debug(parser, default=argparse.SUPPRESS)


def _add_debug(parser: argparse.ArgumentParser, default: bool | str) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="show the traceback of an error",
    )
