"""A loss that is no number: the step, the batch and the layer are named."""

import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_wsol.training import (
    Checkpoint,
    LayerwiseSGD,
    NonFiniteLossError,
    Progress,
    StopAtNonFinite,
)
from tests.data.small_datasets import in_memory

STEPS = 4
BATCH = 3


class OverflowsAtWhite(keras.layers.Layer):
    """Infinite for images that are white, which the others are not."""

    def call(self, x):
        white = keras.ops.min(x, axis=(1, 2, 3), keepdims=True) > 254.0
        return keras.ops.where(white, np.float32("inf"), x)


def images(white=None):
    """Flat grey images, one of them white."""
    levels = np.arange(10, 10 + STEPS * BATCH)
    if white is not None:
        levels[white] = 255
    pixels = np.broadcast_to(levels[:, None, None, None], (len(levels), 8, 9, 3))
    return in_memory(pixels.astype("uint8"))


def model_of(*layers, optimizer=None, loss=None, **options):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 9, 3))
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(layers[0](inputs))
    for layer in layers[1:]:
        x = layer(x)
    model = keras.Model(inputs, keras.layers.Dense(12, name="head")(x))
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    options = {"jit_compile": False, **options}
    model.compile(optimizer or LayerwiseSGD(1e-5), loss, **options)
    return model


def stream(dataset):
    def batches(start_step):
        return dataset.batches(
            BATCH, training=True, seed=1, start_step=start_step, image_size=(8, 9)
        ).repeat()

    return batches


def where_white(dataset, steps):
    """The step whose batch has the white image, and its place in it."""
    for step, (pixels, _) in enumerate(stream(dataset)(0).take(steps)):
        found = np.flatnonzero(pixels.numpy().min((1, 2, 3)) > 254)
        if len(found):
            return step, int(found[0])
    raise AssertionError("no batch has it")


