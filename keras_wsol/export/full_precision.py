"""A localizer as it is, in float32 throughout."""

from typing import Any

import keras

from keras_wsol.models import Localizer
from keras_wsol.models.splice import set_layer_weights

# Names that stand for a policy where a configuration spells it out.
_NARROW = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def in_float32(localizer: Localizer) -> Localizer:
    """Returns the localizer with every layer computing in float32."""
    config = keras.saving.serialize_keras_object(localizer)
    widened = _widened(config)
    if widened == config:
        return localizer
    copy = keras.saving.deserialize_keras_object(widened)
    narrow = [
        layer.name
        for layer in copy.model.layers
        # An input takes the global policy, and computes nothing.
        if not isinstance(layer, keras.layers.InputLayer)
        and layer.compute_dtype != "float32"
    ]
    if narrow:
        raise ValueError(
            "Layers with a dtype policy of their own, such as a quantized one, cannot "
            f"be made to compute in float32. Received: {narrow[:10]}."
        )
    set_layer_weights(
        copy.model,
        [weight.astype("float32") for weight in localizer.model.get_weights()],
    )
    return copy


def _widened(entry: Any) -> Any:
    """A configuration with each dtype policy replaced by float32."""
    if isinstance(entry, dict):
        if entry.get("class_name") == "DTypePolicy":
            return {**entry, "config": {**entry["config"], "name": "float32"}}
        return {
            name: "float32" if name == "dtype" and value in _NARROW else _widened(value)
            for name, value in entry.items()
        }
    if isinstance(entry, list | tuple):
        return type(entry)(_widened(value) for value in entry)
    return entry
