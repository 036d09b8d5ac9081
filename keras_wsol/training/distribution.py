"""Training on the devices of one machine: what the replicas have to have in common."""

import contextlib
import sys
from typing import Any

import keras
import numpy as np

from keras_wsol.models.device_check import check_devices


class AverageReplicas(keras.callbacks.Callback):
    """Keeps the replicas of a `tf.distribute.MirroredStrategy` one model.

    Every replica has a copy of each variable. Gradients are summed over the replicas,
    so the trained weights stay the same, as do seed generators, which move on in step.
    The statistics of batch normalization do not: in Keras 3 each replica updates its
    copy from its share of the batch, validation uses another copy on each device, and
    a saved file holds that of the first device.

    This callback replaces them by their mean before each validation and at the end of
    each epoch. As training does not read them, and a mean of moving averages is the
    moving average of the means, that is what an average after each step would give,
    and what `tf.keras` did. It has nothing to do where batch normalization is frozen,
    or made with `synchronized=True`, and on one device.

    Put it before the callbacks that save or measure the model. It also refuses, as
    `fit` begins, what could not work; see `check_fit`.

    Raises:
        ValueError: As `fit` begins: see `check_fit`.

    Example:
        with tf.distribute.MirroredStrategy().scope():
            model = models.build_classifier("resnet50", "adl", 200)
            model.compile(training.LayerwiseSGD(0.01), loss)
        model.fit(batches, callbacks=[training.AverageReplicas(), checkpoint])
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Raises if training could not work."""
        check_fit(self.model)

    def on_test_begin(self, logs: Any = None) -> None:
        """Averages before images are measured."""
        average_replicas(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Averages before the epoch is saved."""
        average_replicas(self.model)


def average_replicas(model: keras.Model) -> int:
    """Gives all replicas the mean of their statistics."""
    strategy = _strategy(model)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return 0
    changed = 0
    for variable in model.non_trainable_variables:
        copies = [
            np.asarray(copy)
            for copy in strategy.experimental_local_results(variable.value)
        ]
        if all(np.array_equal(copies[0], copy) for copy in copies[1:]):
            continue
        with strategy.scope():
            variable.assign(np.mean(copies, axis=0, dtype="float64"))
        changed += 1
    return changed


def check_fit(model: keras.Model) -> None:
    """Raises if `fit` would crash on several devices, or quietly not use them."""
    strategy = _strategy(model)
    check_devices(strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if replicas > 1 and model.jit_compile:
        raise ValueError(
            "`jit_compile=True` does not work on more than one replica: XLA compiles "
            "them as one program, and a program cannot use variables of two devices. "
            "Compile the model with `jit_compile=False`, or leave it out. Received: "
            f"{replicas} replicas."
        )
    workers = _torch_processes()
    if workers > 1:
        raise ValueError(
            "`fit` does not exchange gradients between the processes of "
            f"`torch.distributed`: each of the {workers} would train a model of its "
            "own. Write the loop with `DistributedDataParallel`, or use the JAX "
            "backend with `keras.distribution.DataParallel`."
        )


def scope_of(model: keras.Model) -> Any:
    """Returns the scope in which variables of a model have to be made."""
    strategy = _strategy(model)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _strategy(model: keras.Model) -> Any:
    """The strategy of `tf.distribute` that a model was built in."""
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return model.distribute_strategy if on_tensorflow else None


def _torch_processes() -> int:
    if keras.backend.backend() != "torch":
        return 1
    distributed = sys.modules["torch"].distributed
    begun = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if begun else 1
