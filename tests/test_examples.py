"""What the examples do with the model that they are given."""

import argparse
import csv
from pathlib import Path

import keras
import numpy as np
import pseudo_labels
from smoke_data import write_image_folder

from keras_wsol import cam, data, models


def test_pseudo_labels_are_the_boxes_of_the_localizer_that_is_given(tmp_path):
    # Issue 18: a plain CAM was made of it, and a quarter of the boxes went wrong.
    root = write_image_folder(tmp_path / "images", per_class=2)
    images = data.image_folder(root)
    model = models.build_classifier(
        "mobilenet",
        num_classes=images.num_classes,
        weights=None,
        input_shape=(96, 96, 3),  # that of the images: none is resized
        backbone_options={"alpha": 0.25},
        class_names=images.class_names,
    )
    given = models.Localizer(model, 0.35, score_map=cam.ChannelMean("conv_pw_3_relu"))
    given.save(tmp_path / "localizer.keras")
    loaded = keras.saving.load_model(tmp_path / "localizer.keras", compile=False)
    out = tmp_path / "labels.csv"
    options = argparse.Namespace(
        boxes=None, cam_threshold=None, format="csv", out=str(out), min_score=0.0
    )
    pseudo_labels.label(loaded, root, options)
    with out.open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    (batch,) = images.evaluation_batches(6, image_size=given.input_size)
    found = given.predict_on_batch(batch)["boxes"][:, 0]
    for path, box in zip(images.paths, found, strict=True):
        row = [float(rows[Path(path).name][name]) for name in ("x0", "y0", "x1", "y1")]
        np.testing.assert_allclose(row, box, atol=0.01)
