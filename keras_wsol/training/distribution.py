"""Training on several devices: the mean of their statistics, and what cannot work."""

# BatchNormalization(synchronized=True) exchanges moments at every layer and step, and
# keras.applications builds pretrained backbones without it.

import contextlib
import sys
from typing import Any

import keras
import numpy as np

from keras_wsol.models.classifier import check_devices


class AverageReplicas(keras.callbacks.Callback):
    """Gives the replicas of a `tf.distribute.MirroredStrategy` the same statistics.

    The moving averages of batch normalization differ, each of a share of the batches.
    Before each validation and at the end of each epoch they become their mean, which
    is what averaging after each step gives. On one device nothing is done.

    Put it before the callbacks that save or measure the model.

    Example:
        with tf.distribute.MirroredStrategy().scope():
            model = models.build_classifier("resnet50", "adl", 200)
            model.compile(training.LayerwiseSGD(0.01), loss)
        model.fit(batches, callbacks=[training.AverageReplicas(), checkpoint])
    """

    def on_train_begin(self, logs: Any = None) -> None:
        check_fit(self.model)

    def on_test_begin(self, logs: Any = None) -> None:
        average_replicas(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        average_replicas(self.model)


def average_replicas(model: keras.Model) -> int:
    """Averages what differs between replicas; returns how many variables did."""
    strategy, changed = _strategy(model), 0
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return 0
    for variable in model.non_trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        arrays = [np.asarray(copy) for copy in copies]
        if any(not np.array_equal(arrays[0], array) for array in arrays[1:]):
            with strategy.scope():
                variable.assign(np.mean(arrays, axis=0, dtype="float64"))
            changed += 1
    return changed


def check_fit(model: keras.Model) -> None:
    """Raises if `fit` would crash on several devices, or not use them."""
    strategy = _strategy(model)
    check_devices(strategy)
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if replicas > 1 and model.jit_compile:
        raise ValueError(
            "`jit_compile=True` does not work on more than one replica: compile the "
            f"model with `jit_compile=False`. Received: {replicas} replicas."
        )
    processes = 1
    if keras.backend.backend() == "torch":
        distributed = sys.modules["torch"].distributed
        begun = distributed.is_available() and distributed.is_initialized()
        processes = distributed.get_world_size() if begun else 1
    if processes > 1:
        raise ValueError(
            "`fit` does not exchange gradients between the processes of "
            f"`torch.distributed`: each of the {processes} would train another model. "
            "Write the loop with `DistributedDataParallel`, or use the JAX backend."
        )


def scope_of(model: keras.Model) -> Any:
    """Returns the scope in which variables of a model have to be made."""
    return _strategy(model).scope() if _strategy(model) else contextlib.nullcontext()


def _strategy(model: keras.Model) -> Any:
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return model.distribute_strategy if on_tensorflow else None
