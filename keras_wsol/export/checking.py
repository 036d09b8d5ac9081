"""Does a SavedModel say what its Keras model says?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.models import Localizer

# Outputs to their largest allowed difference. Scores and score maps lie in [0, 1],
# boxes are in pixels; float32 sums in another order move them by about 1e-5.
TOLERANCES = {
    "class_ids": 0.0,
    "scores": 1e-4,
    "boxes": 0.5,
    "score_maps": 1e-3,
    "valid": 0.0,
}


@dataclass(frozen=True)
class SavedModelCheck:
    """How far a SavedModel is from its Keras model.

    Attributes:
        num_images: Images compared.
        largest_differences: Output name to the largest absolute difference.
        tolerances: Output name to the largest difference that is allowed.
    """

    num_images: int
    largest_differences: dict[str, float]
    tolerances: dict[str, float]

    @property
    def ok(self) -> bool:
        """Whether every difference is within its tolerance."""
        return all(
            self.largest_differences[name] <= limit
            for name, limit in self.tolerances.items()
        )


def check_saved_model(
    path: str | Path, images: Sequence[Any], localizer: Localizer | str | Path
) -> SavedModelCheck:
    """Runs a SavedModel and its Keras model on the same images.

    Args:
        path: Folder of the SavedModel.
        images: Images `(H, W, 3)` in [0, 255], of any sizes, at least one.
        localizer: The localizer that was exported, or its `.keras` file.

    Returns:
        The differences. `ok` tells whether they are rounding.

    Raises:
        ValueError: There is no image.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        check = check_saved_model("saved_models/birds/1", images, "birds.keras")
        assert check.ok, check.largest_differences
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "A SavedModel is compared on the TensorFlow backend. The backend is "
            f"{keras.backend.backend()!r}."
        )
    import tensorflow as tf

    if len(images) == 0:
        raise ValueError("`images` must hold at least one image. Received none.")
    if not isinstance(localizer, keras.Model):
        localizer = keras.saving.load_model(localizer)
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    largest = dict.fromkeys(TOLERANCES, 0.0)
    for image in images:
        batch = np.asarray(image, "float32")[None]
        saved, expected = serve(tf.constant(batch)), localizer(batch)
        for name in largest:
            one, other = (
                keras.ops.convert_to_numpy(outputs[name]).astype("float64")
                for outputs in (saved, expected)
            )
            if one.shape != other.shape:
                raise ValueError(
                    f"The SavedModel's `{name}` has shape {one.shape}, the Keras "
                    f"model's {other.shape}: they are not the same model."
                )
            largest[name] = max(largest[name], float(np.abs(one - other).max()))
    return SavedModelCheck(len(images), largest, dict(TOLERANCES))
