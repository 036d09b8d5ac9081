"""C2AM on drawn creatures: it finds them, and its localizer is saved and exported."""

import keras
import numpy as np
import pytest

from keras_wsol import cam
from keras_wsol.evaluation import evaluate
from keras_wsol.export import model_card
from keras_wsol.models import Localizer
from tests.models.creatures import (
    CENTRE,
    LAYER,
    creatures,
    mean_iou,
    trained_classifier,
)


@pytest.fixture(scope="module")
def localizer():
    found = cam.C2AM.fit(trained_classifier(), creatures(), LAYER, steps=300)
    return Localizer(trained_classifier(), score_map=found)


def boxes_of(localizer, dataset):
    return localizer.predict(dataset.images, verbose=0)["boxes"][:, 0]


def test_it_finds_the_creatures(localizer):
    assert localizer.cam_threshold == 0.5
    test = creatures("train-fullsup", 60)
    found = mean_iou(boxes_of(localizer, test), test)
    assert found > mean_iou(CENTRE, test) + 0.1
    assert found > mean_iou(boxes_of(Localizer(trained_classifier()), test), test)


def test_saved_and_loaded_it_is_the_same(localizer, tmp_path):
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    assert isinstance(again.score_map, cam.C2AM)
    assert again.score_map.layer == LAYER
    np.testing.assert_array_equal(again.score_map.weights, localizer.score_map.weights)
    images = creatures("train-fullsup", 60)
    np.testing.assert_allclose(
        boxes_of(again, images), boxes_of(localizer, images), atol=1e-3
    )
    card = model_card(again)["score_map"]
    assert card == {"type": "C2AM", "bias": again.score_map.bias, "layer": LAYER}


def test_it_is_measured(localizer):
    report = evaluate(localizer, creatures("train-fullsup", 60), verbose=False)
    assert report.notes["score map"].startswith("C2AM(bias=")


def test_it_is_averaged_with_others(localizer):
    mean = cam.Mean((localizer.score_map, "cam"))
    images = creatures("train-fullsup", 60).images
    maps = [
        each.find_maps(images, class_ids=np.zeros(60, int))["score_maps"]
        for each in (
            Localizer(trained_classifier(), score_map=mean),
            localizer,
            Localizer(trained_classifier()),
        )
    ]
    both, one, other = (keras.ops.convert_to_numpy(x) for x in maps)
    raw = (np.sqrt(one) + np.sqrt(other)) / 2
    low, high = (f(raw, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    np.testing.assert_allclose(both, (raw - low) / (high - low), atol=1e-3)


def test_other_channels_are_refused(localizer):
    score_map = cam.C2AM(localizer.score_map.weights, 0.0, "relu1")
    with pytest.raises(ValueError, match=r"the 16 channels.*fitted to 32"):
        Localizer(trained_classifier(), score_map=score_map)
