"""A saved model to a localizer."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_wsol.models import Localizer


def load_localizer(path: Path, cam_threshold: float | None = None) -> "Localizer":
    """Loads a localizer, or makes one of a classifier."""
    import keras

    from keras_wsol import models  # tells Keras the classes of this package

    try:
        model = keras.saving.load_model(path, compile=False)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} must be a .keras file of a model. It lacks a part: {error}."
        ) from error
    localizer = (
        model if isinstance(model, models.Localizer) else models.Localizer(model)
    )
    if cam_threshold is not None:
        localizer.cam_threshold = cam_threshold
    return localizer
