"""Fisher's discriminant between object and background, and its map."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam import foreground
from keras_wsol.cam.ddt import scatter_of
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
    found = cam.Foreground.from_cells(iter(batches), root=False)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-5)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-4)
    assert found.share == share
    other = cam.Foreground.from_cells(batches, shrinkage=1.0, root=False)
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
    options = {"relu": False, "root": False}
    found = cam.Foreground.from_cells([(features, is_object)], 1e-6, **options)
    maps = found.project(np.array([[[[0.0], [2.0]]]]))
    expected = np.array([-2, 2]) - np.log(3)
    np.testing.assert_allclose(ops.convert_to_numpy(maps)[0, 0, 0], expected, atol=0.05)


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_map_in_loops(dtype, root):
    features, _ = two_kinds((2, 3, 5, 4), 3)
    features = features.astype(dtype)
    found = cam.Foreground(weights=(1.0, -2.0, 0.5, 3.0), bias=-1.5, root=root)
    expected = np.zeros((2, 1, 3, 5))
    for b, y, x in np.ndindex(2, 3, 5):
        for c in range(4):
            value = float(features[b, y, x, c])
            value = np.sign(value) * abs(value) ** 0.5 if root else value
            expected[b, 0, y, x] += found.weights[c] * value
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


def test_from_cells_takes_the_roots_itself():
    features, is_object = two_kinds((2, 3, 5, 4), 3)
    roots = np.sign(features) * np.abs(features) ** 0.5
    weights, bias, _ = score_map_numpy.discriminant(roots, is_object, 0.1)
    found = cam.Foreground.from_cells([(features, is_object)])
    assert found.root
    np.testing.assert_allclose(found.weights, weights, rtol=1e-4)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-4)


def fitted(features, layer, rounds, root=True):
    scatter = scatter_of(features, root)
    begun = scatter, foreground.directions_of(scatter, layer, root)
    return foreground.foreground_of(features, rounds, 0.1, True, begun)


def test_one_sum_of_products_serves_all_guesses():
    # What lies within object and background is told from all cells and the means.
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:9, :11]
    spot = (abs(y - 4) < 3) & (abs(x - 5) < 3)
    features = [rng.gamma(1.0, size=(n, 9, 11, 40)) ** 2 for n in (70, 3)]
    for batch in features:
        batch += spot[None, ..., None] * np.linspace(0, 6, 40)
    found, tried = fitted(features, "deep", 3)
    assert (tried, found.layer, found.root) == (0, "deep", True)
    every = np.sqrt(np.concatenate(features))
    weights, bias, share = score_map_numpy.foreground(every, 3, 0.1)
    scale = np.abs(weights).max()
    np.testing.assert_allclose(found.weights, weights, rtol=1e-4, atol=1e-4 * scale)
    assert found.bias == pytest.approx(bias, rel=1e-4)
    assert found.share == share


def test_cells_that_are_two_points():
    # Nothing varies within object and background.
    features = np.zeros((2, 5, 6, 3), "float32")
    features[:, 1:3, 2:4] = (4.0, 9.0, 1.0)
    found, _ = fitted([features], None, 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(found.project(features))[:, 0] > 0, features[..., 0] > 0
    )


def test_other_channels():
    found = cam.Foreground(weights=(1.0, 2.0), bias=0.0)
    with pytest.raises(ValueError, match=r"the 3 channels.*fitted to 2"):
        found.project(np.ones((1, 2, 2, 3)))


def test_it_survives_its_configuration():
    found = cam.Foreground((1.0, 2.0), 0.5, layer="deep", relu=False, root=False)
    config = keras.saving.serialize_keras_object(found)
    assert vars(keras.saving.deserialize_keras_object(config)) == vars(found)
