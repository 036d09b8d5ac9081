"""The command line: a thin skin over the package."""

from keras_wsol.cli.command_line import build_parser, main

__all__ = ["build_parser", "main"]
