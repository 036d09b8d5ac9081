import io

import numpy as np
import pytest
from PIL import Image

from keras_wsol import viz

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 256, (40, 64, 3)).astype(np.uint8)
TALL = RNG.integers(0, 256, (64, 30, 3)).astype(np.uint8)
TRUE = [[10, 2, 60, 35], [-1, -1, -1, -1]]
RED, GREEN = (1, 0, 0), (0, 1, 0)


def cell(seed=1, image=WIDE, **kwargs):
    scores = np.random.default_rng(seed).uniform(size=(5, 3))
    return viz.Cell(image=image, score_map=scores, **kwargs)


def words(axes):
    """The lines below a picture, from the top."""
    return [text.get_text() for text in axes.texts]


def colors(axes):
    names = {"#00803c": "hit", "#c81e1e": "miss", "#282828": "plain"}
    return [names[text.get_color()] for text in axes.texts]


def frames(axes):
    """Colour and x0, y0, x1, y1 of each box, in the order of painting."""
    return [
        (patch.get_edgecolor()[:3], patch.get_bbox().extents.tolist())
        for patch in axes.patches
    ]


def drawn(figure):
    """What draws a figure on memory, and left, top, width, height of its pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    size = np.tile(figure.bbox.size, 2)
    bounds = [axes.get_position().bounds * size for axes in figure.axes]
    places = [(x, size[1] - y - h, w, h) for x, y, w, h in bounds]
    return canvas.get_renderer(), np.array(places)


def test_cells_stand_in_rows_and_keep_their_proportions():
    cells = [cell(n, image) for image in (WIDE, TALL) for n in range(3)]
    _, found = drawn(viz.show(cells, columns=3, cell_size=64))
    np.testing.assert_allclose(found[:3, 2:], [[64, 40]] * 3, atol=0.01)
    np.testing.assert_allclose(found[3:, 2:], [[30, 64]] * 3, atol=0.01)
    for row in (found[:3], found[3:]):
        assert np.ptp(row[:, 1]) < 0.01
        np.testing.assert_allclose(np.diff(row[:, 0]), 64 * 1.05, atol=0.01)
    np.testing.assert_allclose(found[3:, 0] - found[:3, 0], 17, atol=0.01)
    assert (found[3:, 1] > found[:3, 1] + 40 + 10).all()  # words are in between


def test_each_picture_is_the_overlay_of_its_cell():
    cells = [cell(1), viz.Cell(image=TALL)]
    figure = viz.show(cells, columns=2, alpha=0.4)
    first, second = (axes.images[0] for axes in figure.axes)
    expected = viz.overlay(WIDE, cells[0].score_map, alpha=0.4)
    np.testing.assert_array_equal(first.get_array(), expected)
    np.testing.assert_array_equal(second.get_array(), TALL)
    assert tuple(first.get_extent()) == (0, 64, 40, 0)


def test_large_images_are_shrunk_and_their_boxes_stay_in_place():
    image = np.full((300, 500, 3), 90, np.uint8)
    figure = viz.show([viz.Cell(image=image, true_boxes=[[50, 30, 450, 90]])], 1)
    (axes,) = figure.axes
    assert axes.images[0].get_array().shape == (288, 480, 3)
    assert tuple(axes.images[0].get_extent()) == (0, 500, 300, 0)
    assert frames(axes) == [(RED, [50, 30, 450, 90])]


def test_true_boxes_are_red_and_predicted_ones_green_and_on_top():
    boxes = [[5, 6, 40, 30], [-9, -9, 20, 99], [70, 0, 90, 9]]
    (axes,) = viz.show([cell(boxes=boxes, true_boxes=TRUE)], 1).axes
    assert frames(axes) == [
        (RED, [10, 2, 60, 35]),
        (GREEN, [5, 6, 40, 30]),
        (GREEN, [0, 0, 20, 40]),  # clipped; the third lies outside
    ]


def test_iou_is_that_of_the_first_box_with_the_best_true_one():
    boxes = [[2, 0, 6, 2], [0, 0, 4, 2]]
    true = [[-1] * 4, [0, 0, 4, 2], [20, 20, 30, 30]]
    shown = viz.Cell(image=WIDE, boxes=boxes, true_boxes=true)
    assert shown.iou == pytest.approx(1 / 3)
    assert viz.Cell(image=WIDE, boxes=boxes).iou is None
    assert viz.Cell(image=WIDE, true_boxes=true).iou is None
    assert viz.Cell(image=WIDE, boxes=boxes, true_boxes=[[-1] * 4]).iou is None


@pytest.mark.parametrize(
    ("width", "text", "color"),
    [
        *[(50, "\u2714 IoU 0.50", "hit"), (57, "\u2714 IoU 0.57", "hit")],
        *[(100, "\u2714 IoU 1.00", "hit"), (49.99, "\u2718 IoU 0.49", "miss")],
    ],
)
def test_iou_is_cut_off_so_that_a_miss_never_reads_like_a_hit(width, text, color):
    shown = cell(boxes=[[0, 0, width, 9]], true_boxes=[[0, 0, 100, 9]])
    (axes,) = viz.show([shown], 1).axes
    assert words(axes) == [text]
    assert colors(axes) == [color]


def test_the_threshold_of_right_boxes_can_be_chosen():
    shown = cell(boxes=[[0, 0, 40, 9]], true_boxes=[[0, 0, 100, 9]])
    assert colors(viz.show([shown], 1).axes[0]) == ["miss"]
    assert colors(viz.show([shown], 1, iou_threshold=0.39).axes[0]) == ["hit"]


@pytest.mark.parametrize("boxes", [[[0, 0, 0, 0]], [[-1] * 4], np.zeros((0, 4))])
@pytest.mark.parametrize("true_boxes", [TRUE, None])
def test_a_missing_box_is_a_miss(boxes, true_boxes):
    (axes,) = viz.show([cell(boxes=boxes, true_boxes=true_boxes)], 1).axes
    assert (words(axes), colors(axes)) == (["\u2718 no box"], ["miss"])


@pytest.mark.parametrize(
    ("name", "score", "lines"),
    [
        ("Painted Bunting", 0.917, ["Painted Bunting (0.92)"]),
        ("Painted\nBunting", None, ["Painted Bunting"]),
        (None, np.float32(1.0000001), ["(1.00)"]),
        (None, None, []),
        ("cash $5, $6 and x^2_3", None, ["cash $5, $6 and x^2_3"]),
        ("a" * 40, 0.5, ["a" * 22 + "\N{HORIZONTAL ELLIPSIS} (0.50)"]),
    ],
)
def test_class_and_score_stand_below_and_long_names_are_cut(name, score, lines):
    # Where nothing is known of a box, the class is the first line.
    figure = viz.show([cell(class_name=name, score=score)], 1)
    assert words(figure.axes[0]) == lines
    assert colors(figure.axes[0]) == ["plain"] * len(lines)
    drawn(figure)  # a "$" that begins a formula would raise


def test_words_do_not_reach_into_the_next_column():
    long = "A_name_that_is_far_too_long_for_the_column_of_any_gallery"
    shown = cell(boxes=[[0, 0, 9, 9]], true_boxes=TRUE, class_name=long, score=0.5)
    figure = viz.show([shown] * 2, 2, [long] * 2)
    renderer, columns = drawn(figure)
    for axes, (left, _, width, _) in zip(figure.axes, columns, strict=True):
        for text in (axes.title, *axes.texts):
            extent = text.get_window_extent(renderer)
            assert left - 6 <= extent.x0 < extent.x1 <= left + width + 6


def test_titles_stand_above_the_first_row_alone():
    figure = viz.show([cell()] * 4, 2, ["CAM", "$ADL$"])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["CAM", "$ADL$", "", ""]


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (
            {"score_map": [[0.5]], "boxes": TRUE, "true_boxes": TRUE},
            ["true box", "predicted box", "score 0 to 1"],
        ),
        ({"true_boxes": TRUE}, ["true box"]),
        ({"boxes": TRUE}, ["predicted box"]),
        ({"score_map": [[0.5]]}, ["score 0 to 1"]),
        ({}, []),
    ],
)
def test_the_legend_names_what_is_shown(shown, names):
    figure = viz.show([viz.Cell(image=WIDE, **shown)] * 3, 3)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names


def test_the_legend_lies_below_the_words_and_inside_the_figure():
    shown = cell(boxes=TRUE, true_boxes=TRUE, class_name="Gull", score=0.5)
    for columns in (1, 2, 3):
        figure = viz.show([shown] * 3, columns)
        renderer, _ = drawn(figure)
        legend = figure.legends[0].get_window_extent(renderer)
        lowest = min(
            text.get_window_extent(renderer).y0
            for axes in figure.axes
            for text in axes.texts
        )
        assert 0 <= legend.x0 < legend.x1 <= figure.bbox.x1
        assert 0 <= legend.y0 < legend.y1 <= lowest + 2


def test_a_notebook_shows_the_figure_and_pyplot_knows_nothing_of_it():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    figure = viz.show([cell()], cell_size=100)
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
        assert picture.width == 427  # two margins, four columns of 100, three gaps
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cells": []}, ValueError, "`cells` must hold at least one cell"),
        ({"columns": 0}, ValueError, "`columns` must be an integer >= 1"),
        ({"titles": ["a"]}, ValueError, r"`titles` must be 2 texts.*\['a'\]"),
        ({"cell_size": 31}, ValueError, "`cell_size` must be an integer >= 32"),
        ({"cell_size": 64.0}, TypeError, "`cell_size` must be an integer >= 32"),
        ({"iou_threshold": 50}, ValueError, r"`iou_threshold` must be a number in \["),
        ({"alpha": -1}, ValueError, r"`alpha` must be a number in \[0, 1\]"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        viz.show(**({"cells": [cell()] * 2, "columns": 2} | arguments))
