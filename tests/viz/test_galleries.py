import numpy as np
import pytest

from keras_wsol import viz
from keras_wsol.viz.frames import draw_outlined_boxes
from keras_wsol.viz.layout import GalleryLayout

RNG = np.random.default_rng(0)
# Their longer side is the cell's, so that nothing is resized.
WIDE = RNG.integers(0, 256, (40, 64, 3)).astype(np.uint8)
TALL = RNG.integers(0, 256, (64, 30, 3)).astype(np.uint8)


def places(picture, patch):
    """Every (row, column) at which `patch` lies in `picture`."""
    height, width = patch.shape[:2]
    candidates = np.argwhere((picture == patch[0, 0]).all(axis=-1))
    return [
        (int(y), int(x))
        for y, x in candidates
        if np.array_equal(picture[y : y + height, x : x + width], patch)
    ]


def cell(seed, **kwargs):
    scores = np.random.default_rng(seed).uniform(size=(5, 3))
    return viz.GalleryCell(score_map=scores, **kwargs)


def test_rows_are_images_and_columns_models():
    columns = {
        "CAM": [cell(1), cell(2)],
        "ADL": [cell(3), cell(4)],
        "DGDM": [cell(5), cell(6)],
    }
    got = viz.gallery([WIDE, TALL], columns, cell_size=64, alpha=0.4)
    assert got.dtype == np.uint8
    found = {}
    for row, image in enumerate((WIDE, TALL)):
        patches = [image]
        patches += [viz.overlay(image, c[row].score_map, 0.4) for c in columns.values()]
        for column, patch in enumerate(patches):
            (found[row, column],) = places(got, patch)
    # All of a row start at one line; the second row is below the first.
    assert {len({found[row, c][0] for c in range(4)}) for row in (0, 1)} == {1}
    assert found[1, 0][0] > found[0, 0][0] + 40
    # Columns are one cell and one gap apart, narrow pictures in their middle.
    lefts = [found[0, c][1] for c in range(4)]
    assert len(set(np.diff(lefts))) == 1
    assert lefts[1] - lefts[0] > 64
    assert [found[1, c][1] - lefts[c] for c in range(4)] == [17] * 4


def test_cell_has_the_true_box_in_red_and_the_predicted_one_on_top():
    predicted = cell(1, box=(5, 6, 40, 30), iou=0.7)
    true = [[10, 2, 60, 35], [-1, -1, -1, -1]]
    got = viz.gallery([WIDE], {"ADL": [predicted]}, [true], cell_size=64)
    image = draw_outlined_boxes(WIDE, true, (255, 0, 0), 1)
    over = viz.overlay(WIDE, predicted.score_map)
    over = draw_outlined_boxes(over, true, (255, 0, 0), 1)
    over = draw_outlined_boxes(over, [predicted.box], (0, 255, 0), 1)
    assert len(places(got, image)) == len(places(got, over)) == 1


def test_images_and_boxes_are_scaled_together():
    # 96 x 160 to 24 x 40: a quarter. A frame drawn before would blur.
    image = np.full((96, 160), 200.0)
    box = (40, 20, 120, 80)
    shown = viz.GalleryCell(score_map=[[0.0]], box=box)
    got = viz.gallery([image], {"ADL": [shown]}, [[(0, 0, 80, 40)]], cell_size=40)
    small = np.full((24, 40, 3), 200, dtype=np.uint8)
    expected = viz.overlay(small, [[0.0]])
    expected = draw_outlined_boxes(expected, [[0, 0, 20, 10]], (255, 0, 0), 1)
    expected = draw_outlined_boxes(expected, [[10, 5, 30, 20]], (0, 255, 0), 1)
    assert len(places(got, expected)) == 1


def test_height_and_width_have_each_their_scale():
    # 3 x 400 to 1 x 64: a third downwards, 0.16 to the side.
    image = np.full((3, 400), 200.0)
    got = viz.gallery([image], {"ADL": [cell(1)]}, [[(100, 0, 300, 3)]], cell_size=64)
    row = np.full((1, 64, 3), 200, dtype=np.uint8)
    expected = draw_outlined_boxes(row, [[16, 0, 48, 1]], (255, 0, 0), 1)
    assert len(places(got, expected)) == 1


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (1, 300)])
def test_grey_small_and_narrow_images(shape):
    got = viz.gallery([np.full(shape, 90.0)], {"ADL": [cell(1)]}, cell_size=64)
    height = max(1, round(64 * shape[0] / max(shape[:2])))
    assert places(got, np.full((height, 64, 3), 90, dtype=np.uint8))


def colored(picture, color):
    return int((picture == color).all(axis=-1).sum())


