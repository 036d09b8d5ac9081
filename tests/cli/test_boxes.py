"""`keras-wsol boxes`: what it builds, says and writes, and asks of `fit_localizer`."""

import json
import warnings

import pytest

from keras_wsol import models
from tests.cli.calling import call
from tests.cli.drawn_pets import IMAGES
from tests.labels.rectangles import localizer


@pytest.fixture
def fitted(monkeypatch):
    """What `fit_localizer` is given; it fits nothing."""
    given = []

    def fit(model, images, **options):
        warnings.warn("Look at  them.", stacklevel=2)
        given.append((model, images, options))
        return localizer(class_names=("object", "b", "c"))

    monkeypatch.setattr(models, "fit_localizer", fit, raising=False)
    return given


def test_boxes_without_training(fitted, pets, tmp_path):
    out = tmp_path / "boxes.json"
    words = ("boxes", "--images", pets.images, "--weights", "none", "--alpha", 0.25)
    shown = call(*words, "--image-size", 64, "--max-boxes", 2, "--out", out)
    assert shown.status == 0, shown.err
    assert shown.err == (
        f"Taken for granted: all {IMAGES - 2} images show one kind of object, which "
        "mobilenet with random weights tells from what is around it.\n"
        "Choosing what boxes are read from ...\n"
        "keras-wsol: warning: Look at them.\n"
    )
    [(model, images, options)] = fitted
    assert models.class_names_of(model) == ("object",)
    assert model.get_layer("conv1").filters == 8
    assert len(images) == IMAGES - 2
    assert options == {"input_sizes": [(64, 64)]}
    found = json.loads(out.read_text())
    assert found["categories"][0]["name"] == "object"
    assert f"Wrote {out}: {len(found['annotations'])} boxes of {IMAGES}" in shown.out
    again = call(*words, "--out", out)
    assert "error: " in again.err
    assert "overwrite" in again.err
    assert len(fitted) == 1  # before anything is built
