"""What one inserted layer makes of one image, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Rates at which a copy of a layer uses its mask without a doubt.
_RATES = ("drop_rate", "drop_probability", "position_rate")
# Layers that choose what to drop by attention have one of these maps.
_CHOSEN = {"drop_mask", "eligible", "position_map"}


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerView:
    """What a layer sees and does, for one image.

    Attributes:
        name: Name of the layer.
        kind: Name of its class.
        settings: Its configuration.
        attention: Array `(h, w)`, the mean of its input over channels.
        channels: Array `(C,)`, the mean of its input over height and width.
        maps: What its `maps` returns, as arrays `(h, w, c)` or `(1, 1, C)`.
        output: Array `(h, w)`, the mean over channels of its output when it uses
            its masks, with every channel dropped that may be.
        is_masked: Whether `output` shows that; otherwise, for layers that drop
            without looking at their input or not at all, it is that of inference.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    attention: np.ndarray
    channels: np.ndarray
    maps: Mapping[str, np.ndarray]
    output: np.ndarray
    is_masked: bool

    @classmethod
    def of(cls, layer: Any, features: Any) -> "LayerView":
        """Looks at a layer through the features `(1, h, w, C)` before it."""
        from keras_wsol import masks

        maps = layer.maps(features) if hasattr(layer, "maps") else {}
        masked = bool(_CHOSEN & set(maps))
        output = _masked_output(layer, features) if masked else layer(features)
        return cls(
            name=layer.name,
            kind=type(layer).__name__,
            settings=layer.get_config(),
            attention=_array(masks.spatial_attention(features))[..., 0],
            channels=_array(masks.channel_attention(features))[0, 0],
            maps={name: _array(value) for name, value in maps.items()},
            output=_array(masks.spatial_attention(output))[..., 0],
            is_masked=masked,
        )

    def headline(self) -> str:
        """The layer in one line: its name and class, and the size of its input."""
        height, width = self.attention.shape
        size = f"{height} x {width} cells, {self.channels.size} channels"
        return f"{self.name} ({self.kind}): {size}"


def _masked_output(layer: Any, features: Any) -> Any:
    """The output of a copy that is sure to use its masks; the layer draws nothing."""
    config = layer.get_config()
    sure = {name: 1.0 for name in _RATES if name in config}
    if config.get("drop_probability") == 0:
        sure["drop_probability"] = 0.0  # that half of the layer is switched off
    # A seed, so that making the copy moves on no other generator either.
    copy = type(layer).from_config({**config, **sure, "seed": 0})
    return copy(features, training=True)


def _array(tensor: Any) -> np.ndarray:
    """The first of a batch, as a float32 array."""
    import keras

    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))[0]
