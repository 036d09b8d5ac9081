"""A training in a process of its own, that can be killed at any moment.

Processes are forked from one that has loaded TensorFlow but run nothing of it, which
saves the seconds of loading it for each.
"""

import multiprocessing
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_wsol import data
from keras_wsol.layers import ADL, DGDM
from keras_wsol.training import Checkpoint, EpochLog, LayerwiseSGD, learning_rate

SIDE = 24
BATCH = 4
STEPS = 7
IMAGES = STEPS * BATCH + 1  # one is left out in each epoch
CHECKPOINT, LOG, FINAL = "checkpoint.npz", "log.csv", "final.npz"


class Report(keras.callbacks.Callback):
    """Tells the parent of each step as it begins."""

    def __init__(self, pipe):
        super().__init__()
        self.pipe = pipe

    def on_train_batch_begin(self, batch, logs=None):
        self.pipe.send(batch)


def make_model(epochs):
    images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(4, 5, strides=2, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    x = ADL(0.5, 0.7, draw="sample", seed=1)(x)
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    x = DGDM(seed=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(images, keras.layers.Dense(10, name="head")(x))
    rate = learning_rate("cosine", 0.05, epochs=epochs, steps_per_epoch=STEPS)
    model.compile(
        LayerwiseSGD(rate, multipliers={"head": 3.0}),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # it takes longer than the steps
    )
    return model


def train(folder, epochs, seed, pipe=None, every_steps=2):
    """Trains to the end, or goes on to it; without `pipe`, keeps nothing meanwhile."""
    folder = Path(folder)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    images = data.synthetic("train-weaksup", num_images=IMAGES, image_size=32)
    model = make_model(epochs)
    log = EpochLog(folder / LOG)
    callbacks, done = [log], 0
    start_step = 0
    if pipe is not None:
        checkpoint = Checkpoint(folder / CHECKPOINT, every_steps=every_steps)
        done = checkpoint.restore(model)
        start_step = done.start_step(STEPS)
        callbacks = [Report(pipe), EpochLog(folder / LOG, done), checkpoint]
    batches = images.batches(
        BATCH,
        training=True,
        seed=3,
        start_step=start_step,
        image_size=(SIDE, SIDE),
    )
    model.fit(
        batches.repeat(),
        steps_per_epoch=STEPS,
        epochs=epochs,
        initial_epoch=done,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )
    variables = [*model.variables, *model.optimizer.variables]
    np.savez(folder / FINAL, **{f"{i} {v.name}": v for i, v in enumerate(variables)})


def start(*arguments):
    """Starts `train` in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=train, args=arguments)
    process.start()
    return process


def killed(folder, epochs, seed, steps, delay):
    """Kills a run some time after it began its step `steps`.

    Returns:
        The steps that it began; the exit code, -9 where it was killed.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    process = start(folder, epochs, seed, send)
    send.close()
    begun = 0
    try:
        while begun < steps:
            receive.recv()
            begun += 1
        time.sleep(delay)
        process.kill()
    except EOFError:
        pass  # it came to its end before that
    process.join()
    return begun, process.exitcode
