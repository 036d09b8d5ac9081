"""What two replicas do, as arrays. Run by `test_mirrored.py` in a process of its own.

    python -m tests.training.two_replicas RESULTS.npz

Devices have to be made before TensorFlow starts.
"""

import contextlib
import faulthandler
import functools
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_wsol import layers, models, training
from keras_wsol.training.epoch_callbacks import AverageReplicas, average_replicas

SIDE, BATCH, STEPS = (10, 14), 4, 3
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 1, (BATCH * STEPS, *SIDE, 3)).astype("float32")
IDS = np.arange(len(IMAGES)) % 3
ONE = contextlib.nullcontext()


@functools.cache
def strategy():
    """Two devices. Not as this file is imported, which pytest does to find doctests."""
    [processor] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    tf.config.experimental.enable_op_determinism()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def built(scope, method, freeze=None, **compile_options):
    """A classifier whose first layer normalizes the images themselves."""
    keras.utils.set_random_seed(0)
    with scope:
        inputs = keras.Input((*SIDE, 3))
        x = keras.layers.BatchNormalization(momentum=0.9, name="first_bn")(inputs)
        x = keras.layers.Conv2D(6, 3, activation="relu", name="conv")(x)
        x = keras.layers.BatchNormalization(name="second_bn")(x)
        body = keras.Model(inputs, keras.layers.ReLU(name="maps")(x))
        model = models.build_classifier(
            body, method, 3, weights=None, freeze=freeze, seed=1
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(training.LayerwiseSGD(0.05), loss, **compile_options)
    return model


def fit(model, epochs, *callbacks, initial_epoch=0):
    model.fit(
        IMAGES,
        IDS,
        batch_size=BATCH,
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


def copies(variable):
    """A variable on each device, `(2, ...)`."""
    return np.stack(
        [np.asarray(v) for v in strategy().experimental_local_results(variable.value)]
    )


def save(found, name, variables):
    for index, variable in enumerate(variables):
        found[f"{name}/{index}/{variable.path}"] = copies(variable)


def state(model):
    return [*model.variables, *model.optimizer.variables]


def main(path):
    found = {}
    strategy()  # before anything is made on the one device
    one = fit(built(ONE, "cam", "batch_norm"), 3)
    two = fit(built(strategy().scope(), "cam", "batch_norm"), 3)
    for name, model in (("cam_one", one), ("cam_two", two)):
        found |= {f"{name}/{i}": w for i, w in enumerate(model.get_weights())}

    for method in ("dfm", "dgdm"):
        save(found, method, state(fit(built(strategy().scope(), method), 2)))
    # With one decision for the batch, two devices train what one does.
    one = fit(built(ONE, "adl", "batch_norm"), 3)
    two = fit(built(strategy().scope(), "adl", "batch_norm"), 3)
    save(found, "adl", state(two))
    for name, model in (("adl_one", one), ("adl_two", two)):
        found |= {f"{name}/{i}": w for i, w in enumerate(model.get_weights())}

    drawn(found)
    model = fit(built(strategy().scope(), "cam"), 1)
    save(found, "apart", model.non_trainable_variables)
    found["changed"] = np.array([average_replicas(model), average_replicas(model)])
    save(found, "averaged", model.non_trainable_variables)
    save(found, "each_epoch", fit(model, 2, AverageReplicas()).non_trainable_variables)
    resumed(found)
    resumed_within(found)
    refused(found)
    np.savez(path, **found)


def drawn(found):
    """Draws of each replica, and of one device that has a share alone."""
    share = RNG.normal(size=(3, 4, 5, 2)).astype("float32")
    alone = layers.ADL(0.5, draw="sample", seed=3)
    with strategy().scope():
        layer = layers.ADL(0.5, draw="sample", seed=3)
        layer.build(share.shape)
    call = tf.function(lambda: strategy().run(lambda: layer(share, training=True)))
    results = [strategy().experimental_local_results(call()) for _ in range(8)]
    found["draws_two"] = np.array(results)  # (calls, replicas, ...)
    found["draws_alone"] = np.array([alone(share, training=True) for _ in range(8)])
    save(found, "draws_state", [layer.seed_generator.state])


def resumed(found):
    """Two epochs, and one of them after a checkpoint was read."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = training.Checkpoint(Path(folder) / "checkpoint.npz")
        model = built(strategy().scope(), "adl")
        fit(model, 1, AverageReplicas(), checkpoint)
        other = built(strategy().scope(), "adl")
        with strategy().scope():
            done = checkpoint.restore(other)
    save(found, "saved", state(model))
    save(found, "restored", state(other))
    fit(model, 2, AverageReplicas(), initial_epoch=1)
    fit(other, 2, AverageReplicas(), initial_epoch=int(done))
    save(found, "uninterrupted", state(model))
    save(found, "resumed", state(other))


class Stop(keras.callbacks.Callback):
    """Interrupts training after two steps of its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            raise KeyboardInterrupt


def resumed_within(found):
    """Two epochs that are saved after each step, and the same but interrupted."""

    def fit(path, *callbacks):
        model = built(strategy().scope(), "adl", metrics=["accuracy"])
        checkpoint = training.Checkpoint(path, every_steps=1)
        done = checkpoint.restore(model)
        batches = tf.data.Dataset.from_tensor_slices((IMAGES, IDS)).batch(BATCH)
        model.fit(
            batches.repeat().skip(done.start_step(STEPS)),
            steps_per_epoch=STEPS,
            epochs=2,
            initial_epoch=done,
            verbose=0,
            callbacks=[AverageReplicas(), *callbacks, checkpoint],
        )
        return model, done

    with tempfile.TemporaryDirectory() as folder:
        whole, _ = fit(Path(folder) / "whole.npz")
        with contextlib.suppress(KeyboardInterrupt):
            fit(Path(folder) / "parts.npz", Stop())
        parts, done = fit(Path(folder) / "parts.npz")
    found["within_done"] = np.array([done, done.steps])
    save(found, "whole", state(whole))
    save(found, "within", state(parts))


def refused(found):
    """The message of a strategy that cannot work, as a model is built."""
    central = tf.distribute.experimental.CentralStorageStrategy(["CPU:0", "CPU:1"])
    try:
        built(central.scope(), "cam")
    except ValueError as error:
        found["central"] = np.array(str(error))


if __name__ == "__main__":
    # Replicas that wait for each other would stand still without a word.
    faulthandler.dump_traceback_later(900, exit=True)
    main(sys.argv[1])
