import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_wsol.cam.split import node_of
from keras_wsol.layers import ADL
from keras_wsol.models import Localizer, build_classifier, inserted_layers
from tests.models.small import draw_weights, outputs, random_images, tiny_classifier

SIZE = (8, 6)


def own_model(name="mine", size=SIZE):
    """A model with unnamed layers, a sum that is no layer, and a head of its own."""
    images = keras.Input((*size, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(images)
    x = x + layers.Conv2D(4, 1, name="skip")(layers.Concatenate()([images, x]))
    x = layers.Conv2D(5, 3, strides=2)(x)
    x = layers.ReLU(name="top")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Flatten()(layers.Conv2D(7, 1)(x))
    model = keras.Model(images, layers.Softmax()(x), name=name)
    draw_weights(model)
    return model


def up_to(model, name, function=lambda x: x):
    return keras.Model(model.input, function(model.get_layer(name).output))


def test_logits_are_those_of_the_head_on_the_mean_of_the_features():
    own = own_model()
    before = own.get_weights()
    model = build_classifier(own, "dgdm", 5)
    assert (model.name, model.input_shape) == ("mine_dgdm", (None, *SIZE, 3))
    images = random_images(3, SIZE)
    maps = outputs(up_to(own, "top"), images)
    assert maps.shape == (3, 3, 2, 5)
    kernel, bias = model.get_layer("head_logits").get_weights()
    np.testing.assert_allclose(
        outputs(model, images), maps.mean(axis=(1, 2)) @ kernel + bias, rtol=1e-4
    )
    # The one that was given stays what it is.
    model.set_weights([0 * weight for weight in model.get_weights()])
    for one, other in zip(own.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_last_map_before_pooling_is_found():
    # Not what is pooled to one cell and convolved there.
    (layer,) = inserted_layers(build_classifier(own_model(), "adl", 5))
    assert node_of(layer.input).operation.name == "top"
    mobilenet = keras.applications.MobileNet(
        (64, 96, 3), alpha=0.25, weights=None, classes=7
    )
    draw_weights(mobilenet)
    model = build_classifier(
        mobilenet, "adl", 5, backbone_options={"normalization": "tf"}
    )
    assert model.get_layer("head_pool").input.shape == (None, 2, 3, 256)
    images = random_images(2, (64, 96))
    expected = outputs(up_to(mobilenet, "conv_pw_13_relu"), images / 127.5 - 1)
    found = outputs(up_to(model, "conv_pw_13_relu"), images)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.std())


def test_every_use_of_the_images_is_normalized():
    own = own_model()
    model = build_classifier(own, backbone_options={"normalization": "tf"})
    images = random_images(2, SIZE)
    expected = outputs(up_to(own, "skip"), images / 127.5 - 1)
    np.testing.assert_allclose(
        outputs(up_to(model, "skip"), images), expected, rtol=1e-4, atol=1e-5
    )


def test_layers_are_named_as_the_model_names_them():
    keras.layers.Conv2D(1, 1)  # whatever was made before
    own = own_model()
    first = own.layers[1].name
    (total,) = [x.name for x in own.operations if type(x).__name__ == "Add"]
    model = build_classifier(
        own, "adl", 5, features=total, drop_after=[first, total, "normalization"]
    )
    found = [x.name for x in model.layers if isinstance(x, ADL)]
    assert found == ["adl_normalization", "adl_conv2d_1", "adl_add_1"]
    assert model.get_layer("head_pool").input is model.get_layer("adl_add_1").output
    assert "top" not in [x.name for x in model.layers]


def test_the_default_place_is_in_front_of_a_layer_normalization():
    # Behind it the channel mean would be 0 in every cell.
    images = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3)(images)
    x = layers.LayerNormalization(name="norm")(x + layers.Dense(4)(x))
    own = keras.Model(images, x)
    (inserted,) = inserted_layers(build_classifier(own, "adl", 5))
    assert node_of(inserted.input).operation.name == "add_1"
    chosen = build_classifier(own, "adl", 5, drop_after=["norm"])
    (inserted,) = inserted_layers(chosen)
    assert node_of(inserted.input).operation.name == "norm"


def test_names_and_weights_do_not_depend_on_what_was_built_before(tmp_path):
    def weights_of(model):
        return {x.name: x.get_weights() for x in model.layers if x.weights}

    first = build_classifier(own_model(), "adl", 5)
    draw_weights(first, seed=3)
    first.save(tmp_path / "trained.keras")
    Localizer(first).save(tmp_path / "localizer.keras")
    for name in ("trained", "localizer"):
        again = build_classifier(
            own_model(), "cam", 5, weights=tmp_path / f"{name}.keras"
        )
        for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    drawn = [
        weights_of(build_classifier(own_model(), "cam", 5, weights=None, seed=seed))
        for seed in (0, 0, 1)
    ]
    for name, (kernel, _) in drawn[0].items():
        np.testing.assert_array_equal(kernel, drawn[1][name][0])
        assert not np.array_equal(kernel, drawn[2][name][0])


def test_it_is_frozen_saved_and_loaded_like_the_others(tmp_path):
    own = own_model()
    (total,) = [x.name for x in own.operations if type(x).__name__ == "Add"]
    model = build_classifier(own, "adl", 5, features=total, freeze="backbone")
    assert [x.name for x in model.layers if x.trainable_weights] == ["head_logits"]
    model.save(tmp_path / "mine.keras")
    revived = keras.saving.load_model(tmp_path / "mine.keras")
    images = random_images(2, SIZE)
    np.testing.assert_array_equal(outputs(revived, images), outputs(model, images))


def test_freeze_names_layers_as_the_model_names_them():
    keras.layers.Conv2D(1, 1)  # whatever was made before
    own = own_model()
    convolutions = [x.name for x in own.layers if isinstance(x, layers.Conv2D)]
    trained = {
        convolutions[0]: ["skip", "conv2d_2", "head_logits"],
        convolutions[2]: ["head_logits"],
    }
    for name, expected in trained.items():
        for freeze in (name, [name, "batch_norm"]):
            model = build_classifier(own, num_classes=5, freeze=freeze)
            found = [x.name for x in model.layers if x.trainable_weights]
            assert found == expected


def test_freeze_takes_the_name_that_the_model_gave_to_another_layer():
    # `conv2d_1` is the second one here, but the first by its stable name.
    images = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, name="conv2d")(images)
    x = layers.Conv2D(4, 1, name="conv2d_1")(x)
    own = keras.Model(images, layers.Conv2D(5, 3, name="conv2d_2")(x))
    model = build_classifier(own, num_classes=5, freeze="conv2d_1")
    trained = [x.name for x in model.layers if x.trainable_weights]
    assert trained == ["conv2d_3", "head_logits"]
    with pytest.raises(ValueError, match=r"Received: \['conv2d_3'\]"):
        build_classifier(own, num_classes=5, freeze="conv2d_3")


