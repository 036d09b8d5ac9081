"""Localizers whose score maps follow the edges of the image."""

import keras
import numpy as np
import pytest

from keras_wsol.models import Localizer
from keras_wsol.models.map_edges import follow_edges
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
    localizer = Localizer(
        model, 0.6, top_k=2, guided_filter=True, guided_filter_options=options
    )
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
    maps = np.zeros((1, 2, 16, 16), "float32")
    maps[0, 1, 4:9, 3:12] = 1.0
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3))
    found = keras.ops.convert_to_numpy(follow_edges(maps, images))
    assert not found[0, 0].any()
    assert found[0, 1].max() == pytest.approx(1, abs=1e-6)
    images = blob_images(1, SIZE)
    localizer = Localizer(painted_classifier(), guided_filter=True)
    assert not keras.ops.convert_to_numpy(
        localizer(images, np.array([-1]))["score_maps"]
    ).any()


def test_saved_and_loaded_it_is_equal_to_the_bit(tmp_path):
    options = {"strength": 0.75, "radius": 0.2, "epsilon": 0.01, "step": 2}
    localizer = Localizer(
        painted_classifier(), guided_filter=True, guided_filter_options=options
    )
    localizer.save(tmp_path / "localizer.keras")
    revived = keras.saving.load_model(tmp_path / "localizer.keras")
    assert revived.guided_filter
    assert revived.guided_filter_options == options
    images = blob_images(2, SIZE)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(revived(images)["score_maps"]),
        keras.ops.convert_to_numpy(localizer(images)["score_maps"]),
    )


def test_a_localizer_saved_before_there_was_a_filter_is_loaded():
    config = Localizer(painted_classifier()).get_config()
    del config["guided_filter"], config["guided_filter_options"]
    assert Localizer.from_config(config).guided_filter is False


def test_options_cannot_be_changed_unchecked():
    localizer = Localizer(painted_classifier(), guided_filter=True)
    localizer.guided_filter_options["radius"] = -3
    assert localizer.guided_filter_options["radius"] == 0.125


def test_the_second_look_crops_the_box_of_the_filtered_map():
    # Logits near one another, so that no probability is 0 or 1.
    kernel = np.random.default_rng(1).normal(size=(3, 7)) / 100
    model, images = painted_classifier(kernel=kernel), blob_images(8, SIZE)
    look = {"second_look": True, "second_look_options": {"cam_threshold": 0.7}}
    sharp = {"guided_filter": True, "guided_filter_options": {"strength": 1.0}}
    scores = Localizer(model, **look, **sharp)(images)["scores"]
    others = Localizer(model, **look)(images)["scores"]
    assert not np.allclose(*map(keras.ops.convert_to_numpy, (scores, others)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"guided_filter": 1}, TypeError, "`guided_filter` must be a boolean"),
        ({"guided_filter_options": [1]}, TypeError, "must be a dictionary"),
        (
            {"guided_filter_options": {"sigma": 1}},
            ValueError,
            r"may hold \['epsilon', 'radius', 'step', 'strength'\].*\['sigma'\]",
        ),
        ({"guided_filter_options": {"strength": 2}}, ValueError, "`strength` must be"),
        (
            {"guided_filter_options": {"radius": 0}},
            ValueError,
            "`radius` must be a number above",
        ),
        ({"guided_filter_options": {"step": 0.5}}, TypeError, "`step` must be an"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Localizer(painted_classifier(), **arguments)
