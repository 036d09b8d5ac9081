"""What the command line has to know of a command."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: what its help says, and what it does.

    Attributes:
        summary: A few words, for the list of commands.
        usage: The arguments that it needs.
        description: What it does; the beginning of its help.
        example: A call that works; the end of its help.
        interrupted: A sentence for whoever has stopped it: what the next call does.
        add_arguments: Adds its arguments to a parser.
        run: Does it, given the arguments. Keras is loaded inside, after all that can
            be checked without it.
    """

    summary: str
    usage: str
    description: str
    example: str
    interrupted: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def say(message: str) -> None:
    """Tells how far a command is, without mixing that with its results."""
    print(message, file=sys.stderr, flush=True)
