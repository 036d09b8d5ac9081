import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import ADL, DGDM
from keras_wsol.models import insert_after
from keras_wsol.models.splice import changed_layer, derive_seed, stable_names
from tests.models.small import draw_weights, outputs, random_images


def branched():
    """Two convolutions side by side, added, then one more."""
    inputs = keras.Input((12, 18, 3), name="pixels")
    a = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(inputs)
    b = keras.layers.Conv2D(4, 1, activation="relu", name="b")(inputs)
    x = keras.layers.Add(name="sum")([a, b])
    x = keras.layers.Conv2D(6, 3, activation="relu", name="c")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    draw_weights(model)
    return model


def times(factor):
    return lambda: keras.layers.Rescaling(factor)


def test_a_layer_acts_between_the_named_layer_and_all_that_follow():
    model = branched()
    images = random_images(2, (12, 18))
    spliced = insert_after(model, {"a": times(3.0), "norm": times(5.0)})
    a, b = (keras.Model(model.input, model.get_layer(n).output)(images) for n in "ab")
    x = model.get_layer("norm")(model.get_layer("c")(3.0 * a + b))
    expected = ops.mean(5.0 * x, axis=(1, 2))
    np.testing.assert_allclose(
        ops.convert_to_numpy(spliced(images)),
        ops.convert_to_numpy(expected),
        rtol=1e-5,
    )


def test_inference_is_equal_to_the_bit_and_training_is_not():
    model = branched()
    images = random_images(2, (12, 18))
    spliced = insert_after(
        model, {"sum": lambda: ADL(seed=1), "c": lambda: DGDM(seed=2)}
    )
    expected = outputs(model, images)
    np.testing.assert_array_equal(outputs(spliced, images), expected)
    assert not np.array_equal(outputs(spliced, images, training=True), expected)


def test_the_model_itself_is_left_alone():
    model = branched()
    before = model.get_weights()
    images = random_images(1, (12, 18))
    expected = outputs(model, images)
    spliced = insert_after(model, {"a": times(3.0)})
    assert len(spliced.layers) == len(model.layers) + 1
    for weight in spliced.weights:
        weight.assign(weight * 0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(outputs(model, images), expected)


def test_an_unknown_layer_is_refused_with_the_last_layers():
    message = (
        re.escape(f"Cannot insert after layers that `{branched().name[:10]}")
        + r".*does not have. Received: \['block9'\]. Its last layers are: .*'pool'\]"
    )
    with pytest.raises(ValueError, match=message):
        insert_after(branched(), {"block9": ADL})


def test_after_the_input_something_is_inserted_or_refused():
    # Never is the request dropped in silence.
    try:
        spliced = insert_after(branched(), {"pixels": times(3.0)})
    except ValueError:
        return
    assert any(isinstance(x, keras.layers.Rescaling) for x in spliced.layers)


def test_stable_names_do_not_depend_on_what_was_built_before():
    def unnamed():
        inputs = keras.Input((12, 18, 3))
        x = keras.layers.Conv2D(4, 3)(inputs)
        x = keras.layers.Conv2D(4, 3, name="mine")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Conv2D(4, 3)(x)
        return keras.Model(inputs, x)

    first, second = stable_names(unnamed()), stable_names(unnamed())
    assert list(first.values()) == list(second.values())
    assert list(first) != list(second)
    assert list(first.values())[1:] == [
        "conv2d_1",
        "mine",
        "batch_normalization_1",
        "conv2d_2",
    ]


def test_derived_seeds_differ_by_seed_and_name():
    seeds = [derive_seed(s, name) for s in (0, 1, -1) for name in ("a", "b", "conv1")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    # The CRC-32 of "0/conv1", so that weights stay the same from version to version.
    assert derive_seed(0, "conv1") == 349183847


def test_changed_layer():
    layer = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, name="old")
    copies = [changed_layer(layer, "new", {"strides": (1, 1)}, s) for s in (7, 7, 8)]
    for copy in copies:
        copy.build((None, 9, 8, 3))
    assert copies[0].name == "new"
    assert copies[0].strides == (1, 1)
    first, same, other = (copy.get_weights()[0] for copy in copies)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
