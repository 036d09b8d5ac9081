"""What the runtimes beside TensorFlow share: a graph of one image size."""

from collections.abc import Callable
from typing import Any

import keras

from keras_wsol.models import Localizer

# The others need gradients, a decomposition, or passes without number.
FORWARD_MAPS = ("cam", "channel_mean", "ddt", "foreground")


def as_localizer(model: keras.Model) -> Localizer:
    """Returns a localizer as it is, and a classifier as the localizer of it."""
    return model if isinstance(model, Localizer) else Localizer(model)


def check_static(model: keras.Model, runtime: str) -> None:
    """Raises unless a model can be written for another runtime."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{runtime} models are written by the TensorFlow backend. Save the model "
            "as .keras, and export it where KERAS_BACKEND=tensorflow. The backend is "
            f"{keras.backend.backend()!r}."
        )
    score_map = getattr(model, "score_map", "cam")
    if score_map not in FORWARD_MAPS:
        raise ValueError(
            f"{runtime} takes a `score_map` that one forward pass gives: "
            f"{list(FORWARD_MAPS)}. Received: score_map={score_map!r}. Export a "
            "SavedModel."
        )
    if getattr(model, "second_look", False):
        raise ValueError(
            f"{runtime} takes a localizer of one forward pass. Received: "
            "second_look=True. Export a SavedModel."
        )


def graph_function(
    localizer: Localizer, function: Callable[[Any], dict[str, Any]], batch: int | None
) -> Any:
    """Makes a `tf.function` of images of the localizer's input size."""
    import tensorflow as tf

    shape = (batch, *localizer.input_size, 3)
    spec = tf.TensorSpec(shape, tf.float32, name="images")
    return tf.function(function, input_signature=[spec])


def save_function(
    localizer: Localizer,
    function: Callable[[Any], dict[str, Any]],
    folder: str,
    batch: int | None,
) -> None:
    """Writes a SavedModel with that one function as `serving_default`."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    module.function = graph_function(localizer, function, batch)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.function})
