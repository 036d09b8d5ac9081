"""Maps of the features alone: channel mean, EigenCAM, DDT."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from tests.reference import score_map_numpy


def random_features(shape=(2, 3, 5, 4), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + rng.normal(size=shape[-1])).astype("float32")


def test_channel_mean():
    features = random_features()
    found = ops.convert_to_numpy(cam.channel_mean(features))
    assert found.shape == (2, 1, 3, 5)
    for b, y, x in np.ndindex(2, 3, 5):
        expected = sum(features[b, y, x]) / 4
        np.testing.assert_allclose(found[b, 0, y, x], expected, rtol=1e-5)


# As many cells as channels, fewer, more.
@pytest.mark.parametrize("shape", [(2, 3, 5, 15), (3, 2, 5, 40), (2, 6, 7, 4)])
@pytest.mark.parametrize("relu", [True, False])
def test_eigen_cam_equals_the_svd_of_each_image(shape, relu):
    features = random_features(shape, seed=1)
    features = np.maximum(features, 0) if relu else features
    found = ops.convert_to_numpy(cam.eigen_cam(features))
    expected = score_map_numpy.eigen_cam(features)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    if relu:  # then all entries of the first singular vectors have one sign
        assert found.min() > -1e-4


@pytest.mark.parametrize("channels", [4, 40])
def test_an_image_with_nan_leaves_the_others(channels):
    features = random_features((3, 3, 5, channels), seed=2)
    expected = ops.convert_to_numpy(cam.eigen_cam(features))
    features[1, 2, 3, 0] = np.nan
    raw = cam.eigen_cam(features)
    found = ops.convert_to_numpy(raw)
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], atol=1e-5)
    scaled = ops.convert_to_numpy(cam.score_maps(raw, (7, 9)))
    assert scaled.max(axis=(1, 2, 3)).round(5).tolist() == [1, 0, 1]


def test_dead_features_make_an_empty_map():
    dead = np.zeros((2, 3, 5, 4), "float32")
    for raw in (cam.eigen_cam(dead), cam.channel_mean(dead)):
        assert not ops.convert_to_numpy(cam.score_maps(raw, (6, 7))).any()


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_component_of_batches_is_that_of_all_at_once(far):
    # Batches of other sizes; far from zero, a sum of squares would lose all digits.
    shapes = [(2, 3, 5, 4), (1, 6, 7, 4), (0, 3, 5, 4), (3, 3, 5, 4)]
    batches = [random_features(shape, seed) for seed, shape in enumerate(shapes)]
    batches = [batch.astype("float64") + far for batch in batches]
    batches[1][..., 2] += 3
    mean, vector, share = score_map_numpy.principal_component(batches)
    found = cam.principal_component(iter(batches))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.vector, vector, atol=1e-6)
    np.testing.assert_allclose(found.share, share, rtol=1e-6)
    assert sum(found.vector) > 0


def test_the_further_components_are_those_of_all_at_once():
    batches = [random_features(seed=seed) for seed in (3, 4)]
    found = cam.principal_components(iter(batches), 3)
    assert found[0] == cam.principal_component(batches)
    assert len(found) == 3
    for place, component in enumerate(found):
        mean, vector, share = score_map_numpy.principal_component(batches, place)
        np.testing.assert_allclose(component.mean, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(component.vector, vector, atol=1e-5)
        np.testing.assert_allclose(component.share, share, rtol=1e-5)


@pytest.mark.parametrize(("count", "limit"), [(0, "at least 1"), (5, "at most 4")])
def test_as_many_components_as_channels(count, limit):
    with pytest.raises(ValueError, match=f"`count` must be {limit}.*count={count}"):
        cam.principal_components([random_features()], count)


@pytest.mark.parametrize("count", [1.5, "2", True])
def test_how_many_components_is_an_integer(count):
    with pytest.raises(TypeError, match="`count` must be an integer"):
        cam.principal_components([random_features()], count)


def test_ddt_equals_the_loops():
    batches = [random_features(seed=seed) for seed in (3, 4)]
    component = cam.principal_component(batches)
    mean, vector, _ = score_map_numpy.principal_component(batches)
    expected = score_map_numpy.ddt(batches[1], mean, vector)
    assert expected.min() < 0
    signed = ops.convert_to_numpy(cam.ddt(batches[1], component, relu=False))
    np.testing.assert_allclose(signed, expected, atol=1e-5)
    cut = ops.convert_to_numpy(cam.ddt(batches[1], component))
    np.testing.assert_array_equal(cut, np.maximum(signed, 0))


def test_the_component_rises_with_the_channel_mean():
    batches = [np.maximum(random_features(seed=seed), 0) for seed in (5, 6)]
    component = cam.principal_component(batches)
    signed = [cam.ddt(batch, component, relu=False) for batch in batches]
    means = [cam.channel_mean(batch) for batch in batches]
    signed, means = (
        np.concatenate([ops.convert_to_numpy(x).ravel() for x in maps])
        for maps in (signed, means)
    )
    assert np.corrcoef(signed, means)[0, 1] > 0


@pytest.mark.parametrize(
    "batches", [[], [np.ones((2, 3, 5, 4))], [[[[[np.nan, 1.0]]]]]]
)
def test_features_that_do_not_vary_have_no_component(batches):
    with pytest.raises(ValueError, match="finite features that differ"):
        cam.principal_component([np.array(batch) for batch in batches])


def test_a_component_of_other_features_is_refused():
    component = cam.principal_component([random_features((2, 3, 5, 6))])
    with pytest.raises(ValueError, match=r"the 4 channels.*a component of 6"):
        cam.ddt(random_features(), component)


def test_a_component_survives_its_configuration():
    component = cam.principal_component([random_features()])
    config = keras.saving.serialize_keras_object(component)
    assert keras.saving.deserialize_keras_object(config) == component
