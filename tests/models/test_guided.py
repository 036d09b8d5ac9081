"""Localizers whose score maps follow the edges of the image."""

import keras
import numpy as np
import pytest

from keras_wsol.cam import CAM, GradCAM, Guided
from keras_wsol.models import Localizer
from tests.boxes.opencv_components import components
from tests.models.painted import blob_images, expected_maps, painted_classifier
from tests.reference import cam_numpy, guided_filter_numpy

SIZE = (24, 36)  # of the classifier


def expected_map(score_map, image, strength, reach, epsilon, grid):
    """The mixture of one score map with its filter, in [0, 1]."""
    filtered = guided_filter_numpy.fast_guided_filter(
        score_map, image / 255.0, reach, epsilon, grid
    )
    mixed = (1 - strength) * score_map + strength * filtered
    return cam_numpy.scale_to_unit(np.maximum(mixed, 0))


@pytest.mark.parametrize("size", [SIZE, (30, 40)])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.5, 1, 1e-3, (6, 9))),
        (
            {"strength": 1.0, "radius": 0.25, "epsilon": 0.01, "step": 2},
            (1.0, 3, 0.01, (12, 18)),
        ),
    ],
)
def test_equals_numpy_and_opencv(size, options, expected):
    model, images = painted_classifier(), blob_images(3, size)
    _, logits, plain = expected_maps(model, images)
    localizer = Localizer(model, 0.6, top_k=2, score_map=Guided("cam", **options))
    found = localizer(images)
    for i, image in enumerate(images):
        resized = image.astype("float64")
        if size != SIZE:
            resized = cam_numpy.resize(resized, SIZE, antialias=True)
        for k, class_id in enumerate(np.argsort(-logits[i])[:2]):
            score_map = expected_map(plain[i, class_id], resized, *expected)
            ours = keras.ops.convert_to_numpy(found["score_maps"][i, k])
            np.testing.assert_allclose(ours, score_map, atol=1e-3)
            assert np.abs(ours - plain[i, class_id]).max() > 0.01
            box = components(ours > np.float32(0.6) * ours.max())[0].box
            scale = np.tile(np.array(size[::-1]) / SIZE[::-1], 2)
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(found["boxes"][i, k]), box * scale, rtol=1e-5
            )


def test_an_empty_map_stays_empty():
    images = blob_images(2, SIZE)
    images[1] = 77
    localizer = Localizer(painted_classifier(), score_map=Guided("cam"))
    found = keras.ops.convert_to_numpy(
        localizer(images, np.array([[-1, 3]] * 2))["score_maps"]
    )
    assert found.max(axis=(2, 3)).tolist() == [[0, pytest.approx(1)], [0, 0]]


def test_saved_and_loaded_it_is_equal_to_the_bit(tmp_path):
    inner = GradCAM(layer="features", relu=False)
    guided = Guided(inner, strength=0.75, radius=0.2, epsilon=0.01, step=2)
    localizer = Localizer(painted_classifier(), 0.3, score_map=guided)
    localizer.save(tmp_path / "localizer.keras")
    revived = keras.saving.load_model(tmp_path / "localizer.keras")
    assert repr(revived.score_map) == repr(guided)
    assert (guided.layer, guided.forward_only) == ("features", False)
    assert Guided("cam").forward_only
    images = blob_images(2, SIZE)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(revived(images)["score_maps"]),
        keras.ops.convert_to_numpy(localizer(images)["score_maps"]),
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"score_map": 1}, TypeError, "`score_map` must be one of"),
        ({"score_map": "sharp"}, ValueError, "`score_map` must be one of"),
        ({"strength": 2}, ValueError, "`strength` must be"),
        ({"radius": 0}, ValueError, "`radius` must be a number above 0"),
        ({"step": 0.5}, TypeError, "`step` must be an"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Guided(**{"score_map": CAM(), **arguments})
