"""The papers' modules against their references over random shapes of the input."""

import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import ADL, CAGD, DFM, DGDM, SAGD
from tests.contracts.calls import given_draws, quick
from tests.contracts.draws import ForcedDraws, drawing
from tests.contracts.references import REFERENCES
from tests.layers.feature_maps import assert_equal

OF_CAGD = {"drop_probability": 0.5, "min_multiple": 2.0}
OF_SAGD = {"high_threshold": 0.8, "low_threshold": 0.4, "block_size": 2}
MODULES = {
    ADL: {"drop_threshold": 0.7},
    SAGD: OF_SAGD,
    CAGD: OF_CAGD,
    DGDM: {**OF_CAGD, **OF_SAGD},
    DFM: {"channel_threshold": 0.7, "position_threshold": 0.8},
}


def random_shapes(count=12):
    """Samples, height, width and channels: any four different numbers up to 9."""
    generator = np.random.default_rng(20)
    return [
        tuple(generator.choice(np.arange(1, 10), 4, replace=False).tolist())
        for _ in range(count)
    ]


def signed_features(shape):
    """Mostly positive, so that most samples have something to drop."""
    values = np.random.default_rng(shape).normal(0.5, 1.0, shape)
    values[::2] = np.maximum(values[::2], 0.0)
    return values.astype("float32")


def forced_three_ways(layer, features):
    """Draws that are all low, draws that are all high, and mixed ones."""
    layer.build(features.shape)
    with drawing(ForcedDraws()) as uniform:
        layer(features, training=True)
    for level in (0.0, 0.999):
        yield [np.full_like(draw, level) for draw in uniform.made]
    yield uniform.made


def test_shapes_differ_in_every_number():
    shapes = random_shapes()
    assert len(set(shapes)) == 12
    assert all(len(set(shape)) == 4 for shape in shapes)


@pytest.mark.parametrize("shape", random_shapes(), ids=str)
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_equals_the_reference(module, shape):
    features = signed_features(shape)
    arguments = dict(MODULES[module])
    if module is not CAGD:
        arguments["draw"] = "sample"
    layer = module(**arguments)
    function = quick(given_draws(layer, shape))
    for draws in forced_three_ways(layer, features):
        outputs = ops.convert_to_numpy(function(features, *draws))
        expected = REFERENCES[module.__name__](features, [], draws, **arguments)
        assert_equal(outputs, expected)
