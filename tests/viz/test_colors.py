import numpy as np
import pytest

from keras_wsol import viz


def test_ends_are_turbos_dark_blue_and_dark_red():
    # The first and the last row of the published table.
    colors = viz.heat_map(np.array([[0.0, 1.0, 0.0]]))
    assert colors.dtype == np.uint8
    assert colors.tolist() == [[[48, 18, 59], [122, 4, 3], [48, 18, 59]]]


def test_between_two_stops_lies_their_mean():
    # 18 stops, hence 17 steps; half a step is the mean of (48, 18, 59) and
    # (63, 62, 156), halves to even.
    assert viz.heat_map([[1 / 34]])[0, 0].tolist() == [56, 40, 108]


def test_every_colour_is_within_6_levels_of_opencvs_turbo():
    cv2 = pytest.importorskip("cv2")
    levels = np.arange(256, dtype=np.uint8)[None]
    expected = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[0, :, ::-1]
    got = viz.heat_map(levels / 255)[0]
    assert np.abs(got.astype(int) - expected).max() <= 6


def test_rounding_noise_is_moved_to_the_border():
    noisy = np.array([[-1e-6, 1 + 1e-6]], dtype=np.float32)
    assert viz.heat_map(noisy).tolist() == [[[48, 18, 59], [122, 4, 3]]]


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_map_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"`score_map` must be in \[0, 1\]"):
        viz.heat_map([[0.5, value, 0.2]])


@pytest.mark.parametrize("shape", [(4,), (2, 3, 1), (0, 3)])
def test_map_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(h, w\).*Received: score_map.shape"):
        viz.heat_map(np.zeros(shape))


def test_true_boxes_are_red_and_predicted_ones_green():
    assert viz.TRUE_BOX_COLOR == (255, 0, 0)
    assert viz.PREDICTED_BOX_COLOR == (0, 255, 0)
