"""The part of a long job that is done already, on disk."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_wsol.export.label_formats import PseudoLabel
from keras_wsol.export.labeller import LabelledImage


class LabelParts:
    """Labels in numbered files, each written whole or not at all."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        described = folder / "job.json"
        if described.is_file():
            begun = json.loads(described.read_text("utf-8"))
            differs = sorted(k for k in {*job, *begun} if job.get(k) != begun.get(k))
            if differs:
                raise ValueError(
                    f"{folder} holds the parts of an interrupted job with another "
                    f"{' and another '.join(differs)}. Repeat that job to finish it, "
                    "or delete the folder."
                )
            return
        folder.mkdir(parents=True, exist_ok=True)
        _write(described, dict(job))

    def __len__(self) -> int:
        number = 0
        while self._file(number).is_file():
            number += 1
        return number

    def append(self, images: Sequence[LabelledImage]) -> None:
        """Writes the next part."""
        part = {
            "labels": [asdict(label) for image in images for label in image.labels],
            "left_out": [(i.name, i.left_out) for i in images if i.left_out],
        }
        _write(self._file(len(self)), part)

    def __iter__(self) -> Iterator[PseudoLabel]:
        for part in self._read():
            for label in part["labels"]:
                yield PseudoLabel(**{**label, "box": tuple(label["box"])})

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Gives path and reason of each image without a label."""
        for part in self._read():
            yield from map(tuple, part["left_out"])

    def delete(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder)

    def _read(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            yield json.loads(self._file(number).read_text("utf-8"))

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, allow_nan=False), "utf-8")
    temporary.replace(path)
