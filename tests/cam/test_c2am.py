"""C2AM's losses, ranks and map beside loops, and what the fit makes of features."""

import json
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.cam import c2am
from tests.reference import c2am_numpy


def draws(shape=(5, 3, 4, 6), seed=0):
    """Features (B, h, w, C) and maps (B, h, w)."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(0.5, size=shape)
    return features.astype("float32"), rng.uniform(size=shape[:3]).astype("float32")


def loss_of(features, maps, alpha=0.05):
    found = c2am.parting_loss(features, ops.convert_to_tensor(maps[..., None]), alpha)
    return float(ops.convert_to_numpy(found))


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.75])
@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (2, 1, 3, 2), (16, 2, 2, 9)])
def test_the_losses_are_those_of_the_paper(shape, alpha):
    features, maps = draws(shape)
    expected = c2am_numpy.loss(features.astype("float64"), maps, alpha)
    assert loss_of(features, maps, alpha) == pytest.approx(expected, rel=1e-4)
    assert loss_of(features.astype("float16"), maps, alpha) == pytest.approx(
        expected, rel=1e-2
    )


def test_alpha_tells_near_pairs_from_far_ones():
    features, maps = draws()
    weights = [loss_of(features, maps, alpha) for alpha in (0.0, 0.05, 0.75)]
    # The pair of rank 1 has weight 1 whatever alpha is, those behind less.
    assert weights[0] > weights[1] > weights[2]


def test_ranks_by_hand():
    values = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.8]], "float32")
    found = ops.convert_to_numpy(c2am.ranks(ops.convert_to_tensor(values)))
    assert found.tolist() == [[0.0, 2.0, 1.0], [2.0, 0.0, 0.0]]


def test_the_loss_knows_no_scale_and_no_side():
    features, maps = draws()
    expected = loss_of(features, maps)
    scales = np.array([3, 0.01, 40, 1, 7], "float32")[:, None, None, None]
    assert loss_of(features * scales, maps) == pytest.approx(expected, rel=1e-5)
    assert loss_of(features, 1 - maps) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_least_where_the_map_is_the_object():
    is_object = np.zeros((3, 4, 5), bool)
    for image, (top, left) in zip(is_object, ((0, 1), (1, 2), (2, 0)), strict=True):
        image[top : top + 2, left : left + 3] = True
    kinds = np.array([[1.0, 0.1, 0.0], [0.0, 0.1, 1.0]])
    features = np.where(is_object[..., None], *kinds).astype("float32")
    best = loss_of(features, is_object.astype("float32"))
    for share in (0.3, 0.6, 0.9):
        other = np.where(is_object, 1.0, share).astype("float32")
        assert loss_of(features, other) > best
    assert loss_of(features, np.roll(is_object, 1, axis=2).astype("float32")) > best


def test_dead_features_have_a_finite_loss():
    features, maps = draws()
    features[2] = 0
    assert np.isfinite(loss_of(features, maps))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_map_in_loops(dtype):
    features, _ = draws()
    features = features.astype(dtype)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 6))
    found = cam.C2AM(kernel, bias=-0.7).project(features)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = c2am_numpy.sigmoid(c2am_numpy.logits(features, kernel) - 0.7)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found)[:, 0], expected, rtol=1e-4, atol=1e-5
    )


def test_the_normalization_is_that_of_all_images():
    features, _ = draws((21, 3, 4, 6))
    trained = c2am._parting((3, 4, 6), seed=3)
    convolution, normalization = trained.layers[1:3]
    normalization.gamma.assign([1.7])
    normalization.beta.assign([-0.4])
    kernel = ops.convert_to_numpy(convolution.kernel)[..., 0]
    raw = c2am_numpy.logits(features, kernel)
    scaled = 1.7 * (raw - raw.mean()) / np.sqrt(raw.var() + 1e-3) - 0.4
    expected = c2am_numpy.sigmoid(scaled)
    border = np.ones((3, 4), bool)
    border[1:-1, 1:-1] = False
    flipped = np.mean(expected[:, border].mean(axis=1) > 0.5) > 0.5
    found = cam.C2AM(*c2am._folded(trained, list(features))).project(features)
    expected = 1 - expected if flipped else expected
    np.testing.assert_allclose(ops.convert_to_numpy(found)[:, 0], expected, atol=1e-4)
    # The other sign of the kernel is the other side of the same map.
    convolution.kernel.assign(-convolution.kernel)
    normalization.beta.assign([0.4])
    again = cam.C2AM(*c2am._folded(trained, list(features))).project(features)
    np.testing.assert_allclose(
        ops.convert_to_numpy(again), ops.convert_to_numpy(found), atol=1e-5
    )


def test_the_border_votes_by_image():
    maps = np.full((5, 4, 5), -2.0)
    maps[:3, 0, :] = maps[:3, -1, :] = maps[:3, :, 0] = maps[:3, :, -1] = 0.3
    maps[:3, 1:3, 1:4] = -9
    assert c2am.border_votes(maps)  # three of five, though the mean is far below
    maps[0] = -2.0
    assert not c2am.border_votes(maps)
    inside = np.full((1, 4, 5), -2.0)
    inside[:, 1:3, 1:4] = 50
    assert not c2am.border_votes(inside)


def two_kinds(count=20, seed=0):
    """Features of two kinds, the object's well inside, and where it is."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(0.2, size=(count, 7, 9, 8))
    is_object = np.zeros((count, 7, 9), bool)
    for image in is_object:
        top, left = rng.integers((1, 1), (3, 4))
        image[top : top + 3, left : left + 4] = True
    features[..., 0] += 2 * is_object
    features[..., 1] += 2 * ~is_object
    return features.astype("float32"), is_object


