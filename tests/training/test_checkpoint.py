"""A run that was interrupted ends as one that was not, to the bit."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.training import Checkpoint, EpochLog, LayerwiseSGD
from keras_wsol.training.checkpoint import Progress
from tests.training.small_run import (
    IMAGES,
    STEPS,
    Stop,
    assert_same_state,
    fit,
    make_model,
    state,
)


class Watch(keras.callbacks.Callback):
    """Notes what is saved when, and what `stop_training` is."""

    def __init__(self, checkpoint):
        super().__init__()
        self.saved, self.kinds = [], set()
        save = checkpoint._save

        def note(epochs, steps, logs):
            self.saved.append((epochs, steps))
            save(epochs, steps, logs)

        checkpoint._save = note

    def on_train_batch_end(self, batch, logs=None):
        self.kinds.add(type(self.model.stop_training))

    def on_epoch_end(self, epoch, logs=None):
        self.kinds.add(type(self.model.stop_training))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run with all that is under test."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoint = Checkpoint(folder / "a.npz", every_steps=3)
    watch = Watch(checkpoint)
    model = make_model()
    history = fit(model, 3, EpochLog(folder / "log.csv"), checkpoint, watch).history
    return {"model": model, "history": history, "watch": watch, "folder": folder}


def test_saves_after_every_so_many_steps_and_after_epochs(whole):
    expected = [(0, 3), (1, 0), (1, 3), (2, 0), (2, 3), (3, 0)]
    assert whole["watch"].saved == expected
    assert sorted(path.name for path in whole["folder"].iterdir()) == [
        "a.npz",
        "log.csv",
    ]


def test_the_file_holds_the_last_state(whole):
    other = make_model(seed=5)
    done = Checkpoint(whole["folder"] / "a.npz").restore(other)
    assert (done, done.steps) == (3, 0)
    saved = state(whole["model"])
    assert any("seed_generator" in name for name in saved)
    assert_same_state(state(other), saved)


@pytest.mark.parametrize(
    ("epoch", "steps"),
    [(1, 3), (2, 0), pytest.param(0, 2, marks=pytest.mark.slow)],
)
def test_resumed_is_uninterrupted(tmp_path, whole, epoch, steps):
    path, log = tmp_path / "runs" / "a.npz", tmp_path / "runs" / "log.csv"
    checkpoint = Checkpoint(path, every_steps=1)
    stop = Stop(epoch, steps + 1)  # that step is not saved
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 3, stop, EpochLog(log), checkpoint)
    model = make_model(seed=77)  # nothing of it may remain
    checkpoint = Checkpoint(path)
    done = checkpoint.restore(model)
    assert (done, done.steps) == (epoch, steps)
    watch = Watch(checkpoint)
    history = fit(model, 3, EpochLog(log, done), checkpoint, watch, done=done).history
    assert_same_state(state(model), state(whole["model"]))
    assert watch.kinds == {bool}
    assert checkpoint.restore(make_model()) == 3
    # Whole epochs log the same; the begun one has one row, too.
    after = epoch + bool(steps)
    for name, values in whole["history"].items():
        assert history[name][after - epoch :] == values[after:], name
    rows = [log.read_text().splitlines(), _rows(whole["folder"])]
    assert len(rows[0]) == len(rows[1]) == 4
    assert rows[0][after + 1 :] == rows[1][after + 1 :]


def _rows(folder):
    return (folder / "log.csv").read_text().splitlines()


class LastEpoch(keras.callbacks.Callback):
    """Wants the end of training after any epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


class LastAtValidation(LastEpoch):
    def on_test_end(self, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize("validated", [False, True])
def test_another_callback_ends_training_after_a_begun_epoch(tmp_path, validated):
    path = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), 3, Checkpoint(path, every_steps=1), Stop(0, 2))
    model, checkpoint = make_model(), Checkpoint(path)
    done = checkpoint.restore(model)
    options, callbacks = {}, [checkpoint, LastEpoch()]
    if validated:  # then the order does not matter
        callbacks.reverse()
        options["validation_data"] = IMAGES.batches(4, image_size=(14, 21))
    fit(model, 3, *callbacks, done=done, **options)
    assert checkpoint.restore(make_model()) == 1, "training went on"
    assert int(model.optimizer.iterations) == STEPS


def test_saves_by_the_clock(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "a.npz", every_seconds=10)
    saved = []
    monkeypatch.setattr(checkpoint, "_save", lambda *args: saved.append(args[:2]))
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    checkpoint.set_model(make_model())
    checkpoint.set_params({"steps": 6})
    clock = [0.0]
    checkpoint.on_epoch_begin(0)
    for step in range(6):
        clock[0] += 6.0
        checkpoint.on_train_batch_end(step)
    # The last is left to the end of the epoch.
    assert saved == [(0, 2), (0, 4)]


