"""Saving within an epoch: when, what of it comes back, and what is refused."""

import keras
import numpy as np
import pytest

from keras_wsol.training import Checkpoint, EpochLog, Progress
from tests.training.test_checkpoint import (
    IMAGES,
    assert_same_state,
    make_model,
    state,
)

STEPS = 4  # in an epoch; a pass has two, so that an epoch is not a pass


class LastEpoch(keras.callbacks.Callback):
    """Wants the end of training after any epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


class Stop(keras.callbacks.Callback):
    """Interrupts training once some steps of an epoch are done."""

    def __init__(self, epoch, steps):
        super().__init__()
        self.at = (epoch, steps)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch + 1) == self.at:
            raise KeyboardInterrupt


def fit(model, epochs, *callbacks, done=None, **options):
    done = done or Progress()
    batches = IMAGES.batches(
        4,
        training=True,
        seed=2,
        image_size=(14, 21),
        start_step=done.start_step(STEPS),
    ).repeat()
    return model.fit(
        batches,
        **{
            "steps_per_epoch": STEPS,
            "epochs": epochs,
            "initial_epoch": done,
            "callbacks": list(callbacks),
            "verbose": 0,
            "shuffle": False,
            **options,
        },
    )


def interrupted(path, epoch, steps, **options):
    checkpoint = Checkpoint(path, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 3, checkpoint, Stop(epoch, steps))
    return checkpoint


@pytest.fixture(scope="module")
def whole():
    model = make_model()
    history = fit(model, 3)
    return state(model), history.history


@pytest.mark.parametrize(("epoch", "steps"), [(0, 2), (1, 3)])
def test_resumed_within_an_epoch_is_uninterrupted(tmp_path, whole, epoch, steps):
    path = tmp_path / "a.npz"
    interrupted(path, epoch, steps, every_steps=1)
    model = make_model(seed=77)
    checkpoint = Checkpoint(path)
    done = checkpoint.restore(model)
    assert (done.epochs, done.steps) == (epoch, steps)
    history = fit(model, 3, checkpoint, done=done)
    assert_same_state(state(model), whole[0])
    # The metrics of the epoch are those of all its steps.
    for name, per_epoch in whole[1].items():
        assert history.history[name] == per_epoch[epoch:], name
    assert checkpoint.kept == 3


def test_saves_after_every_so_many_steps_and_after_epochs(tmp_path, monkeypatch):
    found = []
    checkpoint = Checkpoint(tmp_path / "a.npz", every_steps=3)
    save = checkpoint._save

    def note(epochs, steps, *more, **options):
        found.append((epochs, steps))
        save(epochs, steps, *more, **options)

    monkeypatch.setattr(checkpoint, "_save", note)
    fit(make_model(), 2, checkpoint, steps_per_epoch=7)
    expected = [(0, 0), (0, 3), (0, 6), (1, 0), (1, 3), (1, 6), (2, 0)]
    assert found == expected


def test_saves_by_the_clock(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    checkpoint = Checkpoint(tmp_path / "a.npz", every_seconds=10)

    class Tick(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock[0] += 6.0

        def on_train_batch_end(self, batch, logs=None):
            found.append(checkpoint.kept.steps)

    found = []
    fit(make_model(), 1, checkpoint, Tick(), steps_per_epoch=6)
    assert found == [0, 2, 2, 4, 4, 4]  # the last is left to the end of the epoch
    assert checkpoint.kept == 1


@pytest.mark.slow
def test_several_steps_at_once(tmp_path, whole):
    def model():
        made = make_model()
        made.steps_per_execution = 2
        return made

    path = tmp_path / "a.npz"
    checkpoint = Checkpoint(path, every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), 3, checkpoint, Stop(1, 2))
    resumed = model()
    done = checkpoint.restore(resumed)
    assert (done.epochs, done.steps) == (1, 2)
    fit(resumed, 3, checkpoint, done=done)
    assert_same_state(state(resumed), whole[0])
    other = model()
    other.steps_per_execution = 3
    with pytest.raises(ValueError, match=r"must divide the 4 steps .*execution=3"):
        fit(other, 1, Checkpoint(tmp_path / "b.npz", every_steps=1))


def test_another_callback_ends_training_at_the_same_moment(tmp_path):
    path = tmp_path / "a.npz"
    for first in (True, False):
        path.unlink(missing_ok=True)
        interrupted(path, 0, 2, every_steps=1)
        model = make_model()
        checkpoint = Checkpoint(path)
        done = checkpoint.restore(model)
        last = LastEpoch()
        callbacks = [last, checkpoint] if first else [checkpoint, last]
        fit(model, 3, *callbacks, done=done)
        assert checkpoint.kept == 1, "training went on"
        assert int(model.optimizer.iterations) == STEPS


def test_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    interrupted(path, 1, 2, every_steps=1)
    checkpoint = Checkpoint(path)

    def done(metrics=("accuracy",)):
        model = make_model()
        model.compile(model.optimizer, model.loss, metrics=list(metrics))
        return model, checkpoint.restore(model)

    model, progress = done()
    with pytest.raises(ValueError, match=r"of an epoch of 4 steps. .*per_epoch=8"):
        fit(model, 3, checkpoint, done=progress, steps_per_epoch=8)
    model, progress = done()
    with pytest.raises(ValueError, match=r"epoch 1, which must be .*initial_epoch=0"):
        fit(model, 3, checkpoint, done=progress, initial_epoch=0)
    model, progress = done([keras.metrics.SparseCategoricalCrossentropy(), "accuracy"])
    with pytest.raises(ValueError, match="of an epoch with other metrics"):
        fit(model, 3, checkpoint, done=progress)
    with pytest.raises(ValueError, match=r"larger. Received: steps_per_epoch=2"):
        progress.start_step(2)
    endless = IMAGES.batches(4, training=True, image_size=(14, 21)).filter(
        lambda images, ids: True
    )
    with pytest.raises(ValueError, match=r"give `fit` its `steps_per_epoch`"):
        make_model().fit(
            endless, callbacks=[Checkpoint(tmp_path / "b.npz", every_steps=1)]
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every_steps": 0}, ValueError, "`every_steps` must be an integer >= 1"),
        ({"every_steps": 2.5}, TypeError, "`every_steps` must be an integer >= 1"),
        ({"every_seconds": -1}, ValueError, "`every_seconds` must be a number >= 0"),
    ],
)
def test_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        Checkpoint(tmp_path / "a.npz", **options)


def test_a_file_of_before_steps_were_saved(tmp_path):
    path = tmp_path / "a.npz"
    checkpoint = Checkpoint(path)
    checkpoint.set_model(make_model())
    checkpoint.on_epoch_end(0)
    with np.load(path) as saved:
        kept = {name: saved[name] for name in saved.files}
    # As the version before wrote it: variables by number, epochs and names.
    assert {name for name in kept if not name.isdecimal()} == {"epochs_done", "names"}
    done = Checkpoint(path).restore(make_model())
    assert (done.epochs, done.steps) == (1, 0)


@pytest.mark.slow
def test_weights_in_bfloat16_come_back(tmp_path):
    def model():
        inputs = keras.Input((3,))
        made = keras.Model(inputs, keras.layers.Dense(2, dtype="bfloat16")(inputs))
        made.compile(keras.optimizers.SGD(0.1), "mse")
        return made

    checkpoint, first, second = Checkpoint(tmp_path / "a.npz"), model(), model()
    checkpoint.set_model(first)
    checkpoint.on_epoch_end(0)
    checkpoint.restore(second)
    for old, new in zip(first.weights, second.weights, strict=True):
        assert new.dtype == "bfloat16"
        np.testing.assert_array_equal(*(np.array(w, "float32") for w in (old, new)))


def test_a_run_that_did_nothing_leaves_nothing_to_go_on_from(tmp_path):
    path = tmp_path / "a.npz"
    checkpoint = Checkpoint(path)
    model = make_model()
    with pytest.raises(ValueError, match="holds no state of this run"):
        checkpoint.go_back(model)
    first = model.get_weights()
    with pytest.raises(KeyboardInterrupt):
        fit(model, 1, checkpoint, Stop(0, 2))
    assert not Checkpoint(path).restore(make_model())
    assert not np.array_equal(first[0], model.get_weights()[0])
    # The run itself can go back to its beginning, until more is saved.
    assert (checkpoint.go_back(model).epochs, checkpoint.kept.steps) == (0, 0)
    for old, new in zip(first, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    fit(model, 1, Checkpoint(path))
    assert [each.name for each in tmp_path.iterdir()] == ["a.npz"]


def test_progress():
    done = Progress(3, steps=20)
    assert (done, done.epochs, done.steps) == (3, 3, 20)
    assert done.start_step(100) == 320
    assert f"{done} {done!r}" == "3 Progress(3, steps=20)"
    assert Progress().start_step(7) == 0
    found = [bool(each) for each in (Progress(), Progress(0, 1), Progress(1))]
    assert found == [False, True, True]
    with pytest.raises(ValueError, match="`steps` must be an integer >= 0"):
        Progress(1, steps=-1)


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
    log.set_model(make_model())
    log.on_train_begin()
    log.on_epoch_end(epochs_done, {"accuracy": 0.75, "loss": 1.0})
    log.on_train_end()
    with path.open(newline="") as file:
        assert file.read() == f"{HEADER}{kept}{epochs_done},0.75,1.0,NA,NA\r\n"
