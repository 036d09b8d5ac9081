"""Images and score maps as arrays that can be drawn on, at the size wanted."""

from typing import Any

import numpy as np

from keras_wsol.viz.colors import check_score_map


def to_rgb(image: Any) -> np.ndarray:
    """Returns an image as a new `uint8` array `(H, W, 3)`."""
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise ValueError(
            "`image` must have shape (H, W, 3), (H, W, 1) or (H, W). "
            f"Received: image.shape={np.shape(image)}."
        )
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise ValueError(
                "`image` must hold finite numbers in [0, 255]. Received NaN or "
                "infinite values."
            )
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels.copy()


def resize_rgb(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a `uint8` image, bilinear, half-pixel centres, antialiased."""
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    size = (width, height)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def resize_map(score_map: Any, height: int, width: int) -> np.ndarray:
    """Resizes a score map, bilinear, half-pixel centres, antialiased if it shrinks."""
    scores = check_score_map(score_map)
    if scores.shape == (height, width):
        return scores
    from PIL import Image

    # Pillow keeps float32 in this mode, so nothing is rounded to 256 levels.
    scores = Image.fromarray(scores).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(scores)
