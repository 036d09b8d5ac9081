import keras
import numpy as np

from keras_wsol.layers import ADL, CAGD, DGDM
from keras_wsol.models import drop_shares
from tests.models.small import tiny_classifier


def test_shares_by_hand_of_two_layers_in_one_model():
    # ADL: means 1, 4, 8 and 2 of four cells, cut at 4. CAGD: channel means 1.75 and
    # 5.75 times 0.1 and 1 after the 1x1 convolution; at 3 times 0.175 the first falls.
    inputs = keras.Input((1, 4, 2))
    x = ADL(drop_threshold=0.5, name="cells")(inputs)
    convolution = keras.layers.DepthwiseConv2D(1, use_bias=False)
    x = CAGD(drop_probability=0.5, name="channels")(convolution(x))
    model = keras.Model(inputs, x)
    convolution.set_weights([np.array([0.1, 1.0]).reshape(1, 1, 2, 1)])
    first = [[0, 2], [2, 6], [4, 12], [1, 3]]
    flat = [[1, 1]] * 4
    shares = drop_shares(model, np.array([[first], [flat]], "float32"))
    # The flat image: all four cells reach the maximum, one channel of two falls.
    assert shares == {"cells": {"cells": 0.75}, "channels": {"channels": 0.25}}


def test_a_model_without_layers_drops_nothing():
    inputs = keras.Input((4, 5, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    assert drop_shares(model, np.zeros((1, 4, 5, 3))) == {}


def test_asking_changes_nothing_and_every_place_answers():
    model = tiny_classifier(method="dgdm")
    places = ["dgdm_conv2_relu", "dgdm_conv3_relu"]
    layer = next(layer for layer in model.layers if isinstance(layer, DGDM))
    images = np.random.default_rng(0).uniform(0, 255, (2, 50, 70, 3))
    state = [keras.ops.convert_to_numpy(v) for v in layer.variables]
    shares = drop_shares(model, images)
    assert set(shares) == set(places)
    assert all(set(share) == {"cells", "channels"} for share in shares.values())
    for before, after in zip(state, layer.variables, strict=True):
        np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(after))
