import threading
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from tests.reference import score_map_numpy

CLASS_IDS = np.array([[6, 0, 3], [1, 1, 5]])
KERNEL = np.random.default_rng(9).normal(size=(6, 9, 3, 7)).astype("float32") / 40


def network(images):
    """Weighs every pixel by class: logits (N, 7)."""
    return ops.einsum("nhwc,hwck->nk", ops.tanh(images / 100), KERNEL)


def numpy_network(images):
    return np.einsum("nhwc,hwck->nk", np.tanh(images / 100), KERNEL.astype(float))


def example(seed=0):
    """Images (2, 6, 9, 3) and features (2, 3, 4, 5); some features are negative."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 255, (2, 6, 9, 3)).astype("float32")
    return images, rng.normal(size=(2, 3, 4, 5)).astype("float32") + 0.5


def score_cam(network, images, features, class_ids, batch_size, baseline):
    """Maps before the ReLU; `network` takes images and returns logits."""
    evidence = SimpleNamespace(
        images=ops.convert_to_tensor(images),
        features=features,
        class_ids=ops.convert_to_tensor(class_ids, dtype="int32"),
        logits_of=network,
    )
    return cam.ScoreCAM(None, False, batch_size, baseline).maps(evidence)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("baseline", [0.0, (120.0, 110.0, 90.0)])
def test_equals_the_loops_whatever_the_batch_size(batch_size, baseline):
    images, features = example()
    found = score_cam(network, images, features, CLASS_IDS, batch_size, baseline)
    expected = score_map_numpy.score_cam(
        numpy_network, images, features, CLASS_IDS, np.array(baseline)
    )
    assert expected.min() < 0
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=2e-4)


def test_no_more_than_batch_size_images_go_through_at_once():
    images, features = example()
    sizes = []

    def counting(masked):
        sizes.append(masked.shape[0])
        return network(masked)

    score_cam(counting, images, features, CLASS_IDS, 2, 0.0)
    # Two images of five channels in groups of two; a tracing backend looks once.
    assert set(sizes) == {2}
    assert len(sizes) in (1, 6)


def test_dead_channels_and_nan():
    images, features = example(2)
    features[0, ..., 2] = 0
    features[1, 0, 0, 0] = np.nan
    raw = score_cam(network, images, features, CLASS_IDS, 32, 0.0)
    expected = score_map_numpy.score_cam(
        numpy_network, images[:1], features[:1], CLASS_IDS[:1], np.zeros(3)
    )
    np.testing.assert_allclose(ops.convert_to_numpy(raw)[:1], expected, atol=2e-4)
    found = ops.convert_to_numpy(cam.score_maps(raw, (6, 9)))
    assert not found[1].any()
    np.testing.assert_allclose(found[0].max(axis=(1, 2)), 1, rtol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow overlaps loop steps"
)
def test_groups_go_through_one_after_the_other_in_a_graph():
    import tensorflow as tf

    lock, inside, most = threading.Lock(), [0], [0]

    def counted(logits):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        with lock:
            inside[0] -= 1
        return logits

    def slow(images):
        # Stateful functions would run one at a time by themselves.
        logits = tf.numpy_function(
            counted, [network(images)], tf.float32, stateful=False
        )
        return tf.ensure_shape(logits, (None, 7))

    images, features = example()
    compiled = tf.function(lambda x, y: score_cam(slow, x, y, CLASS_IDS, 1, 0.0))
    found = compiled(images, features)
    assert most == [1]
    expected = score_cam(network, images, features, CLASS_IDS, 32, 0.0)
    np.testing.assert_allclose(found, expected, atol=2e-4)
