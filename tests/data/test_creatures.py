"""The drawn creatures: what fixes an image, its box, and what tells its class."""

import importlib
import re

import cv2
import numpy as np
import pytest

from keras_wsol.data.synthetic import CREATURES, bounds, paint_creatures, synthetic

SIZE = (48, 72)
# `data.synthetic` is the function.
creatures = importlib.import_module("keras_wsol.data.synthetic")


def draw(
    num_images, num_classes=6, image_size=SIZE, seed=0, split="train-weaksup", **kwargs
):
    """Images, class ids, boxes and what is covered."""
    images, class_ids, covered = paint_creatures(
        num_images, num_classes, image_size, seed, split
    )
    return images, class_ids, bounds(covered)[:, None], covered


def test_same_arguments_same_pictures():
    for first, again in zip(draw(7), draw(7), strict=True):
        np.testing.assert_array_equal(first, again)


def test_shorter_call_is_prefix_of_longer_one():
    # 7 and 11 both end in the middle of a run of four classes.
    for short, long in zip(
        draw(7, num_classes=4), draw(11, num_classes=4), strict=True
    ):
        np.testing.assert_array_equal(short, long[:7])


def test_dtypes_and_shapes_of_a_wide_image():
    images, class_ids, boxes, masks = draw(5)
    assert (images.dtype, images.shape) == (np.uint8, (5, 48, 72, 3))
    assert (class_ids.dtype, class_ids.shape) == (np.int32, (5,))
    assert (boxes.dtype, boxes.shape) == (np.float32, (5, 1, 4))
    assert (masks.dtype, masks.shape) == (bool, (5, 48, 72))


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"split": "train-fullsup"}, {"split": "test"}]
)
def test_seeds_and_splits_share_no_image(other):
    ours, theirs = draw(12)[0], draw(12, **other)[0]
    assert not {i.tobytes() for i in ours} & {i.tobytes() for i in theirs}


