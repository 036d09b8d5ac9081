"""A folder that belongs to one training run."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from reprlib import repr  # a thousand class names are cut
from typing import Any

from keras_wsol.commands.command import say

CHECKPOINT = "checkpoint.npz"
CONFIGURATION = "config.json"
BEST = "best.keras"
UNREADABLE = "unreadable.txt"


def claim(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Notes the configuration of a run, or refuses a folder that holds another run."""
    path = folder / CONFIGURATION
    given = json.loads(json.dumps(dict(configuration)))
    if (folder / CHECKPOINT).is_file():
        begun = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        differs = [
            f"{key} was {repr(begun.get(key))}, not {repr(given.get(key))}"
            for key in sorted({*given, *begun})
            if given.get(key) != begun.get(key)
        ]
        if differs:
            raise ValueError(
                f"{folder} holds a run with other options: {'; '.join(differs)}. "
                "Choose another --out, or delete that folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(given, indent=2, sort_keys=True) + "\n", "utf-8")


def list_unreadable(folder: Path, paths: Collection[str]) -> None:
    """Writes the paths of files that could not be read, if there are any."""
    if paths:
        listed = folder / UNREADABLE
        # As the disk has them: a name need not be UTF-8.
        listed.write_bytes(b"".join(os.fsencode(f"{path}\n") for path in sorted(paths)))
        say(f"Left out {len(paths)} files that cannot be read; see {listed}.")