def test_freeze_names_what_the_classifier_adds_as_it_does():
    for name in ("adl_skip", "skip"):
        model = build_classifier(
            own_model(), "adl", 5, drop_after=["skip"], freeze=[name]
        )
        trained = [x.name for x in model.layers if x.trainable_weights]
        assert trained == ["conv2d_2", "head_logits"]


@pytest.mark.parametrize("method", ["se", "cbam"])
def test_a_frozen_backbone_leaves_what_is_drawn(method, tmp_path):
    arguments = {"drop_after": ["skip", "top"], "num_classes": 5, "freeze": "backbone"}
    model = build_classifier(own_model(), method, **arguments)
    new = [f"{method}_skip", f"{method}_top"]
    assert [x.name for x in model.layers if x.trainable_weights] == [
        *new,
        "head_logits",
    ]
    # What a file has is not drawn.
    model.save(tmp_path / "trained.keras")
    again = build_classifier(
        own_model(), method, weights=tmp_path / "trained.keras", **arguments
    )
    assert [x.name for x in again.layers if x.trainable_weights] == [
        *new[1:],
        "head_logits",
    ]


def test_the_size_is_that_of_the_model_unless_given():
    free = own_model(size=(None, None))
    assert build_classifier(free).input_shape == (None, 224, 224, 3)
    for own in (free, own_model()):
        model = build_classifier(own, input_shape=(10, 7, 3))
        assert model.input_shape == (None, 10, 7, 3)


