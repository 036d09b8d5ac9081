"""The pictures in a row of `show_masks`: one of each thing a layer looks at."""

from dataclasses import dataclass

import numpy as np

from keras_wsol.viz.channel_bars import channel_bars
from keras_wsol.viz.layer_views import LayerView
from keras_wsol.viz.overlays import overlay

RAISED_COLOR = (255, 221, 0)
"""Yellow: cells whose mask is above 1."""

COLUMNS = 6

_ALPHA = 0.55  # share of the colours of a map over the image
_LIGHT_OF_DROPPED = 0.12


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskCell:
    """A picture and the two lines below it.

    Attributes:
        title: What the picture shows.
        note: Numbers to it, or `"none"`.
        pixels: `uint8` array of the image's size, or `None` for a blank.
    """

    title: str
    note: str = "none"
    pixels: np.ndarray | None = None


def mask_cells(image: np.ndarray, view: LayerView) -> list[MaskCell]:
    """Draws what a layer makes of an image."""
    if "position_map" in view.maps:
        middle = _dfm_cells(image, view)
    else:
        middle = _attention_cells(image, view)
    shown = MaskCell(title="image", note="", pixels=image)
    return [shown, *middle, _output_cell(image, view), _channel_cell(image, view)]


def nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarges an array `(h, w)` so that each of its cells can be seen."""
    rows = (2 * np.arange(height) + 1) * values.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * values.shape[1] // (2 * width)
    return values[rows[:, None], columns]


def paint_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Darkens the cells that a mask drops and tints yellow those that it raises."""
    cells = nearest(mask, *image.shape[:2])[:, :, None]
    tinted = 0.45 * image + 0.55 * np.array(RAISED_COLOR)
    picture = np.where(cells > 1, tinted, image)
    picture = np.where(cells == 0, _LIGHT_OF_DROPPED * image, picture)
    return np.rint(picture).astype(np.uint8)


def _attention_cells(image: np.ndarray, view: LayerView) -> list[MaskCell]:
    maps, settings = view.maps, view.settings
    importance, mask = MaskCell(title="importance map"), MaskCell(title="drop mask")
    attention = _smooth_cell("attention", image, view.attention)
    if "importance_map" in maps and settings.get("use_importance_map", True):
        values = maps["importance_map"][..., 0]
        importance = _smooth_cell("importance map", image, values, low=0.5, high=1.0)
    if "drop_mask" in maps and settings.get("use_drop_mask", True):
        values = maps["drop_mask"][..., 0]
        note = f"{_share(values == 0)} of {values.size} cells"
        mask = MaskCell(title="drop mask", note=note, pixels=paint_mask(image, values))
    return [attention, importance, mask]


def _dfm_cells(image: np.ndarray, view: LayerView) -> list[MaskCell]:
    titles = ("position enhancement", "position mask", "position map")
    if view.settings["branches"] == "channel":
        return [MaskCell(title=title) for title in titles]
    enhancement = view.maps["position_enhancement"][..., 0]
    mask = view.maps["position_mask"][..., 0]
    fused = view.maps["position_map"].mean(axis=-1)
    note = f"{_share(mask == 0)} out, {_share(mask > 1)} raised"
    return [
        _smooth_cell(titles[0], image, enhancement, high=1.0),
        MaskCell(title=titles[1], note=note, pixels=paint_mask(image, mask)),
        _blocky_cell(titles[2], image, fused, fused.max(), _range(fused)),
    ]


def _output_cell(image: np.ndarray, view: LayerView) -> MaskCell:
    # On the attention's scale, so that what is lost can be seen.
    high = max(view.attention.max(), view.output.max())
    note = "masked" if view.is_masked else "at inference"
    note += f", {_range(view.output)}"
    return _blocky_cell("output", image, view.output, high, note)


def _channel_cell(image: np.ndarray, view: LayerView) -> MaskCell:
    size = image.shape[:2]
    count = view.channels.size
    if "eligible" in view.maps:
        picked = view.maps["eligible"].ravel() > 0
        bars = channel_bars(np.abs(view.channels), picked, *size)
        note = f"{picked.sum()} of {count} eligible"
    elif "channel_mask" in view.maps and view.settings["branches"] != "position":
        picked = view.maps["channel_mask"].ravel() == 0
        bars = channel_bars(view.channels, picked, *size)
        note = f"{picked.sum()} of {count} masked"
    else:
        return MaskCell(title="channels")
    return MaskCell(title="channels", note=note, pixels=bars)


def _smooth_cell(
    title: str,
    image: np.ndarray,
    values: np.ndarray,
    low: float = 0.0,
    high: float | None = None,
) -> MaskCell:
    high = values.max() if high is None else high
    pixels = overlay(image, _scaled(values, low, high), _ALPHA)
    return MaskCell(title=title, note=_range(values), pixels=pixels)


def _blocky_cell(
    title: str, image: np.ndarray, values: np.ndarray, high: float, note: str
) -> MaskCell:
    cells = nearest(_scaled(values, 0.0, high), *image.shape[:2])
    return MaskCell(title=title, note=note, pixels=overlay(image, cells, _ALPHA))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Brings values to [0, 1]; all to 0 where none is above `low`."""
    if not high > low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _range(values: np.ndarray) -> str:
    return f"{_short(values.min())} to {_short(values.max())}"


def _short(number: float) -> str:
    """Two decimals below 10, none above 100."""
    text = f"{number:.{2 if abs(number) < 10 else 1 if abs(number) < 100 else 0}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _share(cells: np.ndarray) -> str:
    return f"{100 * cells.mean():.0f} %"
