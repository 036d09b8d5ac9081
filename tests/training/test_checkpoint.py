"""A run that was interrupted ends as one that was not, to the bit."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.layers import ADL
from keras_wsol.training import Checkpoint, LayerwiseSGD, learning_rate
from tests.data.small_datasets import in_memory, noise

IMAGES = in_memory(noise(9, 16, 22))
STEPS = 2


def make_model(filters=4, seed=0):
    keras.utils.set_random_seed(seed)
    images = keras.Input((14, 21, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(filters, 3, activation="relu", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    # Draws at each step: its seed generator has a state.
    x = ADL(0.5, 0.6, draw="sample", seed=1, name="adl")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(9, name="head_dense")(x))
    rate = learning_rate("cosine", 0.05, epochs=3, steps_per_epoch=STEPS)
    model.compile(
        LayerwiseSGD(rate, multipliers={"head_*": 3.0}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # it takes longer than the steps
    )
    return model


def train(model, epochs, *callbacks, done=0):
    batches = IMAGES.batches(
        4, training=True, seed=2, image_size=(14, 21), start_step=done * STEPS
    )
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=done,
        callbacks=list(callbacks),
        verbose=0,
    )
    return model


def state(model):
    """Weights, seed generators and optimizer, by number and name."""
    variables = [*model.variables, *model.optimizer.variables]
    metrics = {id(variable) for variable in model.metrics_variables}
    return {
        f"{index} {variable.name}": variable.numpy()
        for index, variable in enumerate(variables)
        if id(variable) not in metrics
    }


def assert_same_state(first, second):
    assert list(first) == list(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted():
    return state(train(make_model(), 3))


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
    model.fit(x, x[:, :1], callbacks=[Checkpoint(path)], verbose=0)
    other = model_of(keras.layers.Normalization())
    Checkpoint(path).restore(other)
    np.testing.assert_array_equal(other.predict_on_batch(x), model.predict_on_batch(x))


def test_interrupted_and_resumed_is_uninterrupted(tmp_path, uninterrupted):
    path = tmp_path / "runs" / "checkpoint.npz"
    train(make_model(), 1, Checkpoint(path))
    resumed = make_model(seed=77)  # nothing of it may remain
    checkpoint = Checkpoint(path)
    assert checkpoint.restore(resumed) == 1
    train(resumed, 3, checkpoint, done=1)
    assert_same_state(state(resumed), uninterrupted)
    assert any("seed_generator" in name for name in uninterrupted)
    assert checkpoint.restore(make_model()) == 3


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

    def die(file, **arrays):
        file.write(b"half a file")
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
    with pytest.raises(ValueError, match=r"it has \d+ variables, this one \d+"):
        checkpoint.restore(other)


def test_suffix(tmp_path):
    message = r"`path` must end in .npz. Received: path='.*checkpoint.h5'."
    with pytest.raises(ValueError, match=message):
        Checkpoint(tmp_path / "checkpoint.h5")


def test_a_loss_that_is_no_number_does_not_replace_the_last_good_state(tmp_path):
    # `TerminateOnNaN` ends the epoch early; `on_epoch_end` is called all the same.
    checkpoint = Checkpoint(tmp_path / "a.npz")
    model = make_model()
    x, y = noise(4, 14, 21), np.arange(4)
    callbacks = [keras.callbacks.TerminateOnNaN(), checkpoint]
    model.fit(x, y, epochs=1, callbacks=callbacks, verbose=0)
    model.get_layer("head_dense").bias.assign(np.full(9, np.nan))
    model.fit(x, y, epochs=2, initial_epoch=1, callbacks=callbacks, verbose=0)
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
        (("second", "first"), "it has 'first/kernel' where this one has 'second/ker"),
        (("first", "third"), "it has 'second/kernel' where this one has 'third/ker"),
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
    with pytest.raises(ValueError, match="'part/kernel' where this one has 'part_1/k"):
        checkpoint.restore(unnamed(("part_2", "part_1")))


def test_an_optimizer_with_the_same_shapes_is_refused(tmp_path, rng):
    checkpoint = save(randomize(unnamed(), rng), tmp_path / "a.npz")
    other = unnamed(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
    with pytest.raises(ValueError, match=r"it has 'LayerwiseSGD/.*one has 'SGD/"):
        checkpoint.restore(other)


def test_a_checkpoint_without_names_is_taken_by_its_shapes(tmp_path, rng):
    model = randomize(unnamed(), rng)
    checkpoint = save(model, tmp_path / "a.npz")
    with np.load(checkpoint.path) as saved:
        arrays = {name: saved[name] for name in saved.files if name != "names"}
    np.savez(checkpoint.path, **arrays)
    assert checkpoint.restore(unnamed()) == 1
