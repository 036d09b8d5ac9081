"""Calls the command line inside the process of the tests."""

import contextlib
import csv
import io
import re
import shlex
from pathlib import Path
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


def readme(command):
    """The arguments of the call of a command in the README."""
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    code = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    calls = re.findall(r"^keras-wsol (.*)$", code.replace("\\\n", " "), re.MULTILINE)
    [words] = [words for words in map(shlex.split, calls) if words[0] == command]
    return words


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