def test_hits_are_green_and_misses_and_missing_boxes_red():
    from keras_wsol.viz.captions import HIT_COLOR, MISS_COLOR

    def marks(iou_threshold=0.5, **kwargs):
        black = np.zeros((40, 64, 3), dtype=np.uint8)
        got = viz.gallery(
            [black], {"a": [cell(1, **kwargs)]}, iou_threshold=iou_threshold
        )
        return colored(got, HIT_COLOR) > 0, colored(got, MISS_COLOR) > 0

    box = (3, 4, 50, 30)
    assert marks(box=box, iou=0.5) == (True, False)
    assert marks(box=box, iou=0.49) == (False, True)
    assert marks(box=box, iou=0.49, iou_threshold=0.3) == (True, False)
    assert marks(box=box) == (False, False)
    assert marks() == (False, True)


def changed(before, after):
    """First and last row, first and last column in which two pictures differ."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_words_stand_above_and_below_the_pictures_they_belong_to():
    def show(title="", caption="", label="", iou=None):
        box = (5, 5, 50, 30)
        cells = [cell(1), cell(1, class_name=label, box=box, iou=iou)]
        columns = {title: cells}
        return viz.gallery([WIDE, TALL], columns, None, ["", caption], cell_size=64)

    plain = show()
    ((_, wide_left),) = places(plain, WIDE)
    ((tall_top, _),) = places(plain, TALL)
    first = slice(wide_left, wide_left + 64)
    second_left = plain.shape[1] - first.stop
    top, bottom, left, right = changed(plain, show(title="ADL"))
    assert 0 < top < bottom < places(plain, WIDE)[0][0]
    assert second_left <= left < right < second_left + 64
    top, bottom, left, right = changed(plain, show(caption="Gull"))
    assert tall_top + 64 <= top < bottom < tall_top + 64 + 14
    assert first.start <= left < right < first.stop
    label_top, label_bottom, left, right = changed(plain, show(label="Gull"))
    # With no overlap to tell, the class moves up to the first line.
    assert (label_top, label_bottom) == (top, bottom)
    assert second_left <= left < right < second_left + 64
    told = show(iou=0.75)
    lower = changed(told, show(iou=0.75, label="Gull"))
    assert lower[0] == label_top + 14  # a line of letters of 10 pixels


def test_words_never_reach_into_the_next_column():
    long = "A_name_that_is_far_too_long_for_the_column_of_any_gallery"
    black = np.zeros((64, 64, 3), dtype=np.uint8)
    cells = [viz.GalleryCell(score_map=[[0.0]], class_name=long, score=0.5)]
    got = viz.gallery([black], {long: cells}, captions=[long], cell_size=64)
    layout = GalleryLayout(
        heights=[64], columns=2, cell_size=64, line_height=1, title_height=1
    )
    between = layout.centers[0] + 32, layout.centers[1] - 32
    foot = got.shape[0] - 18  # margin 4 and the legend's line, 14, at full width
    assert (got[:foot, between[0] + 1 : between[1] - 1] == 255).all()
    assert (got[:foot, : layout.margin - 1] == 255).all()
    assert (got[:foot, between[1] + 65 :] == 255).all()


def test_thirty_rows_are_thirty_rows():
    one = viz.gallery([WIDE], {"ADL": [cell(1)]}, cell_size=64)
    two = viz.gallery([WIDE] * 2, {"ADL": [cell(1)] * 2}, cell_size=64)
    got = viz.gallery([WIDE] * 30, {"ADL": [cell(1)] * 30}, cell_size=64)
    assert len(places(got, WIDE)) == 30
    step = two.shape[0] - one.shape[0]
    assert got.shape == (one.shape[0] + 29 * step, one.shape[1], 3)


def test_inputs_are_left_as_they_were():
    image, box = WIDE.copy(), np.array([[1.0, 2.0, 30.0, 20.0]])
    shown = cell(1, box=box[0])
    viz.gallery([image], {"ADL": [shown]}, [box], cell_size=48)
    np.testing.assert_array_equal(image, WIDE)
    assert box.tolist() == [[1.0, 2.0, 30.0, 20.0]]


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="at least one image and one column"):
        viz.gallery([], {"ADL": []})
    with pytest.raises(ValueError, match="at least one image and one column"):
        viz.gallery([WIDE], {})


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"columns": {"CAM": [cell(1)] * 2, "ADL": [cell(1)]}}, r"columns\['ADL'\]"),
        ({"true_boxes": [[[0, 0, 1, 1]]]}, "`true_boxes`"),
        ({"captions": ["a", "b", "c"]}, "`captions`"),
    ],
)
def test_lengths_that_differ_are_refused(arguments, name):
    arguments = {"columns": {"CAM": [cell(1)] * 2}} | arguments
    with pytest.raises(ValueError, match=f"{name} must have one entry per image, 2"):
        viz.gallery([WIDE, TALL], **arguments)


@pytest.mark.parametrize("cell_size", [31, 64.0, True, "64"])
def test_cell_size_is_an_integer_from_32(cell_size):
    with pytest.raises(ValueError, match="`cell_size` must be an integer from 32"):
        viz.gallery([WIDE], {"ADL": [cell(1)]}, cell_size=cell_size)


def test_iou_threshold_is_a_share():
    with pytest.raises(ValueError, match=r"`iou_threshold` must be a number in \[0, 1"):
        viz.gallery([WIDE], {"ADL": [cell(1)]}, iou_threshold=50)