def test_every_prefix_is_balanced_and_order_is_shuffled():
    class_ids = draw(63, num_classes=5, image_size=(32, 32))[1]
    for end in range(1, 64):
        counts = np.bincount(class_ids[:end], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert len({tuple(run) for run in class_ids[:60].reshape(12, 5)}) > 6


def test_boxes_are_the_bounds_of_the_masks():
    _, _, boxes, masks = draw(60)
    for box, mask in zip(boxes[:, 0], masks, strict=True):
        rows, columns = np.nonzero(mask)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert tuple(box) == expected


@pytest.mark.parametrize("size", [(128, 90), (64, 200)])
def test_creatures_have_the_stated_length(size):
    boxes = draw(60, image_size=size, num_classes=12)[2][:, 0]
    length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / min(size)
    assert length.min() > 0.33
    assert length.max() < 0.78


def test_creatures_are_nowhere_cut_off(monkeypatch):
    strokes_of_creatures = []
    paint = creatures.paint

    def spy(canvas, strokes, colour, mask=None, bands=None):
        if mask is not None:
            strokes_of_creatures.append(strokes)
        paint(canvas, strokes, colour, mask, bands)

    monkeypatch.setattr(creatures, "paint", spy)
    draw(80, num_classes=12, image_size=(50, 64))
    strokes = np.concatenate(strokes_of_creatures)
    for x, y, radius in (strokes[:, :3].T, strokes[:, 3:6].T):
        assert (np.minimum(x, y) - radius).min() >= -1e-5
        assert (x + radius).max() <= 64 + 1e-5
        assert (y + radius).max() <= 50 + 1e-5
    # Not vacuous: some come close to each edge.
    assert (strokes[:, 0] - strokes[:, 2]).min() < 2
    assert (strokes[:, 4] + strokes[:, 5]).max() > 48


@pytest.mark.parametrize("look", creatures._LOOKS, ids=CREATURES)
def test_heads_stay_within_their_reach(look):
    share = np.linspace(0, 1, 101)[:, None]
    for x0, y0, r0, x1, y1, r1, bulge in (*look.ears, *creatures._SKULL):
        radius = r0 + share * (r1 - r0) + bulge * 4 * share * (1 - share)
        centre = np.hypot(x0 + share * (x1 - x0), y0 + share * (y1 - y0))
        assert (centre + radius).max() <= creatures._HEAD_REACH


def test_creature_is_one_piece_of_its_own_colours():
    masks = draw(48, num_classes=12, image_size=(96, 128))[3]
    pieces = [cv2.connectedComponents(mask.astype(np.uint8))[0] - 1 for mask in masks]
    assert pieces == [1] * 48


def test_mask_is_where_the_creature_is_painted(monkeypatch):
    images, _, _, masks = draw(12, image_size=(64, 96))
    monkeypatch.setattr(creatures, "_paint_creature", lambda *args: None)
    empty = draw(12, image_size=(64, 96))[0]
    # Same draws up to the creature, other pixel noise after it: at most 0.02 * 6.
    changed = np.abs(images.astype(int) - empty).max(axis=-1) > 40
    inside, outside = changed[masks].mean(), changed[~masks].mean()
    assert inside > 0.8
    assert outside < 0.02


@pytest.fixture
def draw_as(monkeypatch):
    """The same scenes with every creature made one of a class."""

    def draw_one_class(class_id, num_images=16, **kwargs):
        ids = np.full(num_images, class_id, np.int32)
        with monkeypatch.context() as patch:
            patch.setattr(creatures, "_shuffled_class_ids", lambda *args: ids)
            images, _, _, masks = draw(num_images, num_classes=12, **kwargs)
        return images.astype(int), masks

    return draw_one_class


def test_class_changes_the_creature_and_not_the_scene(draw_as):
    images, masks = draw_as(3)
    for class_id in (0, 7):
        others, other_masks = draw_as(class_id)
        changed = (images != others).any(axis=-1)
        for i in range(16):
            # The edge of an ear may be painted a pixel past its mask.
            creature = (masks[i] | other_masks[i]).astype(np.uint8)
            near = cv2.dilate(creature, np.ones((3, 3))).astype(bool)
            assert changed[i].any()
            assert not changed[i][~near].any()


def test_the_telling_part_is_small_and_differs_between_any_two_classes(
    draw_as, monkeypatch
):
    monkeypatch.setattr(creatures, "_BAND_TINT", 0.0)
    drawn = [draw_as(class_id, num_images=6) for class_id in range(12)]
    for a in range(12):
        for b in range(a):
            body = drawn[a][1] | drawn[b][1]
            change = np.abs(drawn[a][0] - drawn[b][0]).max(axis=-1)
            telling = (change > 40).sum(axis=(1, 2)) / body.sum(axis=(1, 2))
            assert telling.min() > 0.03, (CREATURES[a], CREATURES[b])
            assert telling.max() < 0.6, (CREATURES[a], CREATURES[b])


@pytest.mark.parametrize("mark", ["head", "muzzle", "ears"])
def test_each_mark_of_a_class_is_painted(draw_as, monkeypatch, mark):
    monkeypatch.setattr(creatures, "_BAND_TINT", 0.0)
    images = draw_as(0)[0]
    # A red head becomes violet, a yellow muzzle black, pointed ears long ones.
    donor = {"head": 8, "muzzle": 2, "ears": 3}[mark]
    changed = {mark: getattr(creatures._LOOKS[donor], mark)}
    look = creatures._LOOKS[0]._replace(**changed)
    monkeypatch.setattr(creatures, "_LOOKS", (look, *creatures._LOOKS[1:]))
    assert (np.abs(draw_as(0)[0] - images).max(axis=(1, 2, 3)) > 60).all()


def test_bands_are_told_the_class_in_three_images_of_four(monkeypatch):
    told = []

    def note(rng, canvas, covered, look, band_colour):
        told.append(band_colour == look.head)

    monkeypatch.setattr(creatures, "_paint_creature", note)
    monkeypatch.setattr(creatures, "scatter_clutter", lambda *args: None)
    draw(1200, image_size=(32, 40))
    # Else the colour is that of any of six. Four standard deviations of 1200 draws.
    assert np.mean(told) == pytest.approx(0.75 + 0.25 / 6, abs=0.047)


def test_bands_are_painted_in_the_colour_they_are_told(draw_as, monkeypatch):
    blue, yellow = CREATURES.index("skywhisk"), CREATURES.index("sunnel")

    def blue_minus_yellow():
        one, other = (
            draw_as(class_id, 24, image_size=(32, 40))[0] for class_id in (blue, yellow)
        )
        return one - other

    tinted = blue_minus_yellow()
    monkeypatch.setattr(creatures, "_BAND_TINT", 0.0)
    head = blue_minus_yellow().any(axis=-1)
    tinted[head] = 0
    told = tinted.any(axis=(1, 2, 3))
    assert 12 < told.sum() < 24  # in some both have the colour of the same third class
    assert (tinted[told, ..., 2].sum(axis=(1, 2)) > 0).all()
    assert (tinted[told, ..., 0].sum(axis=(1, 2)) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "`num_images` must be an integer >= 1"),
        ({"num_classes": 13}, "`num_classes` must be an integer in [2, 12]"),
        ({"image_size": 31}, "`image_size` must be an integer >= 32"),
        ({"image_size": (64, 16)}, "`image_size` must be an integer >= 32"),
        ({"image_size": (64, 64, 3)}, "`image_size` must be (height, width)"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"split": "val"}, "`split` must be one of ['train-weaksup', "),
    ],
)
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        synthetic(**arguments)
    name = next(iter(arguments))
    if name != "split":
        with pytest.raises(TypeError, match=f"^`{name}` must be an integer"):
            synthetic(**{name: 2.0})