def test_keras_need_not_wait_where_nothing_is_saved_within(tmp_path):
    path = tmp_path / "a.npz"
    assert Checkpoint(path).async_safe
    assert not Checkpoint(path, every_steps=2).async_safe
    assert not Checkpoint(path, every_seconds=2).async_safe
    checkpoint = Checkpoint(path)
    checkpoint.set_params({"steps": None})  # of an input without a length
    checkpoint.on_train_batch_end(0, {})


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
    assert (done, done.steps) == (1, 2)
    fit(resumed, 3, checkpoint, done=done)
    assert_same_state(state(resumed), state(whole["model"]))


def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path):
    path = tmp_path / "a.npz"
    model = make_model()
    saving = Checkpoint(path)
    saving.set_model(model)
    saving.set_params({"steps": 4})
    saving._save(1, 2, {})
    checkpoint = Checkpoint(path)

    def begin(params, epoch=1, at_once=1):
        progress = checkpoint.restore(model)
        checkpoint.set_model(model)
        checkpoint.set_params(params)
        model.steps_per_execution = at_once
        checkpoint.on_train_begin()
        checkpoint.on_epoch_begin(epoch)
        return progress

    with pytest.raises(ValueError, match=r"of an epoch of 4 steps. .*per_epoch=8"):
        begin({"steps": 8})
    with pytest.raises(ValueError, match=r"epoch 1, which must be .*initial_epoch=0"):
        begin({"steps": 4}, epoch=0)
    with pytest.raises(ValueError, match=r"give `fit` its `steps_per_epoch`"):
        begin({"steps": None})
    with pytest.raises(ValueError, match=r"must divide the 2 steps .*execution=3"):
        begin({"steps": 4}, at_once=3)
    with pytest.raises(
        ValueError, match=r"> 2, the steps .* Received: steps_per_epoch=2"
    ):
        begin({"steps": 4}).start_step(2)


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


def test_progress():
    done = Progress(3, steps=20)
    assert (done, done.steps) == (3, 20)
    assert done.start_step(100) == 320
    assert f"{done} {done!r}" == "3 Progress(3, steps=20)"
    assert Progress().start_step(7) == 0
    found = [bool(each) for each in (Progress(), Progress(0, 1), Progress(1))]
    assert found == [False, True, True]


