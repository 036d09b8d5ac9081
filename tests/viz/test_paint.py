import numpy as np
import pytest

from keras_wsol import viz
from keras_wsol.viz.figures import resize_map

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (4, 7, 3)).astype(np.uint8)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def bilinear(grid, height, width):
    """Half-pixel centres, borders repeated, in loops; for enlarging."""
    rows, columns = grid.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top = grid[y0, x0] * (1 - x + x0) + grid[y0, x1] * (x - x0)
            low = grid[y1, x0] * (1 - x + x0) + grid[y1, x1] * (x - x0)
            result[i, j] = top * (1 - y + y0) + low * (y - y0)
    return result


def rows_of(picture, color):
    """Which pixels have a colour, as rows of # and ."""
    return ["".join(".#"[int(p)] for p in r) for r in (picture == color).all(axis=-1)]


def painted(height, width, boxes):
    return rows_of(viz.overlay(np.full((height, width), 255), boxes=boxes), GREEN)


def test_alpha_0_is_the_image_and_alpha_1_the_colours_of_turbo():
    # The first, a middle and the last row of the published table.
    scores = np.array([[0.0, 128 / 255, 1.0, 0.0]], "float32")
    image = IMAGE[:1, :4]
    np.testing.assert_array_equal(viz.overlay(image, scores, alpha=0), image)
    colors = viz.overlay(image, scores, alpha=1)
    assert colors[0, [0, 2, 3]].tolist() == [[48, 18, 59], [122, 4, 2], [48, 18, 59]]
    np.testing.assert_allclose(colors[0, 1], (164, 252, 60), atol=2)


def test_alpha_is_the_share_of_the_colours():
    # 0.25 * (48, 18, 59) + 0.75 * (100, 200, 40) = (87, 154.5, 44.75)
    image = np.full((2, 3, 3), (100, 200, 40), dtype=np.uint8)
    got = viz.overlay(image, np.zeros((2, 3)), alpha=0.25)
    assert got.dtype == np.uint8
    assert np.unique(got.reshape(-1, 3), axis=0).tolist() == [[87, 154, 45]]


def test_map_covers_the_image_whatever_its_size():
    # One row, a 0 beside a 1: of six columns the outer ones keep the ends.
    got = viz.overlay(np.zeros((5, 6, 3)), [[0.0, 1.0]], alpha=1.0)
    assert got.shape == (5, 6, 3)
    assert got[:, 0].tolist() == [[48, 18, 59]] * 5
    assert got[:, 5].tolist() == [[122, 4, 2]] * 5
    tall = viz.overlay(np.zeros((6, 2)), [[0.0], [1.0]], alpha=1.0)
    assert tall[0].tolist() == [[48, 18, 59]] * 2
    assert tall[5].tolist() == [[122, 4, 2]] * 2


def test_map_is_enlarged_with_half_pixel_centres_and_shrunk_with_antialiasing():
    score_map = RNG.uniform(size=(3, 5)).astype("float32")
    got = resize_map(score_map, 7, 20)
    np.testing.assert_allclose(got, bilinear(score_map, 7, 20), atol=1e-6)
    np.testing.assert_array_equal(resize_map(score_map, 3, 5), score_map)
    # The triangle around 2 reaches over 4 cells on either side: weights 0.625,
    # 0.875, 0.875, 0.625, 0.375, 0.125. Plain interpolation would miss the 1.
    got = resize_map([[1.0, 0, 0, 0, 0, 0, 0, 0]], 1, 2)
    np.testing.assert_allclose(got, [[0.625 / 3.5, 0.0]], atol=1e-6)


def test_float_and_grey_images_are_rounded_and_clipped():
    grey = IMAGE[:, :, 0]
    expected = viz.overlay(np.stack([grey] * 3, axis=-1), np.eye(3))
    np.testing.assert_array_equal(viz.overlay(grey, np.eye(3)), expected)
    as_float = grey[:, :, None].astype("float32")
    np.testing.assert_array_equal(viz.overlay(as_float, np.eye(3)), expected)
    clipped = viz.overlay([[-3.0, 1.4, 1.6, 255.4, 999.0]])[0, :, 0]
    assert clipped.tolist() == [0, 1, 2, 255, 255]


def test_the_image_is_left_as_it_was():
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    viz.overlay(image, [[1.0]], [[0, 0, 3, 3]])[:] = 7
    assert image.max() == 0


def test_frame_lies_on_the_outermost_pixels_and_the_far_edge_is_exclusive():
    assert painted(6, 8, [[1, 2, 6, 5]]) == [
        "........",
        "........",
        ".#####..",
        ".#...#..",
        ".#####..",
        "........",
    ]


