"""The best model of a training so far, in a file."""

import json
import uuid
from pathlib import Path
from typing import Any

import keras

from keras_wsol.arguments import check_choice
from keras_wsol.evaluation.written import write_text

MEASURES = ("gt_known_loc", "top1_loc", "max_box_acc_v2", "top1_cls")


class BestModel:
    """Saves a model whenever it is better than the one saved.

    Beside `best.keras` lies `best.json` with the epoch, counted from 0 as in Keras'
    logs, the measure and its figures. Both are written under other names and renamed
    one after the other, so an interruption leaves whole files.

    Args:
        path: Path of the model, `.keras`. Its folder is made.
        measure: One of `MEASURES`; higher is better.

    Attributes:
        value: The measure of the model saved; minus infinity before the first.
        epoch: Its epoch, `None` before the first.

    Raises:
        ValueError: The path does not end in `.keras`, or the measure is unknown.
    """

    def __init__(self, path: str | Path, measure: str) -> None:
        self.path = Path(path)
        if self.path.suffix != ".keras":
            raise ValueError(
                f"`save_best` must end in .keras. Received: save_best={str(path)!r}."
            )
        check_choice("measure", measure, MEASURES)
        self.measure = measure
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._figures = self.path.with_suffix(".json")
        self.forget()

    def forget(self) -> None:
        """Begins anew: the next model is saved, whatever lies there."""
        self.value, self.epoch = float("-inf"), None

    def recall(self) -> None:
        """Goes on from the model that lies there, where training was interrupted."""
        self.forget()
        if not (self.path.is_file() and self._figures.is_file()):
            return
        try:
            saved = json.loads(self._figures.read_text("utf-8"))
            if saved["measure"] == self.measure:
                value, epoch = float(saved[f"val_{self.measure}"]), int(saved["epoch"])
                self.value, self.epoch = value, epoch
        except (ValueError, KeyError, TypeError):  # no JSON, or not what `offer` wrote
            self.forget()

    def offer(self, model: keras.Model, epoch: int, figures: dict[str, Any]) -> bool:
        """Saves the model if it is better than the one saved."""
        value = figures[f"val_{self.measure}"]
        if not value > self.value:
            return False
        # Keras wants the suffix; a name of its own keeps two trainings apart.
        temporary = self.path.with_name(f".{uuid.uuid4().hex}.keras")
        saved = {"epoch": epoch, "measure": self.measure, **figures}
        try:
            model.save(temporary)
            write_text(
                json.dumps(saved, indent=2) + "\n", temporary.with_suffix(".json")
            )
            temporary.with_suffix(".json").replace(self._figures)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
            temporary.with_suffix(".json").unlink(missing_ok=True)
        self.value, self.epoch = value, epoch
        return True