@pytest.mark.parametrize("nested", [False, True])
def test_a_sequential_model_is_taken_apart(nested):
    convolutions = [layers.Conv2D(4, 3, name="one"), layers.ReLU(name="two")]
    if nested:
        convolutions = [keras.Sequential(convolutions, name="both")]
    tail = [layers.GlobalAveragePooling2D(), layers.Dense(2)]
    own = keras.Sequential([keras.Input((*SIZE, 3)), *convolutions, *tail])
    model = build_classifier(own, "adl", 5, drop_after=["one"])
    names = [x.name for x in model.layers]
    assert names[1:5] == ["normalization", "one", "adl_one", "two"]
    images = random_images(2, SIZE)
    kernel, bias = own.get_weights()[:2]
    expected = ops.convert_to_numpy(ops.conv(images, kernel) + bias)
    np.testing.assert_allclose(
        outputs(up_to(model, "two"), images), np.maximum(expected, 0), rtol=1e-4
    )


@pytest.mark.parametrize("structure", [lambda x: [x], lambda x: {"images": x}])
def test_inputs_in_a_list_or_dictionary(structure):
    images = keras.Input((*SIZE, 3), name="images")
    own = keras.Model(structure(images), layers.Conv2D(4, 3, name="one")(images))
    model = build_classifier(own, "adl", 5)
    assert [x.name for x in model.layers[2:4]] == ["one", "adl_one"]


# What is refused


def test_a_model_inside_is_refused_with_a_hint():
    images = keras.Input((*SIZE, 3))
    x = layers.GlobalAveragePooling2D()(up_to(own_model("inner"), "top")(images))
    outer = keras.Model(images, x, name="outer")
    inside = outer.layers[1].name
    message = (
        f"must have no models as layers: '{inside}' of 'outer' is one.* Pass the "
        rf"inner model: backbone=model.get_layer\('{inside}'\)"
    )
    with pytest.raises(ValueError, match=message):
        build_classifier(outer)
    assert build_classifier(outer.get_layer(inside)).name == f"{inside}_cam"


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": "tip"}, r"`features` must name layers of `mine`. .*\['tip'\]"),
        (
            {"method": "adl", "drop_after": ["tip"]},
            r"`drop_after` must name layers of `mine`. Received: \['tip'\]. .*'top'",
        ),
        (
            {"method": "adl", "features": "skip", "drop_after": ["top"]},
            r"`drop_after` must name layers of `mine`. Received: \['top'\]",
        ),
        (
            {"freeze": ["batch_norm", "tip"]},
            r"`freeze` must name layers of `mine_cam`, or be \"batch_norm\" or "
            r"\"backbone\". Received: \['tip'\]. .*'top'",
        ),
        ({"backbone_options": {"alpha": 1}}, "may have 'normalization', one of"),
        (
            {"backbone_options": {"normalization": "rgb"}},
            r"one of \[None, 'tf', 'caffe', 'torch'\]. Received: .*'rgb'",
        ),
        ({"weights": "backbone.h5"}, r"\.keras file of a classifier\. .*'backbone.h5'"),
        ({"input_shape": (8, 6)}, r"`input_shape` must be \(height, width, 3\)"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(own_model(), **arguments)


def test_models_that_are_no_backbones():
    for model in (Subclassed(), keras.Sequential([layers.Dense(2)])):
        with pytest.raises(TypeError, match="must be a functional Keras model, or a"):
            build_classifier(model)
    pair = [keras.Input((*SIZE, 3)), keras.Input((*SIZE, 3))]
    with pytest.raises(ValueError, match="must have one input, images"):
        build_classifier(keras.Model(pair, layers.Add()(pair)))
    vector = keras.Input((3,))
    with pytest.raises(ValueError, match="must have one input, images"):
        build_classifier(keras.Model(vector, layers.Dense(2)(vector)))
    images = keras.Input((*SIZE, 3))
    flat = keras.Model(images, layers.Dense(2)(layers.Flatten()(images)))
    with pytest.raises(ValueError, match="`features` must name a layer of"):
        build_classifier(flat)


def test_features_of_a_row_of_the_table_are_fixed():
    with pytest.raises(ValueError, match="`features` can only be given for your own"):
        tiny_classifier(features="conv2_relu")
