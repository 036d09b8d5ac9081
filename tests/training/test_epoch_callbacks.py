"""The log, the best model and the shares, in one run and after interruptions."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.models import drop_shares
from keras_wsol.training import EpochLog, LogDropShares
from keras_wsol.training.checkpoint import Progress
from keras_wsol.training.epoch_callbacks import WholeCheckpoint
from tests.training.small_run import IMAGES, fit, make_model

BEST = {"mode": "max", "save_best_only": True}
SHOWN = IMAGES.images[:2].astype("float32")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One training with all callbacks."""
    folder = tmp_path_factory.mktemp("run")
    model = make_model()
    history = fit(
        model,
        2,
        LogDropShares(SHOWN),
        WholeCheckpoint(folder / "best.keras", "val_accuracy", **BEST),
        EpochLog(folder / "log.csv"),
        validation_data=IMAGES.batches(4, image_size=(14, 21)),
    ).history
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {"model": model, "history": history, "rows": rows, "folder": folder}


def test_a_row_an_epoch(run):
    assert [row["epoch"] for row in run["rows"]] == ["0", "1"]
    for name, values in run["history"].items():
        assert [float(row[name]) for row in run["rows"]] == values, name


def test_logs_hold_the_share_after_each_epoch(run):
    shares = run["history"]["adl/cells_dropped"]
    assert 0 < shares[1] == drop_shares(run["model"], SHOWN)["adl"]["cells"]


def test_training_is_what_it_is_without_the_shares(run):
    losses = fit(make_model(), 2).history["loss"]
    assert losses == run["history"]["loss"]


def test_the_best_model_is_kept(run):
    kept = keras.saving.load_model(run["folder"] / "best.keras")
    best = int(np.argmax(run["history"]["val_accuracy"]))
    assert int(kept.optimizer.iterations) == 4 * (best + 1)


def test_a_model_without_such_layers_is_refused():
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    callback = LogDropShares(SHOWN)
    callback.set_model(keras.Model(inputs, keras.layers.Dense(2)(x), name="plain"))
    with pytest.raises(ValueError, match="`plain` has no layer that says what it drop"):
        callback.on_train_begin()


def test_shares_behind_the_log_are_refused(tmp_path):
    with pytest.raises(ValueError, match="LogDropShares must come before EpochLog"):
        fit(make_model(), 1, EpochLog(tmp_path / "log.csv"), LogDropShares(SHOWN))


HEADER = "epoch,accuracy,loss,val_accuracy,val_loss\r\n"


@pytest.mark.parametrize(
    ("before", "epochs_done", "kept"),
    [
        (f"{HEADER}0,0.5,1.5,NA,NA\r\n1,0.6,1.", 1, "0,0.5,1.5,NA,NA\r\n"),
        (f"{HEADER}0,0.5,1.5,NA,NA\r\n1,0.6,1.2,NA,NA\r\n", 1, "0,0.5,1.5,NA,NA\r\n"),
        (f"{HEADER}0,0.5,1.5,NA,NA\r\n", 0, ""),
        ("epoch,accu", 0, ""),
        ("", 0, ""),
    ],
)
def test_rows_that_are_to_come_leave_the_log(tmp_path, before, epochs_done, kept):
    path = tmp_path / "log.csv"
    path.write_text(before, newline="")
    log = EpochLog(path, epochs_done)
    log.on_train_begin()
    log.on_epoch_end(epochs_done, {"accuracy": 0.75, "loss": 1.0})
    log.on_train_end()
    with path.open(newline="") as file:
        assert file.read() == f"{HEADER}{kept}{epochs_done},0.75,1.0,NA,NA\r\n"


HEADER_OF_KERAS = "accuracy,epoch,loss,val_accuracy,val_loss\r\n"


@pytest.mark.parametrize(
    ("log", "done", "best"),
    [
        ("", Progress(0, 3), None),
        ("", Progress(1), None),
        ("0.5,0,1.5,0.25,1.6\r\n0.6,1,1.2,0.", Progress(1, 2), 0.25),
        ("0.5,0,1.5,0.25,1.6\r\n0.6,1,1.2,0.75,1\r\n", Progress(1), 0.25),
        ("0,0,1,0.25,1\r\n0,1,1,0.75,1\r\n0,2,1,0.5,1\r\n", Progress(3), 0.75),
        ("0,0,1,NA,NA\r\n0,1,1,nan,1\r\n0,2,1,,1\r\n", Progress(3), None),
    ],
)
def test_the_accuracy_to_beat_is_that_of_whole_epochs(tmp_path, log, done, best):
    # What a run leaves that is killed in its first epoch, or as it writes a row.
    text = f"{HEADER_OF_KERAS}{log}" if log else ""
    (tmp_path / "log.csv").write_text(text, newline="")
    assert EpochLog(tmp_path / "log.csv", done).best("val_accuracy") == best


def test_a_log_without_validation_has_no_accuracy_to_beat(tmp_path):
    (tmp_path / "log.csv").write_text(
        "accuracy,epoch,loss\r\n0.5,0,1.5\r\n", newline=""
    )
    assert EpochLog(tmp_path / "log.csv", 1).best("val_accuracy") is None


def test_without_a_log_there_is_no_accuracy_to_beat(tmp_path):
    assert EpochLog(tmp_path / "log.csv", 1).best("val_accuracy") is None


def test_the_kept_file_is_whole_at_any_time(tmp_path, monkeypatch):
    path = tmp_path / "best.keras"
    path.write_bytes(b"the last one")
    model = make_model()
    best = WholeCheckpoint(path, "val_accuracy", **BEST)
    best.set_model(model)
    seen = []

    def interrupted(self, target, **options):
        Path(target).write_bytes(b"half")
        seen.append(path.read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            best.on_epoch_end(0, {"val_accuracy": 0.5})
    assert seen == [path.read_bytes()] == [b"the last one"]
    best.on_epoch_end(1, {"val_accuracy": 0.25})  # no better: nothing is saved
    assert path.read_bytes() == b"the last one"
    best.on_epoch_end(2, {"val_accuracy": 0.75})
    keras.saving.load_model(path)
    assert [each.name for each in tmp_path.iterdir()] == ["best.keras"]


def test_an_epoch_without_the_figure_is_not_kept(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(keras.Model, "save", lambda self, path, **_: saved.append(path))
    best = WholeCheckpoint(tmp_path / "best.keras", "val_top1_loc", **BEST)
    best.set_model(keras.Model())
    best.on_epoch_end(0, {"val_top1_loc": 0.5})
    for epoch, logs in enumerate([{"loss": 1.0}, {}, None], start=1):
        best.on_epoch_end(epoch, logs)
    assert (len(saved), best.best) == (1, 0.5)
    best.on_epoch_end(4, {"val_top1_loc": 0.75})
    assert len(saved) == 2
