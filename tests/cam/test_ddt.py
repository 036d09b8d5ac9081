"""Maps of the features alone: channel mean and DDT, and the sums DDT is fitted by."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam.ddt import NOTHING, ddt_of, joined, principal_directions, scatter_of
from keras_wsol.cam.score_map import Evidence
from tests.reference import score_map_numpy


def random_features(shape=(2, 3, 5, 4), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + rng.normal(size=shape[-1])).astype("float32")


def channel_mean(features):
    evidence = Evidence(
        split=None, images=None, features=features, logits=None, around=[]
    )
    return cam.ChannelMean().maps(evidence)


def direction_of(*batches):
    return principal_directions(scatter_of(iter(batches)), 1)[0]


def test_channel_mean():
    features = random_features()
    found = ops.convert_to_numpy(channel_mean(features))
    assert found.shape == (2, 1, 3, 5)
    for b, y, x in np.ndindex(2, 3, 5):
        expected = sum(features[b, y, x]) / 4
        np.testing.assert_allclose(found[b, 0, y, x], expected, rtol=1e-5)


def test_dead_features_make_an_empty_map():
    raw = channel_mean(np.zeros((2, 3, 5, 4), "float32"))
    assert not ops.convert_to_numpy(cam.score_maps(raw, (6, 7))).any()


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_parts_give_what_all_cells_do(far):
    # Far from zero, a sum of squares would lose all digits.
    rng = np.random.default_rng(0)
    # The last part is summed in three.
    parts = [rng.normal(size=(n, 3)) + far + n % 7 for n in (5, 0, 1, 8, 9000)]
    found = NOTHING
    for part in parts:
        found = joined(found, part)
    count, mean, scatter = found
    cells = np.concatenate(parts)
    assert count == 9014
    np.testing.assert_allclose(mean, cells.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scatter / 9014, np.cov(cells.T, bias=True), atol=2e-6)
    assert NOTHING[0] == NOTHING[1].sum() == NOTHING[2].sum() == 0


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_direction_of_batches_is_that_of_all_at_once(far):
    # Batches of other sizes; far from zero, a sum of squares would lose all digits.
    shapes = [(2, 3, 5, 4), (1, 6, 7, 4), (0, 3, 5, 4), (3, 3, 5, 4)]
    batches = [random_features(shape, seed) for seed, shape in enumerate(shapes)]
    batches = [batch.astype("float64") + far for batch in batches]
    batches[1][..., 2] += 3
    mean, direction, share = score_map_numpy.principal_component(batches)
    found = direction_of(*batches)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.direction, direction, atol=1e-6)
    np.testing.assert_allclose(found.share, share, rtol=1e-6)
    assert sum(found.direction) > 0


def test_the_further_directions_are_those_of_all_at_once():
    batches = [random_features(seed=seed) for seed in (3, 4)]
    found = principal_directions(scatter_of(batches), 3)
    assert found[0].direction == direction_of(*batches).direction
    assert len(found) == 3
    for place, ddt in enumerate(found):
        mean, direction, share = score_map_numpy.principal_component(batches, place)
        np.testing.assert_allclose(ddt.mean, mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ddt.direction, direction, atol=1e-5)
        np.testing.assert_allclose(ddt.share, share, rtol=1e-5)


def test_ddt_equals_the_loops():
    batches = [random_features(seed=seed) for seed in (3, 4)]
    fitted = direction_of(*batches)
    mean, direction, _ = score_map_numpy.principal_component(batches)
    expected = score_map_numpy.ddt(batches[1], mean, direction)
    assert expected.min() < 0
    signed = cam.DDT(fitted.mean, fitted.direction, relu=False).project(batches[1])
    signed = ops.convert_to_numpy(signed)
    np.testing.assert_allclose(signed, expected, atol=1e-5)
    cut = ops.convert_to_numpy(fitted.project(batches[1]))
    np.testing.assert_array_equal(cut, np.maximum(signed, 0))


def test_the_roots_of_features():
    batches = [random_features(seed=seed) for seed in (3, 4)]
    assert batches[1].min() < 0
    found = ddt_of(batches, "deep", root=True)
    roots = [np.sign(each) * np.abs(each) ** 0.5 for each in batches]
    mean, direction, share = score_map_numpy.principal_component(roots)
    np.testing.assert_allclose(found.direction, direction, atol=1e-5)
    assert (found.layer, found.root) == ("deep", True)
    assert found.share == pytest.approx(share, rel=1e-5)
    expected = np.maximum(score_map_numpy.ddt(roots[1], mean, direction), 0)
    maps = ops.convert_to_numpy(found.project(batches[1]))
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    with pytest.raises(TypeError, match="`root` must be a boolean"):
        cam.DDT((1.0,), (1.0,), root=1)


def test_the_direction_rises_with_the_channel_mean():
    batches = [np.maximum(random_features(seed=seed), 0) for seed in (5, 6)]
    fitted = direction_of(*batches)
    signed = cam.DDT(fitted.mean, fitted.direction, relu=False)
    signed = [signed.project(batch) for batch in batches]
    means = [channel_mean(batch) for batch in batches]
    signed, means = (
        np.concatenate([ops.convert_to_numpy(x).ravel() for x in maps])
        for maps in (signed, means)
    )
    assert np.corrcoef(signed, means)[0, 1] > 0


@pytest.mark.parametrize(
    "batches", [[], [np.ones((2, 3, 5, 4))], [[[[[np.nan, 1.0]]]]]]
)
def test_features_that_do_not_vary_have_no_direction(batches):
    with pytest.raises(ValueError, match="finite features that differ"):
        direction_of(*[np.array(batch) for batch in batches])


def test_other_features_are_refused():
    fitted = direction_of(random_features((2, 3, 5, 6)))
    with pytest.raises(ValueError, match=r"the 4 channels.*fitted to 6"):
        fitted.project(random_features())
    with pytest.raises(ValueError, match=r"as many numbers\. Received: 2 and 1"):
        cam.DDT((1.0, 2.0), (1.0,))


def test_it_survives_its_configuration():
    fitted = direction_of(random_features())
    config = keras.saving.serialize_keras_object(fitted)
    again = keras.saving.deserialize_keras_object(config)
    assert vars(again) == vars(fitted)
    of_arrays = cam.DDT(np.float32(fitted.mean), np.float32(fitted.direction))
    assert of_arrays.get_config()["mean"] == list(fitted.mean)
