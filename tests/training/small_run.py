"""A training of two layers that draw, and what is compared of it."""

import keras
import numpy as np

from keras_wsol.layers import ADL
from keras_wsol.training import LayerwiseSGD, learning_rate
from keras_wsol.training.checkpoint import Progress
from tests.data.small_datasets import in_memory, noise

IMAGES = in_memory(noise(9, 16, 22))
STEPS = 4  # in an epoch; a pass has two, so that an epoch is not a pass


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
