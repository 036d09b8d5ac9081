"""What a localizer finds in an image, kept so that its maps can be cut again."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
import keras
import numpy as np
from PIL import Image, ImageOps

import keras_wsol as wsol

SHOWN = (800, 800)  # what a picture on the page fits into, in pixels
MAPS = {
    "Class activation map": "cam",
    "CAM without negative weights": wsol.cam.CAM(negative_weights=False),
    "Grad-CAM": "grad_cam",
}
Localizers = Mapping[str, wsol.Localizer]


@dataclass(frozen=True)
class Seen:
    """What is found in an image."""

    picture: np.ndarray  # uint8 (h, w, 3), as large as the page shows it
    size: tuple[int, int]  # height and width of the image
    classes: dict[str, float]  # name to probability
    maps: dict[str, np.ndarray]  # name to float32 (h, w) in [0, 1]


def by_map(localizer: wsol.Localizer) -> Localizers:
    """Returns the localizer, and others of its classifier with a map that it allows."""
    found = {f"The model's own: {type(localizer.score_map).__name__}": localizer}
    for name, score_map in MAPS.items():
        try:
            found[name] = wsol.Localizer(localizer.model, score_map=score_map)
        except ValueError as error:  # such as a head that is not one layer
            print(f"Not offered: {name}. {error}")
    return found


def look(localizers: Localizers, path: str | None) -> Seen | None:
    """Passes an image through the network, once a map."""
    if path is None:
        return None
    own, *others = localizers.values()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, folder)
        try:
            images = wsol.data.image_files(folder)
        except ValueError as error:
            gr.Warning(str(error))
            return None
        picture = Image.fromarray(images.image(0))
        (batch,) = images.evaluation_batches(1, image_size=own.input_size)
    pixels = batch["images"]
    first = own.find_maps(pixels)
    # One class for all maps: `SecondLook` may have another than its classifier.
    class_ids = first["class_ids"][:, :1]
    found = [first, *(each.find_maps(pixels, class_ids) for each in others)]
    maps = [keras.ops.convert_to_numpy(each["score_maps"])[0, 0] for each in found]
    scores = keras.ops.convert_to_numpy(keras.ops.softmax(first["logits"]))[0].tolist()
    names = wsol.models.class_names_of(own.model) or range(len(scores))
    return Seen(
        picture=np.asarray(ImageOps.contain(picture, SHOWN)),
        size=(picture.height, picture.width),
        classes=dict(zip(map(str, names), scores, strict=True)),
        maps=dict(zip(localizers, maps, strict=True)),
    )


def show(seen: Seen | None, name: str, threshold: float) -> tuple[Any, Any, str]:
    """Cuts a map of an image: picture, classes and box. No network is asked."""
    if seen is None:
        return None, None, ""
    scores = seen.maps[name]
    box = wsol.boxes.largest_boxes(scores[None], threshold)
    box = keras.ops.convert_to_numpy(box)[0] / np.tile(scores.shape[::-1], 2)
    shown = box * np.tile(seen.picture.shape[1::-1], 2)
    picture = wsol.viz.overlay(seen.picture, scores, shown[None])
    words = ", ".join(f"{side:.0f}" for side in box * np.tile(seen.size[::-1], 2))
    return picture, seen.classes, words if box.any() else "nothing found"
