import numpy as np
import pytest

from keras_wsol import viz
from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD, DropBlock2D
from keras_wsol.viz.channel_bars import channel_bars
from keras_wsol.viz.layer_views import LayerView
from keras_wsol.viz.mask_cells import COLUMNS, mask_cells, nearest, paint_mask

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
# Attention 2, 4, 8 and 0, 4, 6; channel means 2 and 6.
PATTERN = np.array([[1.0, 2.0, 4.0], [0.0, 2.0, 3.0]])
FEATURES = (PATTERN[None, :, :, None] * [1.0, 3.0]).astype("float32")


def cells(layer, features=FEATURES):
    found = mask_cells(IMAGE, LayerView.of(layer, features))
    assert len(found) == COLUMNS
    np.testing.assert_array_equal(found[0].pixels, IMAGE)
    return {cell.title: cell for cell in found}


def blank(found):
    """Titles of the cells without a picture."""
    assert all((c.pixels is None) == (c.note == "none") for c in found.values())
    return {title for title, cell in found.items() if cell.pixels is None}


def test_nearest_takes_the_cell_that_a_pixels_centre_lies_in():
    got = nearest(np.array([[1, 2, 3], [4, 5, 6]]), 3, 7)
    # Centres at 1/6, 1/2, 5/6 down: the middle one is the lower cell's.
    assert got[:, 0].tolist() == [1, 4, 4]
    assert got[0].tolist() == [1, 1, 2, 2, 2, 3, 3]


def test_dropped_cells_are_dark_and_raised_ones_yellow():
    image = np.full((4, 6, 3), 200, np.uint8)
    got = paint_mask(image, np.array([[0.0, 1.0, 1.15], [1.0, 1.0, 1.0]]))
    assert got.dtype == np.uint8
    assert got[0, 0].tolist() == got[1, 1].tolist() == [24, 24, 24]
    assert (got[2:] == 200).all()
    assert (got[:, 2:4] == 200).all()
    # 0.45 * 200 and 0.55 of (255, 221, 0)
    assert got[1, 5].tolist() == [230, 212, 90]


