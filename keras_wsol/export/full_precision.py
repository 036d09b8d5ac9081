"""A localizer as it is, in float32 throughout."""

from typing import Any

import keras

from keras_wsol.models import Localizer


def in_float32(localizer: Localizer) -> Localizer:
    """Returns the localizer with every layer computing in float32.

    A graph trained under `mixed_float16` or `mixed_bfloat16` holds casts that gain
    nothing where a server runs on CPUs. The weights of a mixed policy are float32
    already and stay as they are; those of a pure float16 policy are widened.

    Args:
        localizer: A localizer.

    Returns:
        The same localizer if all of it computes in float32; else a copy, with weights
        of its own.
    """
    config = keras.saving.serialize_keras_object(localizer)
    widened = _widened(config)
    if widened == config:
        return localizer
    copy = keras.saving.deserialize_keras_object(widened)
    copy.model.set_weights(
        [weight.astype("float32") for weight in localizer.model.get_weights()]
    )
    return copy


def _widened(entry: Any) -> Any:
    """A configuration with each dtype policy replaced by float32."""
    if isinstance(entry, dict):
        if entry.get("class_name") == "DTypePolicy":
            return {**entry, "config": {**entry["config"], "name": "float32"}}
        return {name: _widened(value) for name, value in entry.items()}
    if isinstance(entry, list | tuple):
        return type(entry)(_widened(value) for value in entry)
    return entry
