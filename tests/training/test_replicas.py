"""Two replicas of `tf.distribute` train as one device does. Needs TensorFlow."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
# The devices have to be made before TensorFlow starts: in a process of its own.
CODE = """
import faulthandler
import tensorflow as tf

# Replicas that wait for each other would stand still without a word.
faulthandler.dump_traceback_later(900, exit=True)

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

import contextlib
import keras
import numpy as np
from keras_wsol.training import LayerwiseSGD

def trained(scope):
    rng = np.random.default_rng(0)
    with scope:
        body = keras.layers.Dense(4, activation="tanh", name="body_1")
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(2, name="head")(body(inputs)))
        model.compile(
            LayerwiseSGD(
                0.1, multipliers={"body_*": 0.1}, l2_decay=0.1, rate_free_velocity=True
            ),
            "mse",
        )
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    model.fit(x, y, batch_size=8, epochs=8, verbose=0, shuffle=False)
    return model.get_weights()

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
one = trained(contextlib.nullcontext())
for alone, shared in zip(one, trained(strategy.scope()), strict=True):
    np.testing.assert_allclose(alone, shared, atol=1e-6)
"""


def test_decay_is_not_counted_once_for_each_replica():
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
