"""The same boxes inside TensorFlow's graphs: unknown shapes, XLA, SavedModel."""

import keras
import numpy as np
import pytest

from keras_wsol.boxes import (
    components_tiles,
    label_components,
    largest_boxes,
    top_boxes,
)
from tests.boxes import opencv_components as opencv
from tests.boxes.hard_maps import hard_masks, noise_maps, smooth_maps

if keras.backend.backend() != "tensorflow":
    pytest.skip("about TensorFlow's graphs", allow_module_level=True)

tf = pytest.importorskip("tensorflow")

UNKNOWN = tf.TensorSpec((None, None, None), tf.float32)
SIZES = [(23, 38), (24, 17), (9, 12), (1, 37), (29, 1)]
ALGORITHMS = pytest.mark.parametrize(
    "static_shapes", [pytest.param(True, id="tiles"), pytest.param(False, id="runs")]
)


def hard_maps(height, width):
    return np.stack(list(hard_masks(height, width).values())).astype(np.float32)


def some_maps(seed, height=21, width=34):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [smooth_maps(rng, 3, height, width), noise_maps(rng, 2, height, width)]
    )


@ALGORITHMS
def test_one_trace_serves_every_size(static_shapes):
    @tf.function(input_signature=[UNKNOWN])
    def both(maps):
        boxes = largest_boxes(maps, 0.5, static_shapes=static_shapes)
        return boxes, label_components(maps > 0.5, static_shapes=static_shapes)

    for height, width in SIZES:
        maps = hard_maps(height, width)
        boxes, labels = both(maps)
        np.testing.assert_array_equal(boxes, opencv.largest(maps > 0.5))
        np.testing.assert_array_equal(labels, opencv.labels(maps > 0.5))
    boxes, labels = both(np.zeros((0, 7, 9), np.float32))
    assert boxes.shape == (0, 4)
    assert labels.shape == (0, 7, 9)
    assert both.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "static_shapes",
    [
        pytest.param(True, id="tiles", marks=pytest.mark.slow),
        pytest.param(False, id="runs"),
    ],
)
def test_top_boxes_and_thresholds_of_unknown_shape(static_shapes):
    thresholds = tf.TensorSpec((None, None), tf.float32)

    @tf.function(input_signature=[UNKNOWN, thresholds])
    def both(maps, table):
        top = top_boxes(maps, 0.4, 6, static_shapes=static_shapes)
        return top, largest_boxes(maps, table, static_shapes=static_shapes)

    for seed, count in ((0, 3), (1, 1)):
        maps = some_maps(seed)
        table = np.random.default_rng(seed).uniform(0, 1, (4, 5)).astype(np.float32)
        top, boxes = both(maps, table[:, ::5] if count == 1 else table)
        for n, mask in enumerate(opencv.above(maps, 0.4)):
            expected = opencv.components(mask, min_share=0.3)[:6]
            assert top["counts"][n] == len(expected)
            found = top["boxes"][n].numpy()[: len(expected)]
            np.testing.assert_array_equal(found, [each.box for each in expected])
        for t in range(4):
            cuts = table[t, :1] if count == 1 else table[t][:, None, None]
            expected = opencv.largest(maps > cuts * maps.max((1, 2), keepdims=True))
            np.testing.assert_array_equal(boxes[t], expected)
    top, boxes = both(np.zeros((0, 7, 9), np.float32), np.zeros((2, 1), np.float32))
    assert top["boxes"].shape == (0, 6, 4)
    assert boxes.shape == (2, 0, 4)


@pytest.mark.slow
def test_under_xla():
    @tf.function(jit_compile=True)
    def compiled(maps):
        top = top_boxes(maps, 0.5, 3, static_shapes=True)
        several = largest_boxes(maps, [[0.2], [0.7]], static_shapes=True)
        return top, several, label_components(maps > 0.5, static_shapes=True)

    maps = hard_maps(15, 22)
    maps[1, 3, 4] = np.nan
    top, several, labels = compiled(maps)
    np.testing.assert_array_equal(labels, opencv.labels(maps > 0.5))
    expected = opencv.largest(maps > 0.5)
    expected[1] = 0
    np.testing.assert_array_equal(top["boxes"][:, 0], expected)
    np.testing.assert_array_equal(several, [expected, expected])


@pytest.mark.parametrize("seed", range(3))
def test_both_algorithms_agree(seed):
    maps = np.tile(some_maps(seed, height=61, width=47), (7, 1, 1))
    thresholds = np.random.default_rng(seed).uniform(0, 1, len(maps))
    one = top_boxes(maps, thresholds, 9, static_shapes=True)
    other = top_boxes(maps, thresholds, 9, static_shapes=False)
    for name in ("boxes", "areas", "counts"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    np.testing.assert_allclose(one["mean_scores"], other["mean_scores"], rtol=2e-6)
    masks = maps > thresholds[:, None, None]
    np.testing.assert_array_equal(
        label_components(masks, static_shapes=True), label_components(masks)
    )


def test_the_default_is_not_the_portable_algorithm(monkeypatch):
    def refuse(*args):
        raise AssertionError("tiles.top was called")

    monkeypatch.setattr(components_tiles, "top", refuse)
    assert largest_boxes(np.ones((1, 2, 3)), 0.5).numpy().tolist() == [[0, 0, 3, 2]]
    with pytest.raises(AssertionError, match=r"tiles\.top was called"):
        largest_boxes(np.ones((1, 2, 3)), 0.5, static_shapes=True)


@pytest.mark.export
@pytest.mark.parametrize(
    "static_shapes",
    [
        pytest.param(True, id="tiles", marks=pytest.mark.slow),
        pytest.param(False, id="runs"),
    ],
)
def test_saved_model(tmp_path, static_shapes):
    class Module(tf.Module):
        @tf.function(input_signature=[UNKNOWN, tf.TensorSpec((), tf.float32)])
        def serve(self, maps, threshold):
            top = top_boxes(maps, threshold, 2, static_shapes=static_shapes)
            several = largest_boxes(maps, [[0.2], [0.6]], static_shapes=static_shapes)
            return {**top, "several": several}

    tf.saved_model.save(Module(), str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for maps in (some_maps(5), some_maps(6, 12, 9)):
        found = served(maps=maps, threshold=tf.constant(0.4))
        expected = opencv.largest(opencv.above(maps, 0.4))
        np.testing.assert_array_equal(found["boxes"][:, 0], expected)
        for several, threshold in zip(found["several"], (0.2, 0.6), strict=True):
            expected = opencv.largest(opencv.above(maps, threshold))
            np.testing.assert_array_equal(several, expected)
    graph = served.graph.as_graph_def()
    names = {node.op for node in graph.node}
    names |= {node.op for f in graph.library.function for node in f.node_def}
    assert not [name for name in names if "Py" in name]
