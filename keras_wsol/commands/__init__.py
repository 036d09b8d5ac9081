"""What the command line can do: a file a command, none of which loads Keras early."""

from keras_wsol.commands import evaluate, export, localize, quickstart, train

COMMANDS = {
    "quickstart": quickstart.COMMAND,
    "train": train.COMMAND,
    "evaluate": evaluate.COMMAND,
    "localize": localize.COMMAND,
    "export": export.COMMAND,
}

__all__ = ["COMMANDS"]
