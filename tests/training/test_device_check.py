"""What does not work on several devices is refused, and the message says why."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_wsol.training.epoch_callbacks import (
    AverageReplicas,
    average_replicas,
    check_devices,
    check_fit,
)

BACKEND = keras.backend.backend()
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute")


def small():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    return model


def fit(model):
    x = np.arange(24.0).reshape(6, 4)
    model.fit(x, x[:, :1], verbose=0, callbacks=[AverageReplicas()])


@ON_TENSORFLOW
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MultiWorkerMirroredStrategy", "keras-team/keras#20585"),
        ("ParameterServerStrategy", "no coordinator"),
        ("experimental.CentralStorageStrategy", "cannot update the statistics"),
    ],
)
def test_strategies_that_keras_cannot_train_with(name, reason):
    import tensorflow as tf

    kind = tf.distribute
    for part in name.split("."):
        kind = getattr(kind, part)
    # One that is whole needs several processes.
    strategy = object.__new__(kind)
    with pytest.raises(
        ValueError, match=f"tf.distribute.{name}`: .*{reason}.*Mirrored"
    ):
        check_devices(strategy)


@ON_TENSORFLOW
def test_strategies_of_one_device_pass():
    import tensorflow as tf

    check_devices(tf.distribute.OneDeviceStrategy("CPU:0"))
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        check_devices()
        model = small()
    fit(model)
    assert average_replicas(model) == 0


def test_one_device_passes():
    check_devices()
    fit(small())


@ON_TENSORFLOW
def test_xla_on_two_replicas():
    two = SimpleNamespace(num_replicas_in_sync=2)
    model = SimpleNamespace(distribute_strategy=two, jit_compile=True)
    with pytest.raises(
        ValueError, match=r"`jit_compile=True` does not work.*2 replicas"
    ):
        check_fit(model)
    check_fit(SimpleNamespace(distribute_strategy=two, jit_compile=False))


def test_data_parallel_is_for_jax_alone():
    layout = keras.distribution.DataParallel(devices=["cpu:0"])
    with layout.scope():
        if BACKEND == "jax":
            check_devices()
            return
        with pytest.raises(ValueError, match=f"JAX backend alone: on {BACKEND} Keras"):
            check_devices()
    check_devices()


@pytest.mark.skipif(BACKEND != "torch", reason="torch.distributed")
def test_processes_of_torch(tmp_path, monkeypatch):
    from torch import distributed

    model = small()
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        fit(model)
        monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
        with pytest.raises(ValueError, match=r"does not exchange gradients.*of the 2"):
            fit(model)
    finally:
        monkeypatch.undo()
        distributed.destroy_process_group()