def test_a_dark_line_lies_on_both_sides_of_a_frame():
    got = viz.overlay(np.full((9, 12), 255), boxes=[[2, 1, 10, 8]])
    # Row 4 by hand: white, dark, frame, dark, four white, dark, frame, dark, white.
    assert got[4, :, 0].tolist() == [255, 0, 0, 0, *[255] * 4, 0, 0, 0, 255]
    assert got[4, :, 1].tolist() == [255, 0, 255, 0, *[255] * 4, 0, 255, 0, 255]


def test_the_dark_line_of_one_box_does_not_cross_the_frame_of_another():
    assert painted(8, 12, [[0, 0, 8, 8], [4, 0, 12, 8]]) == [
        "############",
        *["#...#..#...#"] * 6,
        "############",
    ]


def test_true_boxes_are_red_and_predicted_ones_lie_on_top():
    white = np.full((6, 9), 255)
    got = viz.overlay(white, boxes=[[3, 0, 9, 5]], true_boxes=[[0, 0, 7, 6]])
    assert rows_of(got, GREEN) == [
        "...######",
        *["...#....#"] * 3,
        "...######",
        ".........",
    ]
    # The dark line of the predicted box, columns 2 and 4, lies on the true one's frame.
    assert rows_of(got, RED)[0] == "##......."
    assert rows_of(got, RED)[2] == "#.....#.."


def test_frames_are_a_hundredth_of_the_shorter_side():
    got = np.array([list(r) for r in painted(300, 500, [[0, 0, 500, 300]])]) == "#"
    assert got[150].sum() == got[:, 250].sum() == 6


@pytest.mark.parametrize("box", [(7, 4, 10, 7), (7, 4, 9, 6), (7, 4, 8, 15)])
def test_a_frame_thicker_than_its_box_fills_the_box_only(box):
    got = np.array([list(r) for r in painted(300, 400, [box])]) == "#"
    x0, y0, x1, y1 = box
    inside = np.zeros_like(got)
    inside[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(got, inside)


def test_boxes_are_clipped_and_their_frames_closed():
    assert painted(4, 6, [[-3, 1, 4, 99]]) == [
        "......",
        "####..",
        "#..#..",
        "####..",
    ]


def test_padding_zero_boxes_and_boxes_outside_are_skipped():
    outside = [[6, 0, 9, 3], [-4, 0, 0, 3], [0, 4, 3, 6]]
    empty = [[-1, -1, -1, -1], [0, 0, 0, 0], [3, 1, 3, 3], [2, 2, 5, 2]]
    assert painted(4, 6, empty + outside) == ["......"] * 4
    assert painted(4, 6, []) == painted(4, 6, np.zeros((0, 4))) == ["......"] * 4
    assert painted(2, 4, [[-1] * 4, [1, 0, 3, 2]]) == [".##.", ".##."]


def test_fractions_go_to_the_nearest_edge_and_keep_a_pixel():
    # 0.5 and 2.5 both go up, so that the box keeps its size.
    assert painted(1, 5, [[0.5, 0, 2.5, 1]]) == [".##.."]
    assert painted(1, 5, [[1.4, 0, 3.6, 1]]) == [".###."]
    assert painted(1, 5, [[2.1, 0.2, 2.2, 0.3]]) == ["..#.."]


def test_rounding_noise_of_a_map_is_moved_to_the_border():
    noisy = np.array([[-1e-6, 1 + 1e-6]], dtype=np.float32)
    assert resize_map(noisy, 1, 2).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alpha": 1.5}, ValueError, r"`alpha` must be a number in \[0, 1\]"),
        ({"alpha": "half"}, TypeError, r"`alpha` must be a number in \[0, 1\]"),
        ({"score_map": [[0.5, -0.1]]}, ValueError, r"must be in \[0, 1\]"),
        ({"score_map": [[0.5, 1.1]]}, ValueError, r"must be in \[0, 1\]"),
        ({"score_map": [[0.5, np.nan]]}, ValueError, r"must be in \[0, 1\]"),
        ({"score_map": np.zeros((2, 3, 1))}, ValueError, r"shape \(h, w\)"),
        ({"score_map": np.zeros((0, 3))}, ValueError, r"shape \(h, w\)"),
        ({"boxes": [0, 0, 2, 2]}, ValueError, r"\(4,\)\. For one box, use boxes\[N"),
        ({"boxes": [[5, 0, 2, 3]]}, ValueError, "x0 <= x1 and y0 <= y1"),
        ({"true_boxes": [[0, 0, np.nan, 1]]}, ValueError, "x0 <= x1 and y0 <= y1"),
        ({"image": np.zeros((2, 3, 4))}, ValueError, r"shape \(H, W, 3\)"),
        ({"image": np.zeros((1, 2, 3, 3))}, ValueError, r"use image\[0\]"),
        ({"image": [[1.0, np.nan]]}, ValueError, "`image` must hold finite numbers"),
    ],
)
def test_what_cannot_be_painted_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        viz.overlay(**({"image": IMAGE, "score_map": [[0.5]]} | arguments))
