"""Lets mkdocstrings read docstrings as Keras writes them.

There the lines after `Example:` are not indented, and Markdown would take a prompt for
three quotation marks; or they are indented, and Markdown would join them to a sentence.
Attributes may share a line, of which all but the first would be taken for a type.
"""

import re
import textwrap
from typing import Any

import griffe

# Up to the next section, or the end.
_EXAMPLE = re.compile(r"^Example:\n(.+?)(?=\n\n[A-Z][\w ]*:\n|\Z)", re.M | re.S)
_NAMES = re.compile(r"^    [a-z]\w*(?:, [a-z]\w*)+: ", re.M)


class KerasDocstrings(griffe.Extension):
    """Fences examples, joins names; of equal names takes the function, not its file."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Changes what a name means, to what it means after the import."""
        for room in (pkg, *pkg.modules.values()):
            for name in set(room.exports or ()) & room.modules.keys():
                file = room.modules[name]
                if name in file.members:
                    room.members[name] = griffe.Alias(name, file[name], parent=room)

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Changes the docstring of a function, class or module."""
        if obj.docstring:
            text = _EXAMPLE.sub(_fenced, obj.docstring.value)
            obj.docstring.value = _NAMES.sub(_joined, text)


def _fenced(example: re.Match) -> str:
    """The same example as a block of code."""
    language = "pycon" if ">>> " in example[1] else "python"
    return f"Example:\n\n```{language}\n{textwrap.dedent(example[1])}\n```"


def _joined(names: re.Match) -> str:
    """Names with spaces between them at which nothing is split."""
    return names[0].replace(", ", ",\N{NO-BREAK SPACE}")
