"""Order and augmentation are a pure function of seed, pass and step."""

from itertools import chain, combinations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.data.small_datasets import arrays, as_files, assert_same, in_memory, noise

SIZE = (14, 21)
ELEVEN = in_memory(noise(11))


def make(batch_size=2, dataset=ELEVEN, **options):
    options = {"training": True, "seed": 3, "image_size": SIZE, **options}
    return dataset.batches(batch_size, **options)


def passes(batches, count):
    return [arrays(batches) for _ in range(count)]


def order(batches):
    """Class ids of a pass; image i is of class i."""
    return [class_id for _, ids in batches for class_id in ids.tolist()]


def pictures(batches):
    """The bytes of each image of a pass, by class id."""
    return {
        int(class_id): image.tobytes()
        for images, ids in batches
        for image, class_id in zip(images, ids, strict=True)
    }


@pytest.fixture(scope="module")
def four_passes():
    return passes(make(), 4)  # of five steps each


def test_images_and_class_ids_as_documented(four_passes):
    images, class_ids = four_passes[0][0]
    assert (images.dtype, images.shape) == (np.float32, (2, 14, 21, 3))
    assert (class_ids.dtype, class_ids.shape) == (np.int32, (2,))
    assert images.min() >= 0
    assert 200 < images.max() <= 255


def test_a_pass_is_of_full_batches_and_has_no_image_twice(four_passes):
    for batches in four_passes:
        assert [len(ids) for _, ids in batches] == [2] * 5
        assert len(set(order(batches))) == 10


def test_class_ids_go_with_the_images():
    # Image i has the one colour i, which no crop, flip or resize changes.
    colours = np.arange(6, dtype="uint8").reshape(6, 1, 1, 1)
    flat = np.broadcast_to(colours, (6, 24, 40, 3))
    ids = np.array([5, 3, 1, 0, 2, 4])
    for images, class_ids in make(3, in_memory(flat, class_ids=ids)):
        indices = np.round(images.numpy()[:, 4, 5, 1]).astype(int)
        assert ids[indices].tolist() == class_ids.numpy().tolist()


def test_peeking_and_abandoning_change_nothing(four_passes):
    batches = make()
    assert_same(arrays(batches.take(3)), four_passes[0][:3])
    abandoned = iter(batches)
    next(abandoned)
    next(abandoned)
    assert_same(arrays(batches), four_passes[0])
    next(iter(batches))
    assert_same(arrays(batches), four_passes[1])


def test_passes_differ_in_order_and_augmentation(four_passes):
    orders = [order(batches) for batches in four_passes]
    assert len({tuple(one) for one in orders}) == 4
    # An image has 24 crops and flips: of about 50 pairs few are equal by chance.
    pairs = [
        first[i] == second[i]
        for first, second in combinations(map(pictures, four_passes), 2)
        for i in set(first) & set(second)
    ]
    assert len(pairs) > 40
    assert sum(pairs) < 12


def test_places_passes_and_seeds_are_each_cropped_in_their_own_way():
    # One picture twelve times: only crops and flips tell them apart.
    same = in_memory(np.repeat(noise(1), 12, axis=0))
    first, second, third = (
        [image.tobytes() for images, _ in batches for image in images]
        for batches in [*passes(make(4, same), 2), *passes(make(4, same, seed=4), 1)]
    )
    assert len(set(first)) > 6
    for other in (second, third):
        assert sum(a == b for a, b in zip(first, other, strict=True)) < 5


@pytest.mark.parametrize("start", [5, 7])
def test_start_step_goes_on_where_another_run_was(four_passes, start):
    expected = [*chain(*four_passes)][start:]
    batches = make(start_step=start)
    found = []
    while len(found) < 8:
        found += arrays(batches)
    assert_same(found, expected[: len(found)])


@pytest.mark.parametrize(
    "other", [{"seed": -3}, {"seed": 3 + 256}, {"start_step": 256 * 5}]
)
def test_orders_differ_also_after_256(four_passes, other):
    assert order(arrays(make(**other))) != order(four_passes[0])


def test_cardinality_is_known_at_the_start_of_a_pass():
    assert make().cardinality() == 5
    assert make(4).cardinality() == 2
    assert make(start_step=10).cardinality() == 5


def test_files_and_memory_give_the_same(tmp_path, four_passes):
    assert_same(arrays(make(dataset=as_files(tmp_path, noise(11)))), four_passes[0])


class Recorder(keras.Model):
    """Notes, in graph, the batches that `fit` feeds it."""

    def __init__(self, steps, batch_size):
        super().__init__()
        self.step = tf.Variable(0)
        self.ids = tf.Variable(tf.fill((steps, batch_size), -1))
        self.images = tf.Variable(tf.zeros((steps, batch_size, *SIZE, 3)))

    def train_step(self, data):
        images, ids = data
        self.ids.scatter_nd_update([[self.step]], ids[None])
        self.images.scatter_nd_update([[self.step]], images[None])
        self.step.assign_add(1)
        return {"loss": 0.0}


def fed(batches, epochs):
    """The batches that `fit` took."""
    recorder = Recorder(20, 2)
    recorder.compile()
    recorder.fit(batches, epochs=epochs, verbose=0)
    count = recorder.step.numpy()
    images, ids = recorder.images.numpy(), recorder.ids.numpy()
    return list(zip(images[:count], ids[:count], strict=True))


def test_fit_is_fed_what_iterating_by_hand_gives(four_passes):
    assert_same(fed(make(), 3), [*chain(*four_passes[:3])])


def test_fit_goes_on_in_the_middle_of_a_pass(four_passes):
    # Two steps are left of the first pass. Whether an epoch is the rest of a pass or
    # has five steps across two: no batch is lost and none comes twice.
    found = fed(make(start_step=3), 3)
    assert len(found) in (12, 15)
    assert_same(found, [*chain(*four_passes)][3 : 3 + len(found)])
