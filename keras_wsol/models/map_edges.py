"""Score maps whose edges follow those of the image."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from keras_wsol.cam import scale_to_unit
from keras_wsol.cam.guided_filter import check_filter, guided_filter
from keras_wsol.layers.arguments import check_number, fill_options

DEFAULTS = {"strength": 0.5, "radius": 0.125, "epsilon": 1e-3, "step": 4}


def check_guided_filter(options: Mapping[str, float] | None) -> dict[str, float]:
    """Checks the options of a guided filter and fills in what they leave out.

    Args:
        options: `"strength"`, `"radius"`, `"epsilon"` and `"step"`, each optional;
            `None` is none of them.

    Returns:
        All four, as numbers of Python.

    Raises:
        TypeError: They are no dictionary, or an option has another type.
        ValueError: An option is unknown or out of range.

    Example:
    >>> check_guided_filter({"strength": 1.0})["radius"]
    0.125
    """
    filled = fill_options("guided_filter_options", options, DEFAULTS)
    strength = check_number("strength", filled.pop("strength"))
    return {"strength": strength, **check_filter(**filled)}


def follow_edges(
    maps: Any,
    images: Any,
    strength: float = DEFAULTS["strength"],
    **options: Any,
) -> Any:
    """Mixes score maps with their guided filter, and scales them to [0, 1] again.

    Args:
        maps: float32 `(B, K, H, W)` in [0, 1].
        images: `(B, H, W, 3)` in [0, 255].
        strength: Float in [0, 1], share of the filtered map; what falls below 0
            becomes 0. Default 0.5 [ours: alone, the filtered map has worse boxes the
            larger the windows; see `examples/results/gallery.md`].
        **options: Of `cam.guided_filter`.

    Returns:
        float32 `(B, K, H, W)` in [0, 1]; an empty map stays empty.

    Raises:
        TypeError: As `cam.guided_filter`.
        ValueError: As `cam.guided_filter`.

    Example:
    >>> maps = [[[[0.0, 0.25, 0.75, 1.0]]]]
    >>> black = ops.zeros((1, 1, 4, 3))
    >>> edges = follow_edges(maps, black, strength=1.0, radius=1.0, step=1)
    >>> [round(value, 2) for value in ops.convert_to_numpy(edges)[0, 0, 0].tolist()]
    [0.0, 0.27, 0.73, 1.0]
    """
    maps = ops.convert_to_tensor(maps, dtype="float32")
    filtered = guided_filter(maps, images, **options)
    mixed = ops.relu(maps + strength * (filtered - maps))
    _, count, height, width = maps.shape
    flat = scale_to_unit(ops.reshape(mixed, (-1, height, width)))
    return ops.reshape(flat, (-1, count, height, width))
