"""Calls the command line inside the process of the tests."""

import contextlib
import csv
import io
from types import SimpleNamespace

from keras_wsol import cli


def call(*arguments):
    """Exit status and what was printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = left.code
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
