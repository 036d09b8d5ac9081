"""Every layer against its reference over rows, columns, single cells, random shapes."""

import numpy as np
from keras import ops

from tests.contracts.calls import given_draws, quick
from tests.contracts.cases import CASES, each
from tests.contracts.draws import ForcedDraws, drawing
from tests.contracts.references import REFERENCES
from tests.contracts.weights import give_weights
from tests.layers.feature_maps import ALL_SIZES, assert_equal

OF_CAGD = {"drop_probability": 0.5, "min_multiple": 2.0}
OF_SAGD = {"high_threshold": 0.8, "low_threshold": 0.4, "block_size": 2}
ARGUMENTS = {
    "ADL": {"drop_threshold": 0.7, "draw": "sample"},
    "SAGD": {**OF_SAGD, "draw": "sample"},
    "CAGD": OF_CAGD,
    "DGDM": {**OF_CAGD, **OF_SAGD, "draw": "sample"},
    "DFM": {"channel_threshold": 0.7, "position_threshold": 0.8, "draw": "sample"},
    "DropBlock2D": {"rate": 0.4, "block_size": 2},
    "MaxDrop": {"rate": 0.5, "block_size": 2},
    "TargetedDropout": {"target_fraction": 0.7},
    "Cutout": {"size": 4},
    "HideAndSeek": {"grid_size": (0, 2, 3)},
    "SqueezeExcite": {"ratio": 2},
    "CBAM": {"ratio": 2, "kernel_size": 3},
}


def random_shapes(count=4):
    """Samples, height, width and channels: any four different numbers up to 9."""
    generator = np.random.default_rng(20)
    return [
        tuple(generator.choice(np.arange(1, 10), 4, replace=False).tolist())
        for _ in range(count)
    ]


SHAPES = (*((3, *size) for size in ALL_SIZES), *random_shapes())


def signed_features(shape):
    """Mostly positive, so that most samples have something to drop."""
    values = np.random.default_rng(shape).normal(0.5, 1.0, shape)
    values[::2] = np.maximum(values[::2], 0.0)
    return values.astype("float32")


def forced_three_ways(layer, features):
    """Draws that are all low, draws that are all high, and mixed ones."""
    with drawing(ForcedDraws()) as uniform:
        layer(features, training=True)
    yield uniform.made
    for level in (0.0, 0.999) if uniform.made else ():
        yield [np.full_like(draw, level) for draw in uniform.made]


def test_shapes_differ_in_every_number():
    assert len(set(SHAPES)) == 10
    assert all(len(set(shape)) == 4 for shape in random_shapes())


@each(CASES)
def test_equals_the_reference(case):
    arguments = ARGUMENTS[case.name]
    for shape in SHAPES:
        features = signed_features(shape)
        layer = give_weights(case.layer(**arguments), channels=shape[-1])
        function = quick(given_draws(layer, shape))
        for draws in forced_three_ways(layer, features):
            outputs = ops.convert_to_numpy(function(features, *draws))
            expected = REFERENCES[case.name](
                features, layer.get_weights(), draws, **arguments
            )
            assert_equal(outputs, expected)