def test_maps_of_adl():
    found = cells(ADL(drop_threshold=0.7))
    assert blank(found) == {"channels"}
    attention = found["attention"]
    expected = viz.overlay(IMAGE, PATTERN / 4, 0.55)
    np.testing.assert_array_equal(attention.pixels, expected)
    assert attention.note == "0.00 to 8.00"
    importance = found["importance map"]
    sigmoid = 1 / (1 + np.exp(-2 * PATTERN))
    expected = viz.overlay(IMAGE, 2 * sigmoid - 1, 0.55).astype(int)
    assert np.abs(importance.pixels - expected).max() <= 1
    assert importance.note == "0.50 to 1.00"
    mask = found["drop mask"]
    kept = np.array([[1, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(mask.pixels, paint_mask(IMAGE, kept))
    assert mask.note == "33 % of 6 cells"
    output = found["output"]
    sharp = np.kron(kept * PATTERN / 4, np.ones((10, 10)))
    np.testing.assert_array_equal(output.pixels, viz.overlay(IMAGE, sharp, 0.55))
    assert output.note == "masked, 0.00 to 4.00"


def test_what_is_switched_off_is_blank():
    assert blank(cells(ADL(use_importance_map=False))) == {"importance map", "channels"}
    assert blank(cells(SAGD(use_drop_mask=False))) == {"drop mask", "channels"}


def test_cagd_has_attention_and_channels():
    found = cells(CAGD(min_multiple=2.0))
    assert blank(found) == {"importance map", "drop mask"}
    expected = cells(ADL())["attention"].pixels
    np.testing.assert_array_equal(found["attention"].pixels, expected)
    expected = channel_bars([2.0, 6.0], [True, False], 20, 30)
    np.testing.assert_array_equal(found["channels"].pixels, expected)
    assert found["channels"].note == "1 of 2 eligible"


def test_channels_are_ranked_by_magnitude():
    found = cells(CAGD(min_multiple=2.0), FEATURES * [1.0, -1.0])
    expected = channel_bars([2.0, 6.0], [True, False], 20, 30)
    np.testing.assert_array_equal(found["channels"].pixels, expected)


def test_dgdm_has_everything():
    found = cells(DGDM(min_multiple=2.0, high_threshold=0.9, block_size=2))
    assert blank(found) == set()
    # The seed is the cell of 8; its block reaches one to the left and one up.
    kept = np.array([[0, 0, 0], [0, 1, 1]])  # and so does that of the 0, background
    np.testing.assert_array_equal(found["drop mask"].pixels, paint_mask(IMAGE, kept))
    assert found["drop mask"].note == "67 % of 6 cells"


def test_dfm_has_maps_of_its_own():
    layer = DFM(focus=0.5, channel_weight=0.25, channel_threshold=0.9)
    found = cells(layer, FEATURES / 4)
    assert blank(found) == set()
    assert list(found)[1:4] == ["position enhancement", "position mask", "position map"]
    enhancement = found["position enhancement"]
    expected = viz.overlay(IMAGE, np.tanh(PATTERN / 2), 0.55).astype(int)
    assert np.abs(enhancement.pixels - expected).max() <= 1
    assert enhancement.note == "0.00 to 0.96"
    mask = np.array([[1.0, 1.5, 0.0], [1.0, 1.5, 1.5]])
    np.testing.assert_array_equal(
        found["position mask"].pixels, paint_mask(IMAGE, mask)
    )
    assert found["position mask"].note == "17 % out, 50 % raised"
    # Mean over channels of 0.25 tanh(S), S being 0.5 and 1.5.
    raised = mask + 0.25 * np.tanh([0.5, 1.5]).mean()
    sharp = np.kron(raised / raised.max(), np.ones((10, 10)))
    expected = viz.overlay(IMAGE, sharp, 0.55).astype(int)
    assert np.abs(found["position map"].pixels - expected).max() <= 1
    assert found["position map"].note == "0.17 to 1.67"
    expected = channel_bars([0.5, 1.5], [False, True], 20, 30)
    np.testing.assert_array_equal(found["channels"].pixels, expected)
    assert found["channels"].note == "1 of 2 masked"


def test_branches_of_dfm_that_are_off_are_blank():
    names = {"position enhancement", "position mask", "position map"}
    assert blank(cells(DFM(branches="channel"))) == names
    assert blank(cells(DFM(branches="position"))) == {"channels"}


def test_output_above_the_attention_has_a_scale_of_its_own():
    layer = DFM(focus=1.0, channel_weight=0.0, rescale=False)  # F + F M, up to 3 F
    output = cells(layer)["output"]
    values = 2 * PATTERN * [[2.0, 3.0, 1.0], [2.0, 3.0, 3.0]]
    assert values.max() == 18 > 8
    sharp = np.kron(values / 18, np.ones((10, 10)))
    expected = viz.overlay(IMAGE, sharp, 0.55).astype(int)
    assert np.abs(output.pixels - expected).max() <= 1
    assert output.note == "masked, 0.00 to 18.0"


def test_layers_that_choose_at_random_show_their_output_at_inference():
    found = cells(DropBlock2D())
    assert blank(found) == {"importance map", "drop mask", "channels"}
    sharp = np.kron(PATTERN / 4, np.ones((10, 10)))
    np.testing.assert_array_equal(
        found["output"].pixels, viz.overlay(IMAGE, sharp, 0.55)
    )
    assert found["output"].note == "at inference, 0.00 to 8.00"


@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_maps_that_are_nowhere_above_zero_are_blue(sign):
    found = cells(ADL(), sign * (FEATURES + 1))
    expected = viz.overlay(IMAGE, np.zeros((2, 3)), 0.55)
    np.testing.assert_array_equal(found["attention"].pixels, expected)
    np.testing.assert_array_equal(found["output"].pixels, expected)
    assert found["drop mask"].note == "0 % of 6 cells"
    assert "-0.00" not in found["attention"].note
