import random

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD, SqueezeExcite
from keras_wsol.viz.layer_views import LayerView

# Channels of 1 and 3 times a pattern: attention is 2 times it, channel means 2 and 6.
PATTERN = np.array([[1.0, 2.0, 4.0], [0.0, 2.0, 3.0]])
FEATURES = (PATTERN[None, :, :, None] * [1.0, 3.0]).astype("float32")
DROPPED_AT_4 = np.array([[1.0, 2.0, 0.0], [0.0, 2.0, 3.0]])


def test_adl_by_hand():
    view = LayerView.of(ADL(drop_rate=0.3, drop_threshold=0.9, name="a"), FEATURES)
    assert view.headline() == "a (ADL): 2 x 3 cells, 2 channels"
    np.testing.assert_allclose(view.attention, 2 * PATTERN)
    np.testing.assert_allclose(view.channels, [2.0, 6.0])
    np.testing.assert_allclose(view.maps["attention"][..., 0], 2 * PATTERN)
    np.testing.assert_allclose(view.output, 2 * DROPPED_AT_4)
    assert view.is_masked


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ADL(drop_rate=0.0, drop_threshold=0.9), 2 * DROPPED_AT_4),
        # Without its mask the layer passes its input on.
        (ADL(use_drop_mask=False), 2 * PATTERN),
        (SAGD(high_threshold=0.9, low_threshold=0.2, block_size=1), 2 * DROPPED_AT_4),
        # Only the channel of 3 is left, half of which is the mean over channels.
        (CAGD(min_multiple=2.0), 1.5 * PATTERN),
        (CAGD(min_multiple=2.0, drop_probability=0.0), 2 * PATTERN),
        (
            DGDM(min_multiple=2.0, high_threshold=0.9, block_size=1),
            1.5 * DROPPED_AT_4,
        ),
        (
            DGDM(drop_probability=0.0, high_threshold=0.9, block_size=1),
            2 * DROPPED_AT_4,
        ),
        # (F + F M) / 2, where M is 0 at the dropped cell and 1.5 around it.
        (
            DFM(channel_weight=0.0, focus=0.5),
            2 * PATTERN * [[1.0, 1.25, 0.5], [1.0, 1.25, 1.25]],
        ),
        (DFM(channel_weight=0.0, focus=0.0, feedback="scale"), 2 * DROPPED_AT_4),
    ],
)
def test_output_is_that_with_the_masks(layer, expected):
    view = LayerView.of(layer, FEATURES)
    np.testing.assert_allclose(view.output, expected, rtol=1e-6)
    assert view.is_masked


def test_layers_that_choose_nothing_show_their_inference():
    layer = SqueezeExcite()
    layer.build(FEATURES.shape)
    view = LayerView.of(layer, FEATURES)
    expected = ops.convert_to_numpy(layer(FEATURES))[0].mean(axis=-1)
    np.testing.assert_allclose(view.output, expected, rtol=1e-6)
    assert not view.is_masked


@pytest.mark.parametrize("layer_class", [ADL, CAGD, DFM, DGDM, SAGD])
def test_nothing_is_drawn(layer_class):
    layer = layer_class(seed=3)
    layer(ops.convert_to_tensor(FEATURES), training=True)
    before = [ops.convert_to_numpy(v).tolist() for v in layer.variables]
    python = random.getstate()
    first, second = LayerView.of(layer, FEATURES), LayerView.of(layer, FEATURES)
    assert before == [ops.convert_to_numpy(v).tolist() for v in layer.variables]
    assert len(before) >= 1
    assert random.getstate() == python
    np.testing.assert_array_equal(first.output, second.output)


def test_half_precision_is_looked_at_in_float32():
    layer = ADL(dtype="mixed_float16", drop_threshold=0.9)
    features = ops.cast(FEATURES * 5_000, "float16")
    view = LayerView.of(layer, features)
    assert view.output.dtype == np.float32
    np.testing.assert_allclose(view.output, 10_000 * DROPPED_AT_4, rtol=1e-3)
    assert keras.backend.standardize_dtype(layer.compute_dtype) == "float16"