def fitted(features, **options):
    """The fit to features that a classifier passes on."""
    x = images = keras.Input(features.shape[1:])
    x = keras.layers.Identity(name="given")(x)
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(images, x)
    return cam.C2AM.fit(model, [features[:7], features[7:]], **options)


@pytest.fixture(scope="module")
def found():
    return fitted(two_kinds()[0], steps=500)


def test_the_fit_parts_the_two_kinds(found):
    features, is_object = two_kinds(seed=1)
    maps = ops.convert_to_numpy(found.project(features))[:, 0]
    assert ((maps > 0.5) == is_object).mean() > 0.95
    # It is trained: the first weights do not part them.
    begun = fitted(two_kinds()[0], steps=1)
    maps = ops.convert_to_numpy(begun.project(features))[:, 0]
    assert ((maps > 0.5) == is_object).mean() < 0.8


@pytest.mark.slow
def test_the_seed_fixes_the_fit(found):
    features, _ = two_kinds()
    again = fitted(features, steps=500)
    np.testing.assert_allclose(again.weights, found.weights, rtol=1e-3, atol=1e-4)
    other = fitted(features, steps=500, seed=1)
    assert np.abs(other.weights - found.weights).max() > 0.01


def test_it_survives_its_configuration(found):
    config = keras.saving.serialize_keras_object(found)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    np.testing.assert_array_equal(again.weights, found.weights)
    assert (again.bias, again.layer) == (found.bias, found.layer)
    # Numbers of float32 take about twelve characters each, not twenty.
    numbers = json.dumps(found.get_config()["weights"])
    assert len(numbers) / found.weights.size < 15


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: fitted(f, alpha=-1), ValueError, "`alpha` must be a number >= 0"),
        (lambda f: fitted(f, steps=0), ValueError, "`steps` must be an integer >= 1"),
        (lambda f: fitted(f, seed=1.5), TypeError, "`seed` must be an integer"),
        (lambda f: fitted(f, layer="no"), ValueError, "Cannot read maps from.*'no'"),
        (lambda f: fitted(f[:1]), ValueError, "at least two images.*Received: 1"),
        (lambda f: fitted(0 * f), ValueError, "differ from cell to cell.*20 images"),
        (lambda f: fitted(1e6 * f), ValueError, "finite in float16"),
        (
            lambda _: cam.C2AM(np.ones((3, 4)), 0.0),
            ValueError,
            r"shape \(3, 3, C\).*\(3, 4\)",
        ),
        (
            lambda f: cam.C2AM(np.ones((3, 3, 2)), 0.0).project(f),
            ValueError,
            "the 8 channels of the features.*fitted to 2",
        ),
    ],
)
def test_bad_input(call, error, message):
    features, _ = two_kinds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the cast to float16
        with pytest.raises(error, match=message):
            call(features)
