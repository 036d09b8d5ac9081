"""The command line: a thin skin over the package."""

from keras_wsol.cli.command_line import main

__all__ = ["main"]
