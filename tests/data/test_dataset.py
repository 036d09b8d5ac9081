import numpy as np
import pytest

from keras_wsol.data import ImageDataset
from tests.data.small_datasets import in_memory, noise


@pytest.fixture
def five():
    boxes = np.arange(40, dtype="float32").reshape(5, 2, 4)
    return in_memory(noise(5, 6, 9), boxes=boxes)


def test_what_it_says_of_itself(five):
    assert len(five) == 5
    assert five.num_classes == 5
    text = "ImageDataset('tiny', split='train', images=5, classes=5, boxes=True)"
    assert repr(five) == text


@pytest.mark.parametrize(
    "chosen", [[3, 0], np.array([3, 0]), (3, 0)], ids=["list", "array", "tuple"]
)
def test_take_keeps_the_given_order(five, chosen):
    taken = five.take(chosen, "some")
    assert (taken.split, taken.name, taken.class_names) == (
        *("some", "tiny"),
        five.class_names,
    )
    assert taken.class_ids.tolist() == [3, 0]
    assert taken.paths.tolist() == ["image 3", "image 0"]
    np.testing.assert_array_equal(taken.images, five.images[[3, 0]])
    np.testing.assert_array_equal(taken.boxes, five.boxes[[3, 0]])


def test_take_by_mask_has_its_own_list_of_skipped_files(five):
    five.skipped.add("x")
    taken = five.take(np.array([False, True, False, False, True]), "some")
    assert taken.class_ids.tolist() == [1, 4]
    assert taken.skipped.paths == ()


def test_take_without_boxes_and_images():
    plain = ImageDataset(
        name="n",
        split="s",
        class_names=("a",),
        class_ids=np.zeros(3, "int32"),
        paths=np.array(["x", "y", "z"]),
    )
    taken = plain.take([2], "t")
    assert taken.images is taken.boxes is None
    assert taken.paths.tolist() == ["z"]


def test_class_weights_by_hand():
    # 6 images of 3 classes, 3 of the first: 6 / (3 * 3), then 6 / 3 and 6 / 6.
    ids = np.array([0, 2, 0, 4, 4, 0])
    weights = in_memory(noise(6, 2, 3), class_ids=ids).class_weights()
    assert weights == pytest.approx({0: 2 / 3, 2: 2.0, 4: 1.0})


def test_steps_per_epoch_counts_full_batches(five):
    assert [five.steps_per_epoch(size) for size in (1, 2, 5, 6)] == [5, 2, 1, 0]


def test_parts_must_fit_together():
    message = r"must have one entry for each image. Received lengths: \[4, 5\]."
    for part in ("class_ids", "paths", "boxes"):
        with pytest.raises(ValueError, match=message):
            in_memory(noise(5, 6, 9), **{part: np.zeros((4, 1, 4))})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at .*batch_size=0"),
        ({"batch_size": True}, "`batch_size` must be an integer .*batch_size=True"),
        ({"batch_size": 2.0}, "`batch_size` must be an integer .*batch_size=2.0"),
        ({"view": "crop"}, r"`view` must be one of \['whole', 'center_crop'\].*'crop'"),
        (
            {"unreadable": "drop"},
            r"`unreadable` must be .* \['raise', 'skip'\].*'drop'",
        ),
    ],
)
def test_arguments_out_of_range(five, arguments, message):
    for batches in (five.batches, five.numpy_batches):
        with pytest.raises(ValueError, match=message):
            batches(**arguments)


def test_boxes_asked_for_where_there_are_none():
    dataset = in_memory(noise(2, 6, 9))
    message = "The split 'train' of 'tiny' has no boxes: use `with_boxes=False`."
    with pytest.raises(ValueError, match=message):
        dataset.batches(2, with_boxes=True)


def test_training_sees_no_boxes(five):
    with pytest.raises(ValueError, match="Training sees no boxes"):
        five.batches(2, training=True, with_boxes=True)


def test_training_on_fewer_images_than_a_batch(five):
    message = "A batch of 6 needs as many images. The split 'train' of 'tiny' has 5."
    with pytest.raises(ValueError, match=message):
        five.batches(6, training=True)
