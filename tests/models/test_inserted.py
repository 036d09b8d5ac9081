import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.layers import ADL, CAGD, DFM, DGDM
from keras_wsol.models import (
    Localizer,
    build_classifier,
    describe,
    insert_after,
    inserted_layers,
)
from keras_wsol.models.inspection import probe_inserted
from tests.models.small import TINY_SIZE, dtype_policy, random_images, tiny_classifier


def state(model):
    """Every weight and every generator's state."""
    return [np.array(ops.convert_to_numpy(variable)) for variable in model.variables]


def own_model():
    """Doubles and then triples its image; two branches, so that order counts."""
    images = keras.Input((6, 4, 3))
    x = ADL(name="first", drop_rate=1.0)(keras.layers.Rescaling(2.0)(images))
    x = keras.layers.Rescaling(3.0)(DFM(name="second")(x))
    x = keras.layers.Dropout(0.9, seed=1)(x)
    x = keras.layers.GlobalAveragePooling2D()(CAGD(name="third")(x))
    return keras.Model(images, keras.layers.Dense(2)(x))


def names(model):
    return [layer.name for layer in inserted_layers(model)]


def test_layers_of_a_custom_model_in_order():
    assert names(own_model()) == ["first", "second", "third"]
    assert [type(x) for x in inserted_layers(own_model())] == [ADL, DFM, CAGD]
    # Its two halves are no layers of the model.
    images = keras.Input((6, 4, 3))
    assert names(keras.Model(images, DGDM(name="both")(images))) == ["both"]


@pytest.mark.parametrize("method", ["adl", "cagd", "dfm", "dgdm", "sagd"])
def test_layers_of_a_classifier_and_of_its_localizer(method):
    places = ["conv2_relu", "conv3_relu"]
    model = tiny_classifier(method=method, drop_after=places)
    expected = [f"{method}_{place}" for place in places]
    assert names(model) == names(Localizer(model)) == expected


def test_a_plain_model_has_none():
    model = tiny_classifier()
    assert inserted_layers(model) == ()
    assert probe_inserted(model, random_images(1, TINY_SIZE)) == {}


@pytest.mark.parametrize("backbone", ["mobilenet", "mobilenet_v2", "resnet50"])
def test_a_plain_backbone_has_none(backbone):
    model = build_classifier(
        backbone, num_classes=2, weights=None, input_shape=(64, 64, 3)
    )
    assert inserted_layers(model) == ()


def test_sequential_model_with_an_input():
    layers = [keras.Input((6, 4, 3)), keras.layers.Rescaling(2.0), ADL(name="adl")]
    model = keras.Sequential(layers)
    got = probe_inserted(model, np.ones((2, 6, 4, 3)))
    np.testing.assert_array_equal(ops.convert_to_numpy(got["adl"]), 2.0)


def test_features_are_those_before_each_layer_at_inference():
    images = random_images(2, (6, 4))
    got = probe_inserted(own_model(), images)
    assert list(got) == ["first", "second", "third"]
    # With drop rate 1 the first layer would drop in training, and so would Dropout.
    for name, factor in (("first", 2.0), ("second", 2.0), ("third", 6.0)):
        features = ops.convert_to_numpy(got[name])
        np.testing.assert_allclose(features, factor * images, rtol=1e-6)


def test_features_are_those_after_layers_that_act_at_inference():
    # Nothing of a negative map is dropped, so each layer doubles it: F + F * 1.
    settings = {"inference": "expected", "rescale": False, "focus": 0.0}
    weights = {"position_weight": 0.0, "channel_weight": 0.0}
    images = keras.Input((6, 4, 3))
    x = images
    for name in ("first", "second"):
        x = DFM(name=name, **settings, **weights)(x)
    got = probe_inserted(keras.Model(images, x), np.full((1, 6, 4, 3), -5.0))
    np.testing.assert_array_equal(ops.convert_to_numpy(got["first"]), -5.0)
    np.testing.assert_array_equal(ops.convert_to_numpy(got["second"]), -10.0)


def test_bytes_of_another_size_are_resized():
    # Constant along each row: half as many columns change nothing.
    rows = np.arange(0, 60, 10, dtype=np.uint8)[:, None, None]
    images = np.broadcast_to(rows, (1, 6, 8, 3))
    got = ops.convert_to_numpy(probe_inserted(own_model(), images)["first"])
    assert got.shape == (1, 6, 4, 3)
    np.testing.assert_allclose(got, 2.0 * images[:, :, :4], rtol=1e-5)


