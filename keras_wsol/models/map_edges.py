"""Score maps whose edges follow those of the image."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_wsol.arguments import check_number, fill_options
from keras_wsol.cam import scale_to_unit
from keras_wsol.cam.guided_filter import check_filter, guided_filter

DEFAULTS = {"strength": 0.5, "radius": 0.125, "epsilon": 1e-3, "step": 4}


def check_guided_filter(options: Mapping[str, float] | None) -> dict[str, float]:
    """Checks the options of a guided filter and fills in what they leave out."""
    filled = fill_options("guided_filter_options", options, DEFAULTS)
    strength = check_number("strength", filled.pop("strength"))
    return {"strength": strength, **check_filter(**filled)}


def follow_edges(
    maps: Any,
    images: Any,
    strength: float = DEFAULTS["strength"],
    **options: Any,
) -> Any:
    """Mixes score maps with their guided filter, and scales them to [0, 1] again."""
    maps = ops.convert_to_tensor(maps, dtype="float32")
    filtered = guided_filter(maps, images, **options)
    mixed = ops.relu(maps + strength * (filtered - maps))
    _, count, height, width = maps.shape
    flat = scale_to_unit(ops.reshape(mixed, (-1, height, width)))
    return ops.reshape(flat, (-1, count, height, width))
