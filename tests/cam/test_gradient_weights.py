import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from tests.reference import cam_numpy, score_map_numpy

RULES = ("grad_cam", "grad_cam_pp", "x_grad_cam", "layer_cam", "hires_cam")


def example(seed=0, *, positive=False):
    """Features (2, 3, 5, 4) and gradients of three classes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    gradients = rng.normal(size=(2, 3, 3, 5, 4)).astype("float32")
    return (np.maximum(features, 0) if positive else features), gradients


def found_by(rule, *inputs, **options):
    return ops.convert_to_numpy(cam.SCORE_MAPS[rule](**options).combine(*inputs))


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_equals_the_loops(rule, positive):
    features, gradients = example(positive=positive)
    expected = getattr(score_map_numpy, rule)(features, gradients)
    signed = found_by(rule, features, gradients, relu=False)
    assert signed.dtype == "float32"
    # Of features without a sign, Grad-CAM++ divides by what may come near to zero.
    np.testing.assert_allclose(signed, expected, rtol=2e-4, atol=1e-5)
    cut = found_by(rule, features, gradients, relu=True)
    np.testing.assert_array_equal(cut, np.maximum(signed, 0))


@pytest.mark.parametrize("rule", RULES)
def test_the_relu_is_the_papers_unless_told(rule):
    features, gradients = example(1)
    default = found_by(rule, features, gradients)
    expected = found_by(rule, features, gradients, relu=rule != "hires_cam")
    np.testing.assert_array_equal(default, expected)
    assert (found_by(rule, features, gradients, relu=False) < 0).any()


@pytest.mark.parametrize("rule", RULES)
def test_small_gradients_count_as_much_as_large_ones(rule):
    # Their squares and cubes are nothing in float32, or less than a safety margin.
    features, gradients = example(2, positive=True)
    small = gradients * np.float32(1e-16)
    raw = found_by(rule, features, small, relu=False)
    found = ops.convert_to_numpy(cam.score_maps(raw, raw.shape[2:]))
    expected = getattr(score_map_numpy, rule)(features, small)
    if rule == "grad_cam_pp":  # alpha is one half in the limit
        expected = score_map_numpy.weighted(
            features, small, lambda a, g: np.maximum(g, 0).sum() / 2
        )
    for b, k in np.ndindex(found.shape[:2]):
        unit = cam_numpy.scale_to_unit(expected[b, k])
        np.testing.assert_allclose(found[b, k], unit, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_channels_that_are_dead_or_sum_to_zero_leave_no_nan(rule):
    features, gradients = example(3)
    features[..., 1] = 0
    features[:, :, :, 2] = 0
    features[:, 0, 0, 2], features[:, 2, 4, 2] = 1, -1
    gradients[:, :, 0] = 0
    expected = getattr(score_map_numpy, rule)(features, gradients)
    found = found_by(rule, features, gradients, relu=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_denominator_of_zero_counts_nothing():
    # Grad-CAM++: 2 + g * sum(A) is zero for g = 2 and a channel that sums to -1.
    features = np.array([[[[-3.0], [2.0]]]], "float32")
    gradients = np.array([[[[[2.0], [1.0]]]]], "float32")
    found = found_by("grad_cam_pp", features, gradients, relu=False)
    np.testing.assert_array_equal(found, [[[[-3.0, 2.0]]]])  # weight 1 / (2 - 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_float32(rule, dtype):
    features = ops.cast(np.full((1, 1, 2, 1000), 100.0, "float32"), dtype)
    gradients = ops.cast(np.ones((1, 1, 1, 2, 1000), "float32"), dtype)
    maps = cam.SCORE_MAPS[rule]().combine(features, gradients)
    assert keras.backend.standardize_dtype(maps.dtype) == "float32"
    # Grad-CAM++: each of two cells of each channel gives 1 / (2 + 200).
    expected = 100_000 * 2 / 202 if rule == "grad_cam_pp" else 100_000
    np.testing.assert_allclose(ops.convert_to_numpy(maps), expected, rtol=1e-5)


def test_on_the_gradients_of_a_dense_head_without_relu_three_rules_are_cam():
    # There the gradient is the same in every cell: kernel / (h * w).
    features, _ = example(4)
    kernel = np.random.default_rng(5).normal(size=(4, 7)).astype("float32")
    class_ids = np.array([[6, 0, 3], [1, 1, 5]])
    cams = cam_numpy.class_activation_maps(features, kernel, class_ids)
    gradients = np.broadcast_to(
        kernel.T[class_ids][:, :, None, None] / 15, (2, 3, 3, 5, 4)
    )
    for rule in ("grad_cam", "x_grad_cam", "hires_cam"):
        maps = found_by(rule, features, gradients, relu=False)
        np.testing.assert_allclose(maps * 15, cams, atol=2e-5, err_msg=rule)


@pytest.mark.parametrize("rule", RULES)
def test_nan_and_constant_maps_become_zero_and_leave_the_others(rule):
    features, gradients = example(6, positive=True)
    features[0, 1, 2, 3] = np.nan
    gradients[1, 1] = 0
    raw = cam.SCORE_MAPS[rule](relu=False).combine(features, gradients)
    found = ops.convert_to_numpy(cam.score_maps(raw, (7, 11)))
    assert not found[0].any()
    assert not found[1, 1].any()
    np.testing.assert_allclose(found[1, [0, 2]].max(axis=(1, 2)), 1, rtol=1e-6)
