import numpy as np

from keras_wsol import viz

IMAGE = np.full((40, 60, 3), 200, dtype=np.uint8)
SCORES = np.random.default_rng(0).uniform(size=(5, 8))


def test_image_and_overlay_stand_side_by_side():
    got = viz.panel(IMAGE, SCORES, [[-1] * 4], alpha=0.3)
    assert got.shape == (40, 124, 3)
    np.testing.assert_array_equal(got[:, :60], IMAGE)
    assert (got[:, 60:64] == 255).all()
    np.testing.assert_array_equal(got[:, 64:], viz.overlay(IMAGE, SCORES, 0.3))


def test_both_pictures_have_the_predicted_box_over_the_true_one():
    got = viz.panel(IMAGE, SCORES, [[10, 5, 30, 25]], [[10, 5, 50, 35]])
    for left in (0, 64):
        green = (got[:, left : left + 60] == viz.PREDICTED_BOX_COLOR).all(axis=-1)
        red = (got[:, left : left + 60] == viz.TRUE_BOX_COLOR).all(axis=-1)
        # The frames share their upper left corner.
        assert green[5, 10:30].all()
        assert green[5:25, 10].all()
        assert green.sum() == 2 * 20 + 2 * 18
        assert red[34, 10:50].all()
        assert red[5:35, 49].all()
        assert not (red[5, 10:30]).any()


def test_without_true_boxes_nothing_is_red():
    got = viz.panel(IMAGE, SCORES * 0, [[10, 5, 30, 25]])
    assert not (got == viz.TRUE_BOX_COLOR).all(axis=-1).any()