def failing(model, batches, callbacks, epochs=3, initial_epoch=0, start=0):
    with pytest.raises(NonFiniteLossError) as caught:
        model.fit(
            batches(start),
            steps_per_epoch=STEPS,
            epochs=epochs,
            initial_epoch=initial_epoch,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    return str(caught.value)


def flat(name="flat"):
    return keras.layers.Rescaling(1 / 255, name=name)


def test_names_step_batch_layer_and_image(tmp_path):
    dataset = images(white=5)
    step, place = where_white(dataset, STEPS)
    assert step > 0
    model = model_of(OverflowsAtWhite(name="white"))
    checkpoint = Checkpoint(tmp_path / "a.npz")
    batches = stream(dataset)
    message = failing(
        model, batches, [StopAtNonFinite(checkpoint, batches), checkpoint]
    )
    assert re.match(
        rf"The loss is (nan|inf) at step {step} of epoch 0, from 0\.", message
    )
    assert f"with start_step={step}." in message
    assert "It began in the output of layer 'white': 216 of 648 values" in message
    assert f"in images {place} of the batch (step {step})." in message
    assert "The last good state" not in message  # nothing was done before
    assert not checkpoint.path.exists()
    pixels, _ = next(iter(batches(step)))
    assert pixels.numpy()[place].min() > 254
    # The last good state is in the model, too, and its layers are as they were.
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert "call" not in vars(model.get_layer("white"))


def test_a_resumed_epoch_counts_the_steps_of_before(tmp_path):
    dataset = images(white=5)
    step, _ = where_white(dataset, STEPS)
    model = model_of(OverflowsAtWhite(name="white"))
    batches = stream(dataset)
    checkpoint = Checkpoint(tmp_path / "a.npz", every_steps=1)
    callbacks = [StopAtNonFinite(checkpoint, batches), checkpoint]
    first = failing(model, batches, callbacks)
    assert f"after 0 epochs and {step} steps, is in {checkpoint.path}." in first
    kept = checkpoint.path.read_bytes()
    other = model_of(OverflowsAtWhite(name="white"))
    done = checkpoint.restore(other)
    assert (done.epochs, done.steps) == (0, step)
    assert failing(other, batches, callbacks, start=done.start_step(STEPS)) == first
    assert f"at step {step} of epoch 0" in first
    assert checkpoint.path.read_bytes() == kept


def test_a_weight_that_overflowed_is_named(tmp_path):
    # A step of 1e38 times a gradient well above 1.
    optimizer = LayerwiseSGD(1e-4, 0.0, multipliers={"second": 1e42})
    hidden = [keras.layers.Dense(4, name=name) for name in ("first", "second")]
    model = model_of(flat(), *hidden, optimizer=optimizer)
    model.get_layer("head").kernel.assign(100.0 * np.eye(4, 12))
    checkpoint, batches = Checkpoint(tmp_path / "a.npz"), stream(images())
    message = failing(
        model, batches, [StopAtNonFinite(checkpoint, batches), checkpoint]
    )
    assert "at step 1 of epoch 0" in message
    assert "It began in the weight 'second/kernel' of layer 'second': " in message


def test_a_loss_of_finite_outputs_is_named(tmp_path):
    # The square of 1e30 is no float32.
    model = model_of(flat(), loss=lambda y, outputs: keras.ops.square(outputs))
    model.get_layer("head").bias.assign(np.full(12, 1e30))
    checkpoint, batches = Checkpoint(tmp_path / "a.npz"), stream(images())
    message = failing(
        model, batches, [StopAtNonFinite(checkpoint, batches), checkpoint]
    )
    assert "The loss is inf at step 0 of epoch 0" in message
    assert "the loss, of outputs that are finite and at most 1e+30" in message


def test_images_that_are_no_numbers_are_named(tmp_path):
    model = model_of(flat())
    x = np.ones((BATCH, 8, 9, 3), "float32")
    x[1, 2, 3] = np.nan
    checkpoint = Checkpoint(tmp_path / "a.npz")

    def batches(start_step):
        return ((x, np.arange(BATCH)) for _ in range(99))

    with pytest.raises(NonFiniteLossError) as caught:
        model.fit(
            x,
            np.arange(BATCH),
            callbacks=[StopAtNonFinite(checkpoint, batches), checkpoint],
            verbose=0,
        )
    assert (
        "It began in the images of the batch: 3 of 648 values are not finite, in "
        "images 1 of the batch (step 0)." in str(caught.value)
    )


@pytest.mark.slow
def test_several_steps_at_once_and_xla(tmp_path):
    dataset = images(white=5)
    step, _ = where_white(dataset, STEPS)
    model = model_of(
        OverflowsAtWhite(name="white"), jit_compile=True, steps_per_execution=2
    )
    checkpoint, batches = Checkpoint(tmp_path / "a.npz"), stream(dataset)
    message = failing(
        model, batches, [StopAtNonFinite(checkpoint, batches), checkpoint]
    )
    first = step // 2 * 2
    assert f"at steps {first} to {first + 1} of epoch 0" in message
    assert f"with start_step={first}." in message
    assert "the output of layer 'white'" in message
    assert f"(step {step})." in message


@pytest.mark.slow
def test_a_nested_model_and_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pair = [flat("plain"), OverflowsAtWhite(name="deep")]
        inputs = keras.Input((8, 9, 3))
        # `flat` comes second: it would take white to 1.
        nested = keras.Sequential([inputs, *reversed(pair)], name="nested")
        model = model_of(nested)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    dataset = images(white=5)
    step, _ = where_white(dataset, STEPS)
    checkpoint, batches = Checkpoint(tmp_path / "a.npz"), stream(dataset)
    message = failing(
        model, batches, [StopAtNonFinite(checkpoint, batches), checkpoint]
    )
    assert f"at step {step} of epoch 0" in message
    assert "the output of layer 'deep'" in message


@pytest.mark.slow
def test_steps_that_loss_scaling_leaves_out_are_no_error(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = model_of(
            flat(),
            optimizer=keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1), initial_scale=2.0**30
            ),
        )
    finally:
        keras.config.set_dtype_policy("float32")
    before = [weight.copy() for weight in model.get_weights()]
    checkpoint = Checkpoint(tmp_path / "a.npz", every_steps=1)
    batches = stream(images())
    history = model.fit(
        batches(0),
        steps_per_epoch=STEPS,
        callbacks=[StopAtNonFinite(checkpoint, batches), checkpoint],
        verbose=0,
    )
    assert np.isfinite(history.history["loss"][0])
    assert float(model.optimizer.dynamic_scale) < 2.0**30  # so it did leave some out
    assert checkpoint.kept == 1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_without_a_checkpoint_it_says_what_it_can():
    dataset = images(white=5)
    step, _ = where_white(dataset, STEPS)
    model = model_of(OverflowsAtWhite(name="white"))
    message = failing(model, stream(dataset), [StopAtNonFinite()])
    assert f"at step {step} of epoch 0" in message
    assert "2 of 2 weights are not finite, the first is 'head/kernel'." in message
    assert "`checkpoint` and `batches` are needed" in message


