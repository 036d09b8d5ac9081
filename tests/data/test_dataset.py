import dataclasses
import pickle
from dataclasses import replace

import numpy as np
import pytest

from keras_wsol.data import ImageDataset, synthetic
from keras_wsol.data.dataset import images_a_class
from keras_wsol.models.parts import Logits
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


def test_take_by_booleans(five):
    sizes = np.arange(10).reshape(5, 2)
    known = replace(five, sizes=sizes, left_out=(("x", "broken"),))
    taken = known.take(np.array([False, True, False, False, True]), "some")
    assert taken.class_ids.tolist() == [1, 4]
    assert taken.sizes.tolist() == [[2, 3], [8, 9]]
    assert taken.left_out == (("x", "broken"),)


def test_take_nothing(five):
    taken = five.take([], "none")
    assert (len(taken), taken.images.shape[0], len(taken.boxes)) == (0, 0, 0)


def test_pickling(five):
    again = pickle.loads(pickle.dumps(five))
    assert repr(again) == repr(five)
    np.testing.assert_array_equal(again.images, five.images)


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
    for part in ("class_ids", "paths", "boxes", "sizes"):
        with pytest.raises(ValueError, match=message):
            in_memory(noise(5, 6, 9), **{part: np.zeros((4, 1, 4))})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be .*batch_size=0"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` must be an integer.*=2.0"),
        ({"view": "crop"}, ValueError, r"`view` .*\['whole', 'center_crop'\].*'crop'"),
        ({"image_size": 14}, ValueError, "`image_size` must be .height, width..*14"),
        ({"image_size": (14, 0)}, ValueError, "`image_size` must be an integer"),
    ],
)
def test_arguments_out_of_range(five, arguments, error, message):
    readers = (five.batches, five.numpy_batches, five.evaluation_batches)
    for batches in readers:
        with pytest.raises(error, match=message):
            next(iter(batches(**arguments)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": 0.5}, TypeError, "`seed` must be an integer"),
        ({"start_step": -1}, ValueError, "`start_step` must be an integer >= 0"),
    ],
)
def test_arguments_of_training_out_of_range(five, arguments, error, message):
    with pytest.raises(error, match=message):
        five.batches(2, training=True, **arguments)
    with pytest.raises(error, match=message):
        five.training_sequence(2, **arguments)


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


# Four images of class 2, one of class 5, three of class 0.
CLASS_IDS = np.array([2, 0, 2, 5, 0, 2, 0, 2])


def counts(drawn):
    return [int(drawn[class_id == CLASS_IDS].sum()) for class_id in (0, 2, 5)]


def test_same_number_of_each_class_but_never_all_of_one():
    everything = np.ones(8, bool)
    assert counts(images_a_class(CLASS_IDS, everything, 2, seed=0)) == [2, 2, 0]
    assert counts(images_a_class(CLASS_IDS, everything, 9, seed=0)) == [2, 3, 0]


def test_only_allowed_images_are_drawn():
    allowed = np.array([True, True, False, True, True, True, True, True])
    for seed in range(20):
        drawn = images_a_class(CLASS_IDS, allowed, 2, seed)
        assert not drawn[2]
        assert counts(drawn) == [2, 2, 0]
    # Class 2 has no allowed image left.
    assert counts(images_a_class(CLASS_IDS, CLASS_IDS != 2, 2, 0)) == [2, 0, 0]


def test_the_seed_decides_and_every_image_gets_its_turn():
    everything = np.ones(8, bool)
    draws = [images_a_class(CLASS_IDS, everything, 2, seed) for seed in range(60)]
    np.testing.assert_array_equal(draws[7], images_a_class(CLASS_IDS, everything, 2, 7))
    # 2 of 3, 2 of 4; class 5 keeps its one image.
    chance = np.where(CLASS_IDS == 0, 2 / 3, np.where(CLASS_IDS == 2, 1 / 2, 0))
    np.testing.assert_allclose(np.mean(draws, axis=0), chance, atol=0.25)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b", "a"), "'a' must be there once. Received: class 0 and class 2"),
        (("\u00e9", "b", "e\u0301"), "class 0 and class 2"),
    ],
)
def test_class_names_differ_and_can_be_written(names, message):
    with pytest.raises(ValueError, match=message):
        in_memory(noise(3, 2, 3), class_names=names)


def test_names_of_classes_are_composed():
    # As macOS writes the name of a folder, and as keyboards do.
    apart, whole = "Ba\u0308r", "B\u00e4r"
    assert in_memory(noise(1, 2, 3), class_names=(apart,)).class_names == (whole,)
    assert Logits(1, class_names=[apart]).class_names == (whole,)


def test_hold_out_parts_each_class():
    whole = in_memory(noise(8, 2, 3), class_ids=CLASS_IDS)
    rest, held_out = whole.hold_out(2, seed=3)
    chosen = images_a_class(CLASS_IDS, np.ones(8, bool), 2, seed=3)
    assert held_out.paths.tolist() == whole.paths[chosen].tolist()
    assert rest.paths.tolist() == whole.paths[~chosen].tolist()
    assert (rest.split, held_out.split) == ("train", "held out")
    # What cannot be read is counted once.
    broken = (("a.png", "broken"),)
    parts = dataclasses.replace(whole, left_out=broken).hold_out(2)
    assert [each.left_out for each in parts] == [broken, ()]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 5, 3)),
        np.zeros((2, 4, 5, 3), "uint16"),
        np.zeros((2, 4, 5), "uint8"),
    ],
)
def test_images_in_memory_are_bytes_of_colours(images):
    with pytest.raises(ValueError, match=r"must be uint8 \(N, H, W, 3\) in \[0, 255\]"):
        ImageDataset(
            name="x",
            split="train",
            class_names=("a",),
            class_ids=np.zeros(2, "int32"),
            paths=np.array(["1", "2"]),
            images=images,
        )


def test_a_notebook_shows_what_there_is():
    names = tuple(f"<{n}>" for n in range(10))
    drawn = synthetic(num_images=12, num_classes=10, image_size=32)
    shown = replace(drawn, class_names=names, left_out=(("a.jpg", "empty"),))
    text = shown._repr_html_()
    assert "<th>images</th><td>12, 1 to 2 a class</td>" in text
    assert "10: &lt;0&gt;, " in text
    assert "&lt;7&gt;, ...</td>" in text
    assert "<td>1 that cannot be read</td>" in text
    assert "boxes</th><td>known" in text
    assert "boxes</th><td>unknown" in replace(drawn, boxes=None)._repr_html_()
