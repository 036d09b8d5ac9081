"""Does a SavedModel say what its Keras model says?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.export.full_precision import in_float32
from keras_wsol.export.model_card import MODEL_CARD
from keras_wsol.export.static_graph import as_localizer
from keras_wsol.models import Localizer

# Outputs to their largest allowed difference. Scores and score maps lie in [0, 1];
# float32 sums in another order move them by about 1e-5. Boxes are compared in cells,
# pixels of the model's input size: rounding may carry a cell over the threshold, and in
# a photograph of 4000 pixels one cell of 224 is 18 pixels.
TOLERANCES = {
    "class_ids": 0.0,
    "scores": 1e-4,
    "boxes": 1.01,
    "score_maps": 1e-3,
    "valid": 0.0,
    "component_boxes": 1.01,
    "component_scores": 1e-3,
    "num_components": 0.0,
}
SIGNATURES = ("serving_default", "serve_uint8", "serve_bytes")
_BOXES = ("boxes", "component_boxes")

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class SavedModelCheck:
    """How far a SavedModel is from its Keras model.

    Attributes:
        num_images: Images compared.
        by_signature: Signature to output name to the largest absolute difference; NaN
            where either gives one. That of boxes is in cells, pixels of the model's
            input size.
        tolerances: Output name to the largest difference that is allowed.
    """

    num_images: int
    by_signature: Mapping[str, Mapping[str, float]]
    tolerances: Mapping[str, float]

    @property
    def largest_differences(self) -> dict[str, float]:
        """Output name to the largest difference of all signatures."""
        found = list(self.by_signature.values())
        return {
            name: float(np.max([differences[name] for differences in found]))
            for name in found[0]
        }

    @property
    def ok(self) -> bool:
        """Whether every difference is within its tolerance."""
        return all(
            difference <= self.tolerances[name]  # which NaN is not
            for name, difference in self.largest_differences.items()
        )


def check_saved_model(
    path: str | Path, images: Sequence[Any], localizer: keras.Model | str | Path
) -> SavedModelCheck:
    """Runs a SavedModel and its Keras model on the same images.

    Each image is sent as it is, in float32; rounded to uint8; and as a PNG file. Of a
    PNG with more pixels than the `max_pixels` in the SavedModel's `model_card.json`,
    zeros are expected.

    Args:
        path: Folder of the SavedModel.
        images: Images `(H, W, 3)` in [0, 255], of any sizes, at least one.
        localizer: What was exported, a localizer or a classifier; or its `.keras`
            file. It computes in float32 here, as the SavedModel does.

    Returns:
        The differences. `ok` tells whether they are rounding.

    Raises:
        ValueError: There is no image; or the two have other outputs, or outputs of
            other shapes.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        check = check_saved_model("saved_models/birds/1", images, "birds.keras")
        assert check.ok, check.by_signature
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
        localizer = keras.saving.load_model(localizer, compile=False)
    localizer = in_float32(as_localizer(localizer))
    served = tf.saved_model.load(str(path)).signatures
    missing = sorted(set(SIGNATURES) - set(served))
    if missing:
        raise ValueError(
            f"{path} must be a SavedModel of `export_saved_model`. It lacks the "
            f"signatures {missing}."
        )
    max_pixels = _max_pixels(Path(path))
    worst: dict[str, dict[str, float]] = {name: {} for name in SIGNATURES}
    for image in (np.asarray(image, "float32") for image in images):
        calls = _calls(image, localizer, max_pixels)
        cell = np.array(image.shape[:2]) / localizer.input_size
        for signature, (inputs, expected) in calls.items():
            found = _as_numpy(served[signature](**inputs))
            _add(worst[signature], _differences(found, expected, cell))
    return SavedModelCheck(len(images), worst, tolerances_of(localizer))


def tolerances_of(localizer: Localizer) -> dict[str, float]:
    """Returns the largest allowed difference of each output of a localizer."""
    # A cell at the threshold moves the crop of a second look, and so the scores.
    return {**TOLERANCES, "scores": 1e-2} if localizer.second_look else dict(TOLERANCES)


def _calls(
    image: np.ndarray, localizer: Localizer, max_pixels: float
) -> dict[str, tuple[dict[str, Any], Outputs]]:
    """Signature to what it is sent and what it has to give."""
    import tensorflow as tf

    rounded = np.clip(np.rint(image), 0, 255).astype("uint8")
    png = tf.io.encode_png(rounded)
    of_image, of_rounded = (_as_numpy(localizer(x[None])) for x in (image, rounded))
    of_png = of_rounded
    if image.shape[0] * image.shape[1] > max_pixels:
        of_png = {name: np.zeros_like(value) for name, value in of_png.items()}
    return {
        "serving_default": ({"images": tf.constant(image[None])}, of_image),
        "serve_uint8": ({"images": tf.constant(rounded[None])}, of_rounded),
        "serve_bytes": ({"image_bytes": png[None]}, of_png),
    }


def _as_numpy(outputs: dict[str, Any]) -> Outputs:
    return {
        name: keras.ops.convert_to_numpy(value).astype("float64")
        for name, value in outputs.items()
        if name != "class_names"
    }


def _differences(found: Outputs, expected: Outputs, cell: np.ndarray) -> Outputs:
    """Output name to absolute differences, those of boxes in cells."""
    if set(found) != set(expected):
        raise ValueError(
            f"The SavedModel's outputs are {sorted(found)}, the Keras model's "
            f"{sorted(expected)}: they are not the same model."
        )
    differences = {}
    for name, value in expected.items():
        if found[name].shape != value.shape:
            raise ValueError(
                f"The SavedModel's `{name}` has shape {found[name].shape}, the Keras "
                f"model's {value.shape}: they are not the same model."
            )
        unit = np.tile(cell[::-1], 2) if name in _BOXES else 1.0
        differences[name] = np.abs(found[name] - value) / unit
    return differences


def _add(worst: dict[str, float], differences: Outputs) -> None:
    # `np.max` gives NaN where there is one; Python's `max` may lose it.
    for name, values in differences.items():
        worst[name] = float(np.max([worst.get(name, 0.0), np.max(values)]))


def _max_pixels(path: Path) -> float:
    card = path / MODEL_CARD
    if not card.is_file():
        return float("inf")
    return json.loads(card.read_text(encoding="utf-8")).get("max_pixels", float("inf"))
