"""Training batches without TensorFlow: a pure function of seed and step."""

from itertools import islice

import keras
import numpy as np
import pytest

from keras_wsol.data.numpy_pipeline import random_crop_and_flip
from tests.data.small_datasets import as_files, assert_same, in_memory, noise

SIZE = (14, 21)
ELEVEN = in_memory(noise(11))


def make(batch_size=2, dataset=ELEVEN, **options):
    options = {"seed": 3, "image_size": SIZE, **options}
    return dataset.training_sequence(batch_size, **options)


def order(batches, passes=1):
    """Class ids of passes; image i is of class i."""
    steps = passes * batches.steps_per_epoch
    return [i for step in range(steps) for i in batches[step][1].tolist()]


def pictures(batches, steps):
    """The bytes of each image, by class id."""
    return {
        int(class_id): image.tobytes()
        for images, ids in map(batches.__getitem__, steps)
        for image, class_id in zip(images, ids, strict=True)
    }


@pytest.fixture(scope="module")
def ten():
    return list(islice(make(), 10))  # two passes of five steps


def test_images_and_class_ids_as_documented(ten):
    images, class_ids = ten[0]
    assert (images.dtype, images.shape) == (np.float32, (2, 14, 21, 3))
    assert (class_ids.dtype, class_ids.shape) == (np.int32, (2,))
    assert images.min() >= 0
    assert 200 < images.max() <= 255


def test_a_pass_has_every_image_once_in_an_order_of_its_own():
    both = order(make(4, in_memory(noise(12))), passes=2)
    assert sorted(both[:12]) == sorted(both[12:]) == list(range(12))
    assert both[:12] != both[12:]
    assert len(set(order(make()))) == 10  # of eleven: only full batches


def test_class_ids_go_with_the_images():
    # Image i has the one colour i, which no crop, flip or resize changes.
    colours = np.arange(6, dtype="uint8").reshape(6, 1, 1, 1)
    flat = np.broadcast_to(colours, (6, 24, 40, 3))
    ids = np.array([5, 3, 1, 0, 2, 4])
    batches = make(3, in_memory(flat, class_ids=ids))
    for images, class_ids in (batches[0], batches[1]):
        assert ids[images[:, 4, 5, 1].astype(int)].tolist() == class_ids.tolist()


def test_any_step_may_be_asked_for_at_any_time(ten):
    batches = make()
    for step in (7, 0, 0, 9, 1, 4, 3):
        assert_same([batches[step]], [ten[step]])


@pytest.mark.parametrize("start", [1, 5, 7])
def test_start_step_goes_on_where_another_run_was(ten, start):
    assert_same(list(islice(make(start_step=start), 10 - start)), ten[start:])


@pytest.mark.parametrize("count", [2, 3])
def test_the_shards_together_are_the_batch(count):
    whole = make(6)
    parts = [make(6, shard=(index, count)) for index in range(count)]
    for step in range(3):
        found = [np.concatenate(x) for x in zip(*(p[step] for p in parts), strict=True)]
        assert_same([found], [whole[step]])


@pytest.mark.parametrize("seed", [4, -3])
def test_seeds_differ_in_order_and_in_crops(ten, seed):
    assert order(make(seed=seed)) != [int(i) for _, ids in ten[:5] for i in ids]
    same = in_memory(np.repeat(noise(1), 12, axis=0))
    mine, theirs = (
        [make(1, same, seed=seed)[step][0].tobytes() for step in range(12)]
        for seed in (seed, 3)
    )
    assert sum(a == b for a, b in zip(mine, theirs, strict=True)) < 5


def test_passes_and_places_are_each_cropped_in_their_own_way():
    # One picture twelve times: only crops and flips, of which there are 24, differ.
    same = make(4, in_memory(np.repeat(noise(1), 12, axis=0)))
    first, second = (
        [image.tobytes() for step in steps for image in same[step][0]]
        for steps in (range(3), range(3, 6))
    )
    assert len(set(first)) > 6
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 5


def test_files_and_memory_give_the_same(tmp_path, ten):
    batches = make(dataset=as_files(tmp_path, noise(11)))
    assert_same([batches[0], batches[1]], ten[:2])


def test_every_crop_and_flip_comes_equally_often():
    # 14 x 21 of 16 x 24: 3 tops, 4 lefts, 2 flips. The picture is a ramp each way, so
    # that a crop's corner says where it was cut; it is as large as before the crop.
    rows, columns = np.mgrid[:16, :24].astype("uint8")
    ramp = np.stack([rows, columns, np.zeros_like(rows)], -1)
    seen = np.zeros((3, 4, 2), int)
    for draw in range(2400):
        cut = random_crop_and_flip(ramp, SIZE, np.random.default_rng(draw).random(3))
        flip = int(cut[0, 0, 1] > cut[0, -1, 1])
        top, left = cut[0, -1 if flip else 0, :2]
        expected = ramp[top : top + 14, left : left + 21]
        np.testing.assert_array_equal(cut, expected[:, :: -1 if flip else 1])
        seen[top, left, flip] += 1
    assert abs(seen - 100).max() < 45  # 4.6 standard deviations of a binomial


def test_crops_are_those_of_tensorflow():
    tf = pytest.importorskip("tensorflow")
    from keras_wsol.data import tf_pipeline

    image = noise(1)[0]
    seed = np.array([5, 7], "int64")
    expected = tf_pipeline.random_crop_and_flip(image, SIZE, seed).numpy()
    draws = tf.random.stateless_uniform([3], seed).numpy()
    found = random_crop_and_flip(image, SIZE, draws)
    # Pillow rounds to whole numbers, after each of the two directions.
    assert abs(found - expected).max() <= 1.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 12}, "A batch of 12 needs as many images.* has 11"),
        (
            {"shard": (2, 2)},
            r"`shard` must be an integer in \[0, 1\]. Received: shard=2",
        ),
        ({"shard": 1}, "`shard` must be"),
        ({"shard": (0, 3), "batch_size": 4}, "a multiple of their number.*4 with 3"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


class Recorder(keras.callbacks.Callback):
    """Counts the batches and remembers the loss, which is the mean of the class ids."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["loss"])


def test_fit_is_fed_each_step_once_in_order(ten):
    inputs = keras.Input((*SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, trainable=False)(pooled))
    # The loss of an epoch's first steps is the mean of the class ids so far.
    model.compile(loss=lambda y, _: keras.ops.cast(y, "float32"))
    recorder, batches = Recorder(), make()
    model.fit(
        batches,
        steps_per_epoch=batches.steps_per_epoch,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    means = [ids.mean() for _, ids in ten]
    so_far = [np.cumsum(part) / np.arange(1, 6) for part in (means[:5], means[5:])]
    np.testing.assert_allclose(recorder.means, np.concatenate(so_far), rtol=1e-5)
