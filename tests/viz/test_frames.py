import numpy as np
import pytest

from keras_wsol import viz
from keras_wsol.viz.frames import draw_outlined_boxes

COLOR = (9, 8, 7)


def drawn(height, length, boxes, **kwargs):
    """Which pixels were painted, as rows of # and ."""
    got = viz.draw_boxes(np.zeros((height, length, 3)), boxes, COLOR, **kwargs)
    painted = (got == COLOR).all(axis=-1)
    assert (painted | (got == 0).all(axis=-1)).all()
    return ["".join(".#"[int(p)] for p in row) for row in painted]


def test_frame_lies_on_the_outermost_pixels_and_the_far_edge_is_exclusive():
    assert drawn(6, 8, [[1, 2, 6, 5]]) == [
        "........",
        "........",
        ".#####..",
        ".#...#..",
        ".#####..",
        "........",
    ]


def test_thick_frame_grows_inwards():
    assert drawn(7, 9, [[1, 1, 8, 7]], width=2) == [
        ".........",
        ".#######.",
        ".#######.",
        ".##...##.",
        ".##...##.",
        ".#######.",
        ".#######.",
    ]


@pytest.mark.parametrize("width", [2, 3, 50])
def test_frame_thicker_than_its_box_fills_the_box_only(width):
    assert drawn(4, 6, [[1, 0, 4, 3]], width=width) == [
        ".###..",
        ".###..",
        ".###..",
        "......",
    ]


def test_boxes_are_clipped_and_their_frames_closed():
    assert drawn(4, 6, [[-3, 1, 4, 99]]) == [
        "......",
        "####..",
        "#..#..",
        "####..",
    ]


def test_padding_zero_boxes_and_boxes_outside_are_skipped():
    boxes = [
        *([-1, -1, -1, -1], [0, 0, 0, 0], [3, 1, 3, 3], [2, 2, 5, 2]),
        *([6, 0, 9, 3], [-4, 0, 0, 3], [0, 4, 3, 6]),
    ]
    assert drawn(4, 6, boxes) == ["......"] * 4
    assert drawn(4, 6, []) == ["......"] * 4
    assert drawn(4, 6, np.zeros((0, 4))) == ["......"] * 4


def test_padding_does_not_hide_the_boxes_after_it():
    assert drawn(2, 4, [[-1] * 4, [1, 0, 3, 2]]) == [".##.", ".##."]


def test_fractions_go_to_the_nearest_edge_and_keep_a_pixel():
    # 0.5 and 2.5 both go up, so that the box keeps its size.
    assert drawn(1, 5, [[0.5, 0, 2.5, 1]]) == [".##.."]
    assert drawn(1, 5, [[1.4, 0, 3.6, 1]]) == [".###."]
    assert drawn(1, 5, [[2.1, 0.2, 2.2, 0.3]]) == ["..#.."]


def test_width_by_default_is_a_hundredth_of_the_shorter_side():
    got = viz.draw_boxes(np.zeros((300, 500, 3)), [[0, 0, 500, 300]], COLOR)
    assert (got[150, :, 0] > 0).sum() == 6
    assert (got[:, 250, 0] > 0).sum() == 6


def test_the_image_is_left_as_it_was():
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    viz.draw_boxes(image, [[0, 0, 3, 3]], COLOR)
    assert image.max() == 0


def test_outline_is_dark_on_both_sides_and_the_frame_stays_in_place():
    white = np.full((9, 12, 3), 255, dtype=np.uint8)
    got = draw_outlined_boxes(white, [[2, 1, 10, 8]], COLOR, 1)
    frame = viz.draw_boxes(white, [[2, 1, 10, 8]], COLOR, 1)
    on_frame = (frame == COLOR).all(axis=-1)
    assert ((got == COLOR).all(axis=-1) == on_frame).all()
    # Row 4 by hand: white, dark, frame, dark, four white, dark, frame, dark, white.
    assert got[4, :, 0].tolist() == [*(255, 0, 9, 0, 255, 255, 255, 255, 0, 9, 0, 255)]


def test_outline_of_one_box_does_not_cross_the_frame_of_another():
    white = np.full((8, 12, 3), 255, dtype=np.uint8)
    boxes = [[0, 0, 8, 8], [4, 0, 12, 8]]
    got = draw_outlined_boxes(white, boxes, COLOR, 1)
    on_frames = (viz.draw_boxes(white, boxes, COLOR, 1) == COLOR).all(axis=-1)
    assert ((got == COLOR).all(axis=-1) == on_frames).all()


def test_one_box_without_its_axis_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"shape=\(4,\)\. For one box, use boxes\[N"):
        viz.draw_boxes(np.zeros((4, 5)), [0, 0, 2, 2], COLOR)


@pytest.mark.parametrize("row", [[5, 0, 2, 3], [0, 3, 2, 1], [0, 0, np.nan, 1]])
def test_inverted_and_nan_boxes_are_refused(row):
    with pytest.raises(ValueError, match="x0 <= x1 and y0 <= y1"):
        viz.draw_boxes(np.zeros((4, 5)), [[0, 0, 1, 1], row], COLOR)


@pytest.mark.parametrize("color", [(1, 2), (1, 2, 256), (-1, 0, 0)])
def test_colour_out_of_range_is_refused(color):
    with pytest.raises(ValueError, match="`color` must be three numbers"):
        viz.draw_boxes(np.zeros((4, 5)), [[0, 0, 1, 1]], color)


@pytest.mark.parametrize("width", [0, -1, 1.5, True])
def test_width_that_is_not_a_whole_number_is_refused(width):
    with pytest.raises(ValueError, match="`width` must be an integer from 1, or None"):
        viz.draw_boxes(np.zeros((4, 5)), [[0, 0, 1, 1]], COLOR, width)