def test_unknown_size_takes_images_as_they_are():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, ADL(name="adl")(images))
    got = probe_inserted(model, np.ones((1, 5, 7, 3)))
    assert tuple(got["adl"].shape) == (1, 5, 7, 3)


def test_features_have_the_type_of_the_policy():
    with dtype_policy("mixed_float16"):
        model = tiny_classifier(method="adl")
    got = probe_inserted(model, random_images(1, TINY_SIZE))
    types = {keras.backend.standardize_dtype(value.dtype) for value in got.values()}
    assert types == {"float16"}


def test_the_model_stays_as_it_is():
    model = tiny_classifier(method="dgdm")
    before = state(model)
    probe_inserted(model, random_images(2, (40, 50)))
    after = state(model)
    assert len(before) == len(after) > 0
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)
    assert inserted_layers(model)[0].input.shape == (None, 4, 6, 8)


def test_models_without_a_graph_and_wrong_images_are_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    message = "`model` must be a functional Keras model, or a Localizer of one. Rec"
    for model in (Subclassed(), keras.Sequential([ADL()]), ADL(), None):
        with pytest.raises(ValueError, match=message):
            inserted_layers(model)
    two = [keras.Input((6, 4, 3)), keras.Input((6, 4, 3))]
    model = keras.Model(two, ADL()(two[0]) + two[1])
    with pytest.raises(ValueError, match=r"must have one input. Received: 2 inputs"):
        probe_inserted(model, np.zeros((1, 6, 4, 3)))
    for shape in ((6, 4, 3), (1, 6, 4, 1)):
        with pytest.raises(ValueError, match=r"must have shape \(B, H, W, 3\)"):
            probe_inserted(own_model(), np.zeros(shape))


def test_a_localizer_is_probed_as_its_model_is():
    model = tiny_classifier(method="adl")
    images = random_images(1, TINY_SIZE)
    own = probe_inserted(model, images)
    others = probe_inserted(Localizer(model), images)
    for name, features in own.items():
        expected = ops.convert_to_numpy(features)
        np.testing.assert_array_equal(ops.convert_to_numpy(others[name]), expected)


class Own(keras.layers.Layer):
    """A user's: it has a kernel, and takes no name of ours."""

    def __init__(self, strength=1.0, **kwargs):
        super().__init__(**kwargs)
        self.strength = strength

    def build(self, shape):
        self.mix = self.add_weight(shape=(shape[-1], shape[-1]), name="mix")

    def call(self, inputs, training=False):
        return ops.matmul(inputs, self.mix) * self.strength if training else inputs


@pytest.mark.parametrize("method", [Own(0.5), keras.layers.GaussianNoise(0.5)])
def test_layers_of_a_user_that_build_classifier_inserted(method):
    model = tiny_classifier(method=method, drop_after=["conv2_relu", "conv3_relu"])
    kind = type(method).__name__.lower()
    assert model.name.endswith(f"_{kind}")
    assert names(model) == [f"{kind}_conv2_relu", f"{kind}_conv3_relu"]


def test_layers_of_a_user_that_insert_after_inserted():
    spliced = insert_after(tiny_classifier(), {"conv2_relu": lambda: Own(name="mine")})
    assert names(spliced) == ["mine"]
    lines = [line.split() for line in describe(spliced).splitlines()[2:]]
    assert lines[0] == ["Own", "conv2_relu", "-", "64", "unknown"]
    assert lines[1][-1] == "unknown"  # of the whole model, too


@pytest.mark.parametrize("layer", [DGDM, Own])
def test_a_name_that_is_given_is_the_methods(layer):
    model = tiny_classifier(method=layer(name="five"), drop_after=["conv3_relu"])
    assert model.name.endswith("_five")
    assert names(model) == ["five_conv3_relu"]


def test_a_notebook_shows_the_description_in_a_fixed_pitch():
    images = keras.Input((8, 6, 3))
    text = describe(keras.Model(images, keras.layers.Flatten()(images), name="a<b"))
    assert text._repr_html_() == f"<pre>{text.replace('<', '&lt;')}</pre>"