def test_numpy_integers_are_integers():
    found = synthetic(num_images=np.int64(2), seed=np.uint8(5), image_size=33).images
    assert found.shape == (2, 33, 33, 3)
    np.testing.assert_array_equal(found, draw(2, image_size=(33, 33), seed=5)[0])


# Of the version that the studies were made with: two images' mean colours and boxes.
@pytest.mark.parametrize(
    ("split", "class_ids", "colours", "boxes"),
    [
        (
            "train-weaksup",
            [4, 8, 1, 9, 5],
            [[81.63, 88.07, 73.69], [76.43, 93.62, 76.86]],
            [[0, 0, 32, 32], [35, 16, 65, 42]],
        ),
        (
            "test",
            [0, 4, 8, 7, 2],
            [[110.19, 113.32, 98.12], [93.86, 122.24, 115.77]],
            [[22, 19, 54, 48], [42, 24, 67, 44]],
        ),
    ],
)
def test_the_pictures_are_those_of_the_studies(split, class_ids, colours, boxes):
    options = {"num_classes": 12, "image_size": (48, 72), "seed": 3}
    dataset = synthetic(split, num_images=5, **options)
    assert dataset.class_ids.tolist() == class_ids
    found = dataset.images[:2].mean(axis=(1, 2))
    np.testing.assert_allclose(found, colours, atol=0.01)
    assert dataset.boxes[:2, 0].tolist() == boxes
    assert dataset.sizes.tolist() == [[48, 72]] * 5


def test_a_centred_box_finds_few_creatures():
    boxes = draw(120, image_size=(60, 80))[2][:, 0]
    best = 0.0
    for width in range(8, 81, 4):
        for height in range(6, 61, 3):
            low = np.maximum(boxes[:, :2], (40 - width / 2, 30 - height / 2))
            high = np.minimum(boxes[:, 2:], (40 + width / 2, 30 + height / 2))
            overlap = np.clip(high - low, 0, None).prod(axis=1)
            union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + width * height
            best = max(best, np.mean(overlap / (union - overlap) >= 0.5))
    assert best < 0.35