def test_a_checkpoint_that_is_too_old_is_not_gone_back_to(tmp_path):
    dataset = images(white=5)
    step, _ = where_white(dataset, STEPS)
    model = model_of(OverflowsAtWhite(name="white"))
    checkpoint, batches = Checkpoint(tmp_path / "a.npz"), stream(dataset)
    stop = StopAtNonFinite(checkpoint, batches, most_steps=step)
    message = failing(model, batches, [stop, checkpoint])
    assert f"{step + 1} steps old, more than most_steps={step}" in message


@pytest.mark.parametrize("listed", [True, False])
def test_a_checkpoint_of_another_fit_is_not_gone_back_to(tmp_path, listed):
    model = model_of(OverflowsAtWhite(name="white"))
    checkpoint = Checkpoint(tmp_path / "a.npz")
    if listed:
        model.fit(stream(images())(0), steps_per_epoch=STEPS, callbacks=[checkpoint])
    batches = stream(images(white=5))
    message = failing(model, batches, [StopAtNonFinite(checkpoint, batches)])
    assert re.search(r"of \d weights are not finite.* is not named: ", message)
    why = "is of a later step" if listed else "a.npz holds no state of this run, as "
    assert why in message
    assert "are needed" not in message
    assert ("The last good state, after 1 epochs" in message) == listed


@pytest.mark.parametrize(
    "error", [OSError("no disk"), tf.errors.DataLossError(None, None, "no disk")]
)
def test_an_error_in_looking_does_not_hide_the_loss(tmp_path, error):
    model = model_of(OverflowsAtWhite(name="white"))
    checkpoint = Checkpoint(tmp_path / "a.npz")

    def broken(start_step):
        raise error

    message = failing(
        model, stream(images(5)), [StopAtNonFinite(checkpoint, broken), checkpoint]
    )
    assert f"looking for it failed with {type(error).__name__}: no disk." in message
    # As gone back to.
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_replicas_are_said_to_name_no_layer(tmp_path):
    stop = StopAtNonFinite(Checkpoint(tmp_path / "a.npz"), stream(images()))
    strategy = SimpleNamespace(num_replicas_in_sync=2)
    stop.set_model(SimpleNamespace(weights=[], distribute_strategy=strategy))
    stop.set_params({"steps": STEPS})
    found = stop._where(0, Progress())
    assert "is not named: each of 2 replicas has a share of the batch" in found


def test_data_that_changed_is_said(tmp_path):
    model = model_of(OverflowsAtWhite(name="white"))
    checkpoint = Checkpoint(tmp_path / "a.npz")
    stop = StopAtNonFinite(checkpoint, stream(images()))
    message = failing(model, stream(images(white=5)), [stop, checkpoint])
    assert "the loss was finite: they are not deterministic, or the data" in message


def test_a_good_state_is_not_replaced_where_nothing_stops_training(tmp_path):
    # Finite loss, but a weight that is not: the step of 1e38 comes after the loss.
    optimizer = LayerwiseSGD(1e-4, 0.0, multipliers={"head": 1e44})
    model = model_of(flat(), optimizer=optimizer)
    checkpoint = Checkpoint(tmp_path / "a.npz", every_steps=1)
    with pytest.warns(RuntimeWarning, match=r"after 0 epochs and 1 steps is not saved"):
        model.fit(
            stream(images())(0),
            steps_per_epoch=STEPS,
            callbacks=[checkpoint],
            verbose=0,
        )
    assert not all(np.isfinite(weight).all() for weight in model.get_weights())
    assert (checkpoint.kept.epochs, checkpoint.kept.steps) == (0, 0)
    assert checkpoint.go_back(model) == 0
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
