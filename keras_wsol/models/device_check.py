"""Refuses the ways of using several devices that Keras cannot train with."""

import sys
from typing import Any

import keras

_MIRRORED = "Use `tf.distribute.MirroredStrategy` for the GPUs of one machine"
_HOSTS = "the JAX backend with `keras.distribution.DataParallel` for several machines"

# By name in `tf.distribute`, as seen with Keras 3.15 and TensorFlow 2.21.
_REASONS = {
    "MultiWorkerMirroredStrategy": (
        "Keras' `fit` fails on the first batch, which it takes for one tensor "
        "(keras-team/keras#20585)"
    ),
    "ParameterServerStrategy": (
        "Keras' `fit` has no coordinator that hands data to the workers"
    ),
    "experimental.CentralStorageStrategy": (
        "it cannot update the statistics and seeds of Keras' layers, whose variables "
        "do not say how to join the devices' values"
    ),
}


def check_devices(strategy: Any = None) -> None:
    """Raises if a model that is made now could not be trained on all its devices.

    Args:
        strategy: Strategy of `tf.distribute`. Default: the current one.

    Raises:
        ValueError: `keras.distribution` is set on another backend than JAX, or the
            strategy is one that Keras cannot train with.
    """
    backend, layout = keras.backend.backend(), keras.distribution.distribution()
    if layout is not None and backend != "jax":
        raise ValueError(
            f"`keras.distribution` works on the JAX backend alone: on {backend} Keras "
            "ignores it, and one device does all the work. "
            f"{_MIRRORED} on TensorFlow, or {_HOSTS}. Received: {layout}."
        )
    if backend != "tensorflow":
        return
    tf = sys.modules["tensorflow"]  # Keras has loaded it
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    for name, reason in _REASONS.items():
        if isinstance(strategy, _named(tf, name)):
            raise ValueError(
                f"A model cannot be trained under `tf.distribute.{name}`: {reason}. "
                f"{_MIRRORED}, {_HOSTS}."
            )


def _named(tf: Any, name: str) -> Any:
    found = tf.distribute
    for part in name.split("."):
        found = getattr(found, part)
    return found
