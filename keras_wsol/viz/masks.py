"""What the layers inserted into a model see in one image, and what they drop."""

import os
from typing import Any

import numpy as np

from keras_wsol.viz.layer_views import LayerView
from keras_wsol.viz.mask_cells import mask_cells
from keras_wsol.viz.mask_page import MaskPage
from keras_wsol.viz.pixels import to_rgb
from keras_wsol.viz.scaled import ScaledImage


def show_masks(
    model: Any,
    image: Any,
    *,
    cell_size: int = 160,
    font: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Shows what the inserted layers of a model see in an image and what they drop.

    A row for each layer, in the order of the model, from one forward pass at
    inference. The columns, with their numbers below:

    - the image;
    - *attention*: blue for 0 and below, red for the largest value of the map;
    - *importance map*: blue for 0.5, red for 1, so that rows can be compared;
    - *drop mask*: dropped cells are dark;
    - *output*: its mean over channels when the mask is used and every channel
      dropped that may be, on the scale of the attention, or up to its own largest
      value where that is above;
    - *channels*: the magnitude of each channel's mean, the largest on the left;
      orange ones may be dropped.

    `DFM` has others: *position enhancement* (blue for 0, red for 1); *position
    mask*, where cells that are raised above 1 are yellow; *position map* (blue for
    0, red for its largest value; its mean over channels); and the output with that
    map; orange channels are masked. What a layer does not have, or has switched
    off, stays blank. Layers that do not choose by attention, such as `DropBlock2D`,
    show their output at inference.

    The picture is the same at every call: nothing is drawn from the layers'
    generators, and the model stays as it is.

    Args:
        model: A functional model with layers of `keras_wsol.layers`, such as those
            of `build_classifier`, that takes images in [0, 255]; or a `Localizer`.
        image: Array `(H, W, 3)` in [0, 255], `uint8` or float, of any size.
        cell_size: Longer side of a picture in pixels, an integer from 64. Defaults
            to 160.
        font: Path of a TrueType or OpenType file. `None` (the default) takes the
            font inside Pillow, which has the letters of English only.

    Returns:
        `uint8` array `(height, width, 3)`; `save_png` writes it.

    Raises:
        ValueError: If the model has no such layer or is not functional, or
            `image` or `cell_size` is not as above.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "adl", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> picture = show_masks(model, np.zeros((40, 50, 3)))
    >>> picture.dtype, picture.shape[2]
    (dtype('uint8'), 3)
    """
    _check_arguments(image, cell_size)
    views = _views(model, image)
    shown = ScaledImage.fit(image, None, cell_size).pixels
    page = MaskPage(*shown.shape[:2], cell_size=cell_size, font=font)
    for view in views:
        page.add_row(view.headline(), mask_cells(shown, view))
    page.add_legend()
    return page.picture()


def _views(model: Any, image: Any) -> list[LayerView]:
    from keras_wsol.models.inspection import inserted_layers, probe_inserted

    layers = inserted_layers(model)
    if not layers:
        raise ValueError(
            "`model` must have at least one layer of keras_wsol.layers, such as ADL. "
            f"Received: a model with none of them, {model.name!r}. Layers inside a "
            "model that is a layer of it are not found: show that model."
        )
    features = probe_inserted(model, np.asarray(image)[None])
    return [LayerView.of(layer, features[layer.name]) for layer in layers]


def _check_arguments(image: Any, cell_size: int) -> None:
    shape = np.shape(image)
    if len(shape) != 3 or shape[2] != 3:
        hint = " For the first image of a batch, use image[0]." * (len(shape) == 4)
        raise ValueError(
            f"`image` must have shape (H, W, 3). Received: image.shape={shape}.{hint}"
        )
    if isinstance(cell_size, bool) or not isinstance(cell_size, int) or cell_size < 64:
        raise ValueError(
            "`cell_size` must be an integer from 64. "
            f"Received: cell_size={cell_size!r}."
        )
    to_rgb(image)  # raises if a value is not finite, before the model sees it