def test_a_normalization_is_adapted_as_it_was(tmp_path):
    def model_of(normalization):
        layers = [keras.Input((2,)), normalization, keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("sgd", "mse")
        return model

    x = np.array([[1.0, 5.0], [3.0, 9.0]], "float32")
    normalization = keras.layers.Normalization()
    model = model_of(normalization)
    normalization.adapt(x)
    path = tmp_path / "state.npz"
    save(model, path)
    other = model_of(keras.layers.Normalization())
    Checkpoint(path).restore(other)
    np.testing.assert_array_equal(other(x), model(x))


def test_weights_in_bfloat16_come_back(tmp_path):
    def model():
        inputs = keras.Input((3,))
        made = keras.Model(inputs, keras.layers.Dense(2, dtype="bfloat16")(inputs))
        made.compile(keras.optimizers.SGD(0.1), "mse")
        return made

    first, second = model(), model()
    save(first, tmp_path / "a.npz").restore(second)
    for old, new in zip(first.weights, second.weights, strict=True):
        assert new.dtype == "bfloat16"
        np.testing.assert_array_equal(*(np.array(w, "float32") for w in (old, new)))


def randomize(model, rng):
    model.optimizer.build(model.trainable_variables)
    for variable in [*model.variables, *model.optimizer.variables]:
        value = rng.integers(1, 100, variable.shape).astype(variable.dtype)
        variable.assign(value)
    return model


def save(model, path, epoch=0):
    checkpoint = Checkpoint(path)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(epoch)
    return checkpoint


def test_everything_but_the_metrics_comes_back(tmp_path, rng):
    model = randomize(make_model(), rng)
    checkpoint = save(model, tmp_path / "a.npz", epoch=6)
    other = make_model()
    assert checkpoint.restore(other) == 7
    assert_same_state(state(other), state(model))


def test_loss_scale_comes_back(tmp_path, rng):
    def scaled():
        model = make_model()
        inner = LayerwiseSGD(0.1, multipliers={"head_*": 3.0})
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        model.compile(optimizer, "mse")
        return model

    model = randomize(scaled(), rng)
    checkpoint = save(model, tmp_path / "a.npz")
    other = scaled()
    checkpoint.restore(other)
    assert_same_state(state(other), state(model))
    assert any("dynamic_scale" in name for name in state(other))
    assert any("momentum" in name for name in state(other))


def test_without_a_file_nothing_is_done(tmp_path):
    model = make_model()
    before = model.get_weights()
    assert Checkpoint(tmp_path / "new" / "a.npz").restore(model) == 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (tmp_path / "new").is_dir()


def test_killed_before_the_rename_leaves_the_last_one(tmp_path, rng, monkeypatch):
    model = randomize(make_model(), rng)
    kept = state(model)
    checkpoint = save(model, tmp_path / "a.npz", epoch=4)

    def die(self, target):
        raise KeyboardInterrupt

    randomize(model, rng)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.on_epoch_end(5)
    other = make_model()
    assert checkpoint.restore(other) == 5
    assert_same_state(state(other), kept)
    # The next epoch writes over what was left.
    checkpoint.on_epoch_end(5)
    assert checkpoint.restore(other) == 6
    assert_same_state(state(other), state(model))


def test_killed_while_writing_leaves_the_last_one(tmp_path, rng, monkeypatch):
    model = randomize(make_model(), rng)
    checkpoint = save(model, tmp_path / "a.npz", epoch=4)

    def die(path, **arrays):
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", die)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.on_epoch_end(5)
    assert checkpoint.restore(make_model()) == 5


def test_another_model_is_refused_and_left_alone(tmp_path, rng):
    checkpoint = save(randomize(make_model(), rng), tmp_path / "a.npz")
    other = make_model(filters=5)
    before = state(other)
    message = rf"The checkpoint {checkpoint.path} is of another model or optimizer"
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(other)
    after = state(other)  # longer: the optimizer is built now
    assert_same_state({name: after[name] for name in before}, before)


def test_another_optimizer_is_refused(tmp_path, rng):
    checkpoint = save(randomize(make_model(), rng), tmp_path / "a.npz")
    other = make_model()
    other.compile(keras.optimizers.Adam(), "mse")
    with pytest.raises(
        ValueError, match=r"it has LayerwiseSGD/.* where this one has Adam/"
    ):
        checkpoint.restore(other)


def test_suffix(tmp_path):
    message = r"`path` must end in .npz. Received: path='.*checkpoint.h5'."
    with pytest.raises(ValueError, match=message):
        Checkpoint(tmp_path / "checkpoint.h5")


def test_a_nan_loss_does_not_replace_the_last_good_state(tmp_path, rng):
    model = randomize(make_model(), rng)
    checkpoint = save(model, tmp_path / "a.npz")
    with pytest.warns(RuntimeWarning, match="not saved: the loss is nan. .*an earlier"):
        checkpoint.on_epoch_end(1, {"loss": float("nan")})
    model.get_layer("head_dense").bias.assign(np.full(9, np.nan))
    with pytest.warns(RuntimeWarning, match=r"head_dense/bias \(9,\) is not finite"):
        checkpoint.on_epoch_end(1, {"loss": 1.0})
    assert checkpoint.restore(model) == 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def unnamed(order=("first", "second"), optimizer=None):
    """Two layers of the same shapes, named in an order, and two that Keras names."""
    inputs = keras.Input((4,))
    x = inputs
    for name in order:
        x = keras.layers.Dense(4, name=name)(x)
    for _ in range(2):
        x = keras.layers.Dense(4)(x)
    model = keras.Model(inputs, x)
    model.compile(optimizer or LayerwiseSGD(0.1), "mse")
    return model


def test_numbers_that_keras_counts_up_do_not_matter(tmp_path, rng):
    model = randomize(unnamed(), rng)
    checkpoint = save(model, tmp_path / "a.npz")
    other = unnamed()
    paths = [[w.path for w in each.weights] for each in (model, other)]
    assert paths[0] != paths[1]
    assert checkpoint.restore(other) == 1
    for old, new in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            ("second", "first"),
            r"it has first/kernel \(4, 4\) where this one has second/ker",
        ),
        (
            ("first", "third"),
            r"it has second/kernel \(4, 4\) where this one has third/ker",
        ),
    ],
)
def test_same_shapes_under_other_names_are_refused(tmp_path, rng, order, message):
    checkpoint = save(randomize(unnamed(), rng), tmp_path / "a.npz")
    other = unnamed(order)
    before = other.get_weights()
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(other)
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_numbered_layers_in_another_order_are_refused(tmp_path, rng):
    checkpoint = save(randomize(unnamed(("part_1", "part_2")), rng), tmp_path / "a.npz")
    with pytest.raises(
        ValueError, match=r"it has part_1/kernel .* where this one has part_2/k"
    ):
        checkpoint.restore(unnamed(("part_2", "part_1")))


def test_an_optimizer_with_the_same_shapes_is_refused(tmp_path, rng):
    checkpoint = save(randomize(unnamed(), rng), tmp_path / "a.npz")
    other = unnamed(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    with pytest.raises(ValueError, match=r"it has LayerwiseSGD/.*one has SGD/"):
        checkpoint.restore(other)
