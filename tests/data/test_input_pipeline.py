"""The fast paths give what the slow ones did: fused crop, sole frame, one stream."""

import time
from threading import Lock

import numpy as np
import pytest
import tensorflow as tf

from keras_wsol.data.dataset import default_threads
from keras_wsol.data.images import read_header, sole_frame
from keras_wsol.data.tf_pipeline import (
    Reading,
    crop_of_resized,
    decode_rgb,
    read_stream,
    resize,
)
from tests.data.handmade import behind_start, encode, exif, segment
from tests.data.small_datasets import arrays, assert_same, gradient, in_memory, noise

SIZE = (14, 21)
TRAINING = {"training": True, "seed": 3, "image_size": SIZE}


def tents(before, after):
    """Weights `(after, before)` of an antialiased bilinear resize, in loops."""
    weights = np.zeros((after, before))
    step = before / after
    radius = max(step, 1.0)
    for new in range(after):
        centre = (new + 0.5) * step
        for old in range(before):
            weights[new, old] = max(0.0, 1 - abs(old + 0.5 - centre) / radius)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("stored", [(61, 83), (24, 17), (16, 24), (9, 200)])
@pytest.mark.parametrize("corner", [(0, 0), (2, 3), (1, 0)])
def test_the_crop_of_a_resized_image_borders_included(stored, corner):
    image = noise(1, *stored)[0]
    rows, columns = tents(stored[0], 16), tents(stored[1], 24)
    whole = np.einsum("yh,hwc,xw->yxc", rows, image, columns)
    top, left = corner
    expected = whole[top : top + 14, left : left + 21]
    found = crop_of_resized(image, (16, 24), tf.constant(corner), SIZE)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=5e-4)
    np.testing.assert_allclose(resize(image, (16, 24)), whole, atol=5e-4)


JPEG = encode(gradient(20, 36), "JPEG", quality=95)
LIE = b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"


@pytest.mark.parametrize(
    ("file", "sole", "plain"),
    [
        (JPEG, True, True),
        (encode(gradient(20, 36), "JPEG", progressive=True), True, True),
        (behind_start(JPEG, segment(0xFE, LIE)), False, True),
        (behind_start(JPEG, segment(0xE1, exif(6))), True, False),
        (behind_start(JPEG, segment(0xE1, exif(6) + JPEG)), False, False),
        (JPEG[:2] + b"\xff\xd9" + JPEG[2:], False, True),
        (JPEG[:2] + b"\xff\xff\xff" + JPEG[2:], True, True),
        (b"GIF89a" + JPEG[6:], False, True),
        (b"\xff\xd8\xff", False, True),
        (b"", False, True),
    ],
    ids=range(10),
)
def test_a_frame_is_sole_only_if_its_size_can_stand_nowhere_else(file, sole, plain):
    found, size, no_exif = sole_frame(file)
    assert (bool(found), bool(no_exif)) == (sole, plain)
    if sole:
        assert size.numpy().tolist() == [20, 36]
        assert read_header(file).size.numpy().tolist() == [20, 36]


def test_the_fast_decoder_gives_the_pixels_of_the_other():
    # A comment that looks like a frame makes the file take the long way.
    for image in (gradient(20, 36), noise(1, 33, 50)[0], gradient(20, 36)[..., 0]):
        for options in ({}, {"progressive": True}, {"quality": 30}):
            file = encode(image, "JPEG", **options)
            other = behind_start(file, segment(0xFE, LIE))
            assert bool(sole_frame(file)[0])
            assert not bool(sole_frame(other)[0])
            np.testing.assert_array_equal(decode_rgb(file), decode_rgb(other))


@pytest.mark.parametrize(
    "broken", [[], [0], [3, 4], [9], [1, 2, 3, 5, 8], [*range(10)]]
)
def test_a_stream_with_gaps(broken):
    def read_one(number):
        for index in broken:
            tf.debugging.assert_none_equal(number, tf.constant(index, tf.int64))
        value = tf.cast(number + 10, tf.float32)
        side = tf.cast(number, tf.int32) + 2
        return tf.fill((2, 3, 3), value), tf.zeros((side, 2 * side, 3))

    found = list(read_stream(10, 4, read_one, (2, 3), Reading()))
    assert [len(numbers) for numbers, *_ in found] == [4, 4, 2]
    numbers, images, sizes, read = (
        np.concatenate(column) for column in zip(*found, strict=True)
    )
    assert numbers.tolist() == [*range(10)]
    assert read.tolist() == [number not in broken for number in range(10)]
    values = [0 if number in broken else number + 10 for number in range(10)]
    np.testing.assert_array_equal(
        images, np.ones((10, 2, 3, 3)) * np.reshape(values, (10, 1, 1, 1))
    )
    heights = [1 if number in broken else number + 2 for number in range(10)]
    assert sizes[:, 0].tolist() == heights


def by_content(batches):
    return sorted(batches, key=lambda batch: (batch[1].tolist(), batch[0].tobytes()))


def test_without_order_the_batches_are_the_same():
    dataset = in_memory(noise(11))
    expected = dataset.batches(2, start_step=5, **TRAINING)
    found = dataset.batches(2, deterministic=False, start_step=5, **TRAINING)
    assert found.cardinality() == 5
    for _ in range(2):
        assert_same(by_content(arrays(found)), by_content(arrays(expected)))


def test_without_order_training_cannot_go_on_in_the_middle_of_a_pass():
    message = "`start_step` must be a multiple of 7, .* Received: start_step=8"
    with pytest.raises(ValueError, match=message):
        in_memory(noise(15)).batches(2, deterministic=False, start_step=8, **TRAINING)


def test_threads_change_nothing():
    dataset = in_memory(noise(9))
    one, many = (dataset.batches(2, threads=n, **TRAINING) for n in (1, None))
    assert_same(arrays(one), arrays(many))
    for threads in (0, 1.5, True):
        with pytest.raises(ValueError, match="`threads` must be an integer of at lea"):
            dataset.batches(2, threads=threads)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("threads", [1, None])
def test_one_thread_reads_one_image_at_once(monkeypatch, deterministic, threads):
    monkeypatch.setattr("keras_wsol.data.tf_pipeline.default_threads", lambda: 1)
    lock, at_once = Lock(), [0, 0]

    def slow(number):
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        time.sleep(0.02)
        with lock:
            at_once[0] -= 1
        return number

    def read_one(number):
        value = tf.ensure_shape(tf.numpy_function(slow, [number], tf.int64), ())
        return tf.fill((2, 3, 3), tf.cast(value, tf.float32)), tf.zeros((4, 5, 3))

    reading = Reading(deterministic=deterministic, threads=threads)
    found = list(read_stream(16, 2, read_one, (2, 3), reading))
    assert len(found) == 8
    assert at_once[1] == 1


@pytest.mark.parametrize(("cores", "threads"), [(64, 16), (3, 3), (None, 1)])
def test_memory_does_not_grow_with_the_cores(monkeypatch, cores, threads):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert default_threads() == threads
