"""Fisher's discriminant between object and background, and its map."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from tests.reference import score_map_numpy


def two_kinds(shape, seed, far=0.0):
    """Features (B, h, w, C), and which cells come from the second kind."""
    rng = np.random.default_rng(seed)
    is_object = rng.random(shape[:3]) < 0.3
    features = rng.normal(size=shape) @ rng.normal(size=(shape[3], shape[3]))
    return features + far + is_object[..., None] * np.arange(shape[3]), is_object


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_discriminant_of_batches_is_that_of_all_at_once(far):
    # Far from zero, a sum of squares would lose all digits.
    shapes = [(2, 3, 5, 4), (1, 6, 7, 4), (0, 3, 5, 4), (3, 3, 5, 4)]
    batches = [two_kinds(shape, seed, far) for seed, shape in enumerate(shapes)]
    batches[1][1][...] = False  # a batch without an object
    cells = np.concatenate([each.reshape(-1, 4) for each, _ in batches])
    marks = np.concatenate([each.reshape(-1) for _, each in batches])
    weights, bias, share = score_map_numpy.discriminant(cells, marks, 0.1)
    found = cam.Foreground.from_cells(iter(batches))
    np.testing.assert_allclose(found.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-4)
    assert found.share == share
    other = cam.Foreground.from_cells(batches, shrinkage=1.0)
    np.testing.assert_allclose(
        other.weights,
        score_map_numpy.discriminant(cells, marks, 1.0)[0],
        rtol=1e-5,
    )


def test_it_is_the_logarithm_of_the_odds_of_normal_features():
    # One channel, spread 1, means 0 and 2, one cell in four the object's: the odds
    # at x are exp(2x - 2) / 3.
    rng = np.random.default_rng(0)
    is_object = rng.random((100, 20, 20)) < 0.25
    features = rng.normal(size=(100, 20, 20, 1)) + 2 * is_object[..., None]
    found = cam.Foreground.from_cells([(features, is_object)], 1e-6, relu=False)
    maps = found.project(np.array([[[[0.0], [2.0]]]]))
    expected = np.array([-2, 2]) - np.log(3)
    np.testing.assert_allclose(ops.convert_to_numpy(maps)[0, 0, 0], expected, atol=0.05)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_map_in_loops(dtype):
    features, _ = two_kinds((2, 3, 5, 4), 3)
    features = features.astype(dtype)
    found = cam.Foreground(weights=(1.0, -2.0, 0.5, 3.0), bias=-1.5)
    expected = np.zeros((2, 1, 3, 5))
    for b, y, x in np.ndindex(2, 3, 5):
        for c in range(4):
            expected[b, 0, y, x] += found.weights[c] * float(features[b, y, x, c])
    expected += found.bias
    assert expected.min() < 0 < expected.max()
    signed = replace(found, relu=False).project(features)
    assert keras.backend.standardize_dtype(signed.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(signed), expected, atol=1e-4)
    cut = ops.convert_to_numpy(found.project(features))
    np.testing.assert_allclose(cut, np.maximum(expected, 0), atol=1e-4)


@pytest.mark.parametrize(
    ("features", "is_object", "options", "message"),
    [
        (np.ones((1, 2, 2, 3)), np.eye(2)[None] > 0, {}, "finite features that differ"),
        (np.full((1, 2, 2, 3), np.nan), np.eye(2)[None] > 0, {}, "finite features"),
        (np.eye(4)[None, None], np.ones((1, 1, 4)) > 0, {}, "4 and 0"),
        (np.eye(4)[None, None], np.ones((1, 2, 2)) > 0, {}, r"\(1, 1, 4, 4\) and"),
        (np.eye(4)[None, None], np.ones((1, 1, 4)), {"shrinkage": 0}, "above 0"),
    ],
)
def test_bad_input(features, is_object, options, message):
    with pytest.raises(ValueError, match=message):
        cam.Foreground.from_cells([(features, is_object)], **options)


def test_other_channels():
    found = cam.Foreground(weights=(1.0, 2.0), bias=0.0)
    with pytest.raises(ValueError, match=r"the 3 channels.*fitted to 2"):
        found.project(np.ones((1, 2, 2, 3)))


def test_it_survives_its_configuration():
    found = cam.Foreground((1.0, 2.0), 0.5, layer="deep", relu=False, share=0.1)
    config = keras.saving.serialize_keras_object(found)
    assert vars(keras.saving.deserialize_keras_object(config)) == vars(found)
