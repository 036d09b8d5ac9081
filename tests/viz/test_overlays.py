import numpy as np
import pytest

from keras_wsol import viz

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 7, 3)).astype(np.uint8)


def test_alpha_0_is_the_image_and_alpha_1_the_colours():
    score_map = np.random.default_rng(1).uniform(size=(4, 7))
    np.testing.assert_array_equal(viz.overlay(IMAGE, score_map, 0), IMAGE)
    colors = viz.heat_map(score_map)
    np.testing.assert_array_equal(viz.overlay(IMAGE, score_map, 1), colors)


def test_alpha_is_the_share_of_the_colours():
    # 0.25 * (48, 18, 59) + 0.75 * (100, 200, 40) = (87, 154.5, 44.75)
    image = np.full((2, 3, 3), (100, 200, 40), dtype=np.uint8)
    got = viz.overlay(image, np.zeros((2, 3)), 0.25)
    assert got.dtype == np.uint8
    assert np.unique(got.reshape(-1, 3), axis=0).tolist() == [[87, 154, 45]]


def test_map_covers_the_image_whatever_its_size():
    # One row, a 0 beside a 1: of six columns the outer ones keep the ends.
    image = np.zeros((5, 6, 3))
    got = viz.overlay(image, [[0.0, 1.0]], 1.0)
    assert got.shape == (5, 6, 3)
    assert got[:, 0].tolist() == [[48, 18, 59]] * 5
    assert got[:, 5].tolist() == [[122, 4, 3]] * 5
    # The middle columns lie at a third and two thirds of the way.
    thirds = viz.heat_map(np.array([[1 / 3, 2 / 3]], dtype=np.float32))[0]
    np.testing.assert_allclose(got[2, 2:4], thirds, atol=1)


def test_tall_and_wide_are_not_mixed_up():
    got = viz.overlay(np.zeros((6, 2)), [[0.0], [1.0]], 1.0)
    assert got[0].tolist() == [[48, 18, 59]] * 2
    assert got[5].tolist() == [[122, 4, 3]] * 2


def test_float_and_grey_images():
    grey = IMAGE[:, :, 0]
    score_map = np.eye(3)
    expected = viz.overlay(np.stack([grey] * 3, axis=-1), score_map)
    np.testing.assert_array_equal(viz.overlay(grey, score_map), expected)
    as_float = grey[:, :, None].astype("float32")
    np.testing.assert_array_equal(viz.overlay(as_float, score_map), expected)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"`alpha` must be a number in \[0, 1\]"):
        viz.overlay(IMAGE, np.zeros((2, 2)), alpha)
