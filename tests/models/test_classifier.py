import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol.cam.split import node_of
from keras_wsol.layers import (
    ADL,
    CAGD,
    DFM,
    DGDM,
    Cutout,
    DropBlock2D,
    SqueezeExcite,
)
from keras_wsol.models import build_classifier, class_names_of
from keras_wsol.models.parts import Logits
from keras_wsol.models.splice import changed_layer, derive_seed
from tests.models.small import (
    TINY_SIZE,
    draw_weights,
    dtype_policy,
    keras_backbone,
    outputs,
    random_images,
    small_classifier,
    tiny_backbone,
    tiny_classifier,
    weights_by_layer,
)

SIZE = TINY_SIZE
NAMES = ("wren", "tern", "kite", "ibis", "auk")


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def layers_of(model, layer_class):
    return [layer for layer in model.layers if isinstance(layer, layer_class)]


# Weights


def test_logits_are_those_of_the_head_on_the_mean_of_the_features():
    model = tiny_classifier("tiny", "dgdm")
    draw_weights(model)
    images = random_images(3, SIZE)
    features = keras.Model(model.input, model.get_layer("conv3_relu").output)
    pooled = ops.convert_to_numpy(features(images)).mean(axis=(1, 2))
    kernel, bias = model.get_layer("head_logits").get_weights()
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(images)), pooled @ kernel + bias, rtol=1e-4
    )


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_from_a_file_of_keras_applications(suffix, tmp_path):
    source = keras_backbone("mobilenet")
    path = tmp_path / f"backbone{suffix}"
    source.save_weights(path) if suffix == ".weights.h5" else source.save(path)
    model = small_classifier(weights=str(path))
    expected, found = weights_by_layer(source), weights_by_layer(model)
    assert len(expected) == 27 * 2
    for name, weights in expected.items():
        assert same(found[name], weights), name
    # The head is drawn as ever.
    head = weights_by_layer(small_classifier())["head_logits"]
    assert same(found["head_logits"], head)


def saved_classifier(tmp_path, **arguments):
    model = tiny_classifier(**arguments)
    draw_weights(model)
    model.save(tmp_path / "trained.keras")
    return model, tmp_path / "trained.keras"


@pytest.mark.parametrize("num_classes", [5, 4])
def test_weights_from_a_classifier(num_classes, tmp_path):
    # Of another method, even; the head comes along if it has the same shape.
    trained, path = saved_classifier(tmp_path, method="adl")
    model = tiny_classifier(
        method="dgdm", weights=path, num_classes=num_classes, seed=3
    )
    expected, found = weights_by_layer(trained), weights_by_layer(model)
    for name in expected:
        if name != "head_logits":
            assert same(found[name], expected[name]), name
    if num_classes == 5:
        assert same(found["head_logits"], expected["head_logits"])
        images = random_images(2, SIZE)
        np.testing.assert_array_equal(outputs(model, images), outputs(trained, images))
    else:
        fresh = tiny_classifier(num_classes=4, seed=3)
        fresh = weights_by_layer(fresh)["head_logits"]
        assert same(found["head_logits"], fresh)


@pytest.mark.parametrize("method", ["se", "cbam"])
def test_a_method_with_weights_starts_beside_carried_weights(method, tmp_path):
    trained, path = saved_classifier(tmp_path)
    model = tiny_classifier(method=method, weights=path)
    expected, found = weights_by_layer(trained), weights_by_layer(model)
    assert all(same(found[name], expected[name]) for name in expected)
    # What the file does not have is drawn as ever.
    drawn = weights_by_layer(tiny_classifier(method=method))
    new = set(found) - set(expected)
    assert new == {f"{method}_conv2_relu", f"{method}_conv3_relu"}
    assert all(same(found[name], drawn[name]) for name in new)


def test_a_method_with_weights_that_a_file_has_carries_over(tmp_path):
    trained, path = saved_classifier(tmp_path, method="se")
    for method in ("se", SqueezeExcite()):
        again = tiny_classifier(method=method, weights=path)
        assert again.name == trained.name
        assert [x.name for x in again.layers] == [x.name for x in trained.layers]
        assert same(again.get_weights(), trained.get_weights())


def test_a_layer_of_the_table_goes_by_its_row_and_another_by_its_class():
    class Own(keras.layers.Identity):
        pass

    names = [
        tiny_classifier(method=layer).name
        for layer in (keras.layers.SpatialDropout2D(0.2), DropBlock2D(), Own())
    ]
    assert names == ["tiny_spatial_dropout", "tiny_dropblock", "tiny_own"]
    other = tiny_classifier(method=Own())
    assert "own_conv2_relu" in [x.name for x in other.layers]


def test_weights_of_another_backbone_are_refused(tmp_path):
    _, path = saved_classifier(tmp_path)
    message = (
        r"weights are of another backbone: `tiny_cam` lacks the layers "
        r"\['conv_dw_1', .*\] of `mobilenet_cam`"
    )
    with pytest.raises(ValueError, match=message):
        small_classifier(weights=path)


def test_weights_of_another_width_are_refused(tmp_path):
    _, path = saved_classifier(tmp_path)
    message = (
        r"weights of layer 'conv1' must have the shapes \[\(3, 3, 3, 2\)\]; check "
        r"`backbone_options`. Received: \[\(3, 3, 3, 4\)\]"
    )
    with pytest.raises(ValueError, match=message):
        tiny_classifier(weights=path, backbone_options={"alpha": 0.5})


def test_weights_that_are_not_there():
    message = r"`weights` must be None, .* or an existing file. Received: nowhere.keras"
    with pytest.raises(FileNotFoundError, match=message):
        tiny_classifier(weights="nowhere.keras")


def test_weights_of_another_width_from_keras_applications(tmp_path):
    source = tiny_backbone(
        include_top=False, weights=None, input_shape=(*SIZE, 3), alpha=1.0
    )
    source.save_weights(tmp_path / "backbone.weights.h5")
    with pytest.raises(
        ValueError, match="of another width, pass it: `backbone_options"
    ):
        tiny_classifier(
            weights=tmp_path / "backbone.weights.h5", backbone_options={"alpha": 0.5}
        )


# Seeds


def test_a_seed_fixes_every_weight_whatever_was_drawn_before():
    keras.utils.set_random_seed(1)
    first = weights_by_layer(tiny_classifier("tiny_head", num_classes=5, seed=4))
    keras.utils.set_random_seed(2)
    keras.random.uniform((3,))
    second = weights_by_layer(tiny_classifier("tiny_head", num_classes=5, seed=4))
    other = weights_by_layer(tiny_classifier("tiny_head", num_classes=5, seed=5))
    assert {"conv1", "head_conv1", "head_conv2", "head_logits"} <= set(first)
    for name, weights in first.items():
        assert same(weights, second[name]), name
        if weights[0].ndim > 1:  # a kernel
            assert not np.array_equal(weights[0], other[name][0]), name


def test_two_layers_of_the_same_shape_draw_differently():
    weights = weights_by_layer(tiny_classifier("tiny_head", "se"))
    names = ["se_conv2_relu", "se_head_conv2", "head_conv1", "head_conv2"]
    kernels = [weights[name][0] for name in names]
    assert len({kernel.std() for kernel in kernels}) == len(names)
    config = keras.layers.Conv2D(4, 3).get_config()
    draws = []
    for name in ("one", "other", "one"):
        layer = changed_layer(keras.layers.Conv2D.from_config(config), name, {}, 0)
        layer.build((None, 9, 8, 3))
        draws.append(layer.get_weights()[0])
    assert not np.array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])


def test_a_seed_fixes_the_draws_of_the_inserted_layers():
    images = random_images(2, SIZE)

    def draws(seed):
        model = tiny_classifier("tiny", "cagd", seed=seed)
        return np.stack([outputs(model, images, training=True) for _ in range(3)])

    first = draws(0)
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(draws(0), first)
    seeds = [x.seed for x in layers_of(tiny_classifier(method="cagd"), CAGD)]
    assert len(set(seeds)) == len(seeds) > 1


# Dtype


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_logits_are_float32_under_every_policy(policy):
    with dtype_policy(policy):
        model = tiny_classifier("tiny", "dgdm")
    assert model.get_layer("conv3").compute_dtype == policy.removeprefix("mixed_")
    for training in (False, True):
        logits = model(random_images(2, SIZE), training=training)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
        assert np.isfinite(ops.convert_to_numpy(logits)).all()
    assert model.get_layer("head_pool").compute_dtype == "float32"
    assert all(w.dtype == "float32" for w in model.trainable_weights)


# Freezing


def fit_a_step(model, images=None):
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    images = random_images(4, SIZE) if images is None else images
    model.fit(images, np.arange(4), batch_size=4, verbose=0)


def test_frozen_batch_norm_keeps_its_statistics_and_weights():
    for freeze in ("batch_norm", None):
        model = tiny_classifier(freeze=freeze)
        draw_weights(model)
        before = weights_by_layer(model)
        fit_a_step(model)
        after = weights_by_layer(model)
        names = [x.name for x in layers_of(model, keras.layers.BatchNormalization)]
        assert len(names) == 3
        for name in names:
            assert same(before[name], after[name]) == (freeze is not None), name
        assert not same(before["conv3"], after["conv3"])
        assert not same(before["head_logits"], after["head_logits"])


def trainable_layers(model):
    return [x.name for x in model.layers if x.trainable_weights]


def test_a_frozen_backbone_leaves_the_head():
    model = tiny_classifier("tiny_head", freeze="backbone")
    assert trainable_layers(model) == ["head_conv1", "head_conv2", "head_logits"]


@pytest.mark.parametrize("method", ["se", "cbam"])
def test_a_frozen_backbone_leaves_inserted_layers_that_are_drawn(method, tmp_path):
    _, path = saved_classifier(tmp_path)
    model = tiny_classifier(method=method, weights=path, freeze="backbone")
    new = [f"{method}_conv2_relu", f"{method}_conv3_relu"]
    assert trainable_layers(model) == [*new, "head_logits"]
    before = weights_by_layer(model)
    fit_a_step(model)
    after = weights_by_layer(model)
    for name in before:
        assert same(before[name], after[name]) == (name not in [*new, "head_logits"])
    # By its name a layer is frozen, and all before it.
    named = tiny_classifier(method=method, weights=path, freeze=["backbone", new[0]])
    assert trainable_layers(named) == [*new[1:], "head_logits"]


def test_a_frozen_backbone_includes_inserted_layers_that_carried_over(tmp_path):
    _, path = saved_classifier(tmp_path, method="se")
    model = tiny_classifier(method="se", weights=path, freeze="backbone")
    # The one behind the features is no part of the backbone.
    assert trainable_layers(model) == ["se_conv3_relu", "head_logits"]


def test_a_frozen_backbone_that_is_all_drawn_is_frozen_whole():
    model = tiny_classifier(method="se", freeze="backbone")
    assert trainable_layers(model) == ["se_conv3_relu", "head_logits"]


def test_frozen_up_to_a_layer():
    model = tiny_classifier(freeze="conv2")
    assert trainable_layers(model) == [
        "conv2_bn",
        "conv3",
        "conv3_bn",
        "head_logits",
    ]


def test_several_parts_frozen():
    model = tiny_classifier(freeze=["conv2", "batch_norm"])
    assert trainable_layers(model) == ["conv3", "head_logits"]


def test_frozen_stays_frozen_when_saved(tmp_path):
    model = tiny_classifier(freeze=["conv2", "batch_norm"])
    model.save(tmp_path / "frozen.keras")
    revived = keras.saving.load_model(tmp_path / "frozen.keras")
    assert trainable_layers(revived) == trainable_layers(model)


def momenta(model):
    return {x.momentum for x in layers_of(model, keras.layers.BatchNormalization)}


def test_momentum_of_every_batch_norm(tmp_path):
    assert momenta(tiny_classifier()) == {0.99}
    # CBAM's spatial gate has one of its own.
    model = tiny_classifier(method="cbam", batch_norm_momentum=0.5)
    assert momenta(model) == {0.5}
    model.save(tmp_path / "half.keras")
    assert momenta(keras.saving.load_model(tmp_path / "half.keras")) == {0.5}


@keras.saving.register_keras_serializable(package="tests")
class Block(keras.layers.Layer):
    """Holds one batch normalization itself, and one in a list of layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.own = keras.layers.BatchNormalization()
        self.parts = [keras.layers.Conv2D(3, 1), keras.layers.BatchNormalization()]

    def call(self, inputs, training=False):
        x = self.parts[0](self.own(inputs, training=training))
        return self.parts[1](x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape


def test_batch_norms_inside_of_other_layers_are_found():
    images = keras.Input((24, 36, 3))
    block, around = Block(), keras.layers.BatchNormalization()
    maps = keras.layers.TimeDistributed(around)(block(images)[:, None])[:, 0]
    backbone = keras.Model(images, keras.layers.Conv2D(4, 3)(maps), name="mine")
    for freeze in ("batch_norm", None):
        model = build_classifier(
            backbone,
            num_classes=2,
            weights=None,
            freeze=freeze,
            batch_norm_momentum=0.5,
        )
        [block] = layers_of(model, Block)
        [wrapper] = layers_of(model, keras.layers.TimeDistributed)
        norms = [block.own, block.parts[1], wrapper.layer]
        assert [each.momentum for each in norms] == [0.5] * 3
        assert [each.trainable for each in norms] == [freeze is None] * 3
        assert block.parts[0].trainable
        before = [keras.ops.convert_to_numpy(each.moving_mean) for each in norms]
        model(random_images(2, (24, 36)) ** 2, training=True)
        moved = [
            np.any(keras.ops.convert_to_numpy(each.moving_mean) != old)
            for each, old in zip(norms, before, strict=True)
        ]
        assert moved == [freeze is None] * 3


def test_a_batch_norm_without_momentum_has_the_statistics_of_the_last_step():
    model = tiny_classifier(batch_norm_momentum=0)
    layer = model.get_layer("conv1_bn")
    images = random_images(4, SIZE)
    before = keras.Model(model.input, layer.input)
    given = keras.ops.convert_to_numpy(before(images))
    fit_a_step(model, images)
    mean = keras.ops.convert_to_numpy(layer.moving_mean)
    np.testing.assert_allclose(mean, given.mean(axis=(0, 1, 2)), atol=1e-4)


@pytest.mark.parametrize(
    ("momentum", "error"), [(1.5, ValueError), (-0.1, ValueError), ("0.9", TypeError)]
)
def test_a_momentum_out_of_range(momentum, error):
    with pytest.raises(error, match="`batch_norm_momentum` must be a number in"):
        tiny_classifier(batch_norm_momentum=momentum)


def test_freezing_an_unknown_layer():
    message = (
        r"`freeze` must name layers of `tiny_cam`, or be .* or \"backbone\". "
        r"Received: \['block9'\]. Its last layers are: .*'head_logits'\]"
    )
    with pytest.raises(ValueError, match=message):
        tiny_classifier(freeze="block9")


# Class names


def test_class_names_travel_with_the_model(tmp_path):
    model = tiny_classifier(class_names=list(NAMES))
    assert class_names_of(model) == NAMES
    model.save(tmp_path / "named.keras")
    assert class_names_of(keras.saving.load_model(tmp_path / "named.keras")) == NAMES
    assert class_names_of(keras.models.clone_model(model)) == NAMES


def test_no_class_names():
    assert class_names_of(tiny_classifier()) is None
    inputs = keras.Input((3,))
    plain = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert class_names_of(plain) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:4], "`class_names` must be 5 different names.*Received 4, 4 of them"),
        (("auk", *NAMES[1:]), "must be 5 different names.*Received 5, 4 of them"),
    ],
)
def test_wrong_class_names(names, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier(class_names=names)


def test_logits_is_a_dense_layer():
    layer = Logits(2, class_names=["cat", "dog"], use_bias=False)
    layer.build((None, 3))
    kernel = np.arange(6, dtype="float32").reshape(3, 2)
    layer.set_weights([kernel])
    found = ops.convert_to_numpy(layer(np.array([[1.0, 2.0, 3.0]])))
    np.testing.assert_allclose(found, [[16, 22]])


# Methods by name and by layer


def places_of(layers):
    return [node_of(layer.input).operation.name for layer in layers]


def test_presets_of_the_table_hold_at_other_places_too():
    model = tiny_classifier(method="dgdm", drop_after=["conv1_relu", "conv2_relu"])
    layers = layers_of(model, DGDM)
    assert places_of(layers) == ["conv1_relu", "conv2_relu"]
    # What the table knows of a place still holds there, the rest is the layer's own.
    assert [x.low_threshold for x in layers] == [DGDM().low_threshold, 0.2]


def test_a_layer_is_copied_to_each_place_as_it_is():
    template = DGDM(drop_probability=0.3, high_threshold=0.8, low_threshold=0.15)
    places = ["conv2_relu", "conv3_relu"]
    model = tiny_classifier(method=template, drop_after=places, seed=7)
    assert model.name == "tiny_dgdm"
    layers = layers_of(model, DGDM)
    assert [x.name for x in layers] == [f"dgdm_{place}" for place in places]
    assert places_of(layers) == places
    for place, layer in zip(places, layers, strict=True):
        expected = {**template.get_config(), "name": layer.name}
        assert layer.get_config() == {**expected, "seed": derive_seed(7, place)}
    # The template itself is in no model.
    assert not hasattr(template, "input")


def test_the_seed_of_a_layer_goes_before_that_of_the_model():
    for seed in (0, 1):
        model = tiny_classifier(method=ADL(seed=3), seed=seed)
        assert [x.seed for x in layers_of(model, ADL)] == [
            derive_seed(3, place) for place in ("conv2_relu", "conv3_relu")
        ]


@pytest.mark.parametrize(
    ("template", "places"),
    [
        # Of the row of their class; Cutout has the image.
        (DFM(focus=0.0), ["conv1_relu", "conv3_relu"]),
        (Cutout(size=9), ["normalization"]),
    ],
)
def test_a_layer_goes_to_the_places_of_its_class(template, places):
    model = tiny_classifier(method=template)
    layers = layers_of(model, type(template))
    assert places_of(layers) == places
    name = "size" if isinstance(template, Cutout) else "focus"
    assert {getattr(x, name) for x in layers} == {getattr(template, name)}


class Doubled(keras.layers.Layer):
    """A method of a user's own, which no table knows and Keras has no name for."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs, training=False):
        return inputs * self.factor if training else inputs

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_a_layer_class_of_a_user():
    model, plain = tiny_classifier(method=Doubled(2.0)), tiny_classifier()
    assert model.name == "tiny_doubled"
    layers = layers_of(model, Doubled)
    assert places_of(layers) == ["conv2_relu", "conv3_relu"]
    assert [x.factor for x in layers] == [2.0, 2.0]
    images = random_images(2, SIZE)
    np.testing.assert_array_equal(outputs(model, images), outputs(plain, images))
    for layer in layers_of(model, keras.layers.BatchNormalization):
        layer.trainable = False  # so that only the inserted layers see `training`
    features = keras.Model(model.input, model.get_layer("head_pool").input)
    # The last place alone: the first is convolved and cut at 6 in between.
    before = keras.Model(model.input, model.get_layer("conv3_relu").output)
    np.testing.assert_array_equal(
        outputs(features, images, training=True),
        2 * outputs(before, images, training=True),
    )


def test_a_place_after_an_inserted_layer_takes_its_output():
    model = tiny_classifier(method="adl", drop_after=["normalization"])
    (layer,) = layers_of(model, ADL)
    assert node_of(model.get_layer("conv1").input).operation is layer


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "drop_block"},
            r"`method` must be one of \['cam', 'adl', 'dfm', 'dgdm', 'cagd', 'sagd', .*"
            r"'dropblock'.*\], a `Method`, or a layer, .*method='drop_block'. "
            r"Did you mean 'dropblock'\?",
        ),
        (
            {"backbone_options": {"width": 1}},
            r"`backbone_options` of 'tiny' may have \['alpha'\]. "
            r"Received: \['width'\]",
        ),
        (
            {"backbone": "tiny_head", "backbone_options": {"map_size": 14}},
            r"of 'tiny_head' may have \['alpha', 'head_convolutions'\]. Received: "
            r"\['map_size'\]",
        ),
        (
            {"method": "adl", "drop_after": ["block9"]},
            r"`drop_after` must name layers of `tiny`. "
            r"Received: \['block9'\]. Its last layers are: \[.*'conv3_relu'",
        ),
        (
            {"method": "adl", "drop_after": "conv2_relu"},
            r"`drop_after` must be a sequence of layer names.*'conv2_relu'",
        ),
        ({"method": "adl", "drop_after": []}, "sequence of layer names, at least one"),
        (
            {"method": "cam", "drop_after": ["conv2_relu"]},
            "'cam' inserts no layer, so it takes no `drop_after`",
        ),
        ({"num_classes": 0}, "`num_classes` must be an integer >= 1.*num_classes=0"),
        (
            {"input_shape": (64, 96)},
            r"`input_shape` must be \(height, width, 3\) .*Received: .*\(64, 96\)",
        ),
        ({"input_shape": (64, 96, 1)}, r"`input_shape` must be .*\(64, 96, 1\)"),
        ({"input_shape": (None, None, 3)}, "with a fixed height and width"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_classifier(**arguments)


@pytest.mark.parametrize("method", [ADL, 3, None])
def test_a_method_is_a_name_or_a_layer(method):
    message = r"or a layer, such as keras_wsol.layers.ADL\(\)\. Received: method="
    with pytest.raises(TypeError, match=message):
        tiny_classifier(method=method)


def test_a_number_of_classes_that_is_no_integer():
    message = r"`num_classes` must be an integer >= 1\. .*=2\.5 \(of type float\)"
    with pytest.raises(TypeError, match=message):
        tiny_classifier(num_classes=2.5)


def test_unknown_backbone():
    from keras_wsol.models import build_classifier

    message = (
        r"`backbone` must be one of \['mobilenet', 'mobilenet_v2', .*, "
        r"'resnet50', .*\]. Received: backbone='resnet152'. "
        r"Did you mean 'resnet\w+'\?"
    )
    with pytest.raises(ValueError, match=message):
        build_classifier("resnet152")


@pytest.mark.parametrize("place", ["head_pool", "head_logits", "images"])
def test_a_place_where_nothing_is_inserted_is_refused(place):
    # These layers exist in the model, but not in the backbone.
    with pytest.raises(ValueError, match=f"`drop_after` must name layers .*'{place}'"):
        tiny_classifier(method="adl", drop_after=[place])


def test_numpy_integers_are_integers():
    model = tiny_classifier(num_classes=np.int64(4))
    assert model.output_shape == (None, 4)


def test_a_number_as_input_shape():
    with pytest.raises((ValueError, TypeError), match="`input_shape` must be"):
        tiny_classifier(input_shape=224)


@pytest.mark.parametrize("count", [1, 2])
def test_a_place_in_the_head_is_its_last_convolution(count):
    model = tiny_classifier(
        "tiny_head", "adl", backbone_options={"head_convolutions": count}
    )
    names = [layer.name for layer in model.layers if layer.name.startswith("adl_")]
    assert names == ["adl_conv2_relu", f"adl_head_conv{count}"]
    head = [layer for layer in model.layers if layer.name.startswith("head_conv")]
    assert [(x.filters, x.kernel_size) for x in head] == [(1024, (3, 3))] * count
    assert all(layer.activation is keras.activations.relu for layer in head)
    assert head[0].input is model.get_layer("conv3_relu").output


@pytest.mark.parametrize(("count", "error"), [(0, ValueError), (1.5, TypeError)])
def test_head_convolutions_are_counted(count, error):
    with pytest.raises(error, match="`head_convolutions` must be an integer"):
        tiny_classifier("tiny_head", backbone_options={"head_convolutions": count})


def test_blocks_of_a_row_are_part_of_its_backbone(tmp_path):
    trained, path = saved_classifier(tmp_path)
    model = tiny_classifier("tiny_se", "dgdm", weights=path, freeze="backbone")
    block = model.get_layer("conv2_se")
    assert node_of(block.input).operation.name == "conv2_bn"
    assert node_of(model.get_layer("conv2_relu").input).operation is block
    # It is new beside carried weights, so that it is trained.
    assert trainable_layers(model) == ["conv2_se", "head_logits"]
    again = tiny_classifier("tiny_se", weights=path)
    assert same(again.get_layer("conv2_se").get_weights(), block.get_weights())
    # With open gates the model is that without blocks.
    *others, bias = block.get_weights()
    block.set_weights([*others[:2], 0 * others[2], bias + 50])
    images = random_images(2, SIZE)
    np.testing.assert_array_equal(outputs(model, images), outputs(trained, images))


def test_weights_of_a_saved_localizer(tmp_path):
    from keras_wsol.models import Localizer

    model = tiny_classifier(seed=3)
    Localizer(model).save(tmp_path / "localizer.keras")
    again = tiny_classifier(seed=4, weights=tmp_path / "localizer.keras")
    for old, new in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_head_of_other_classes_does_not_carry_over(tmp_path):
    # Equal shapes, but its rows mean other classes.
    tiny_classifier(num_classes=2, class_names=["a", "b"]).save(tmp_path / "ab.keras")
    build = {"num_classes": 2, "class_names": ["b", "a"], "seed": 5}
    fresh = tiny_classifier(**build)
    carried = tiny_classifier(**build, weights=tmp_path / "ab.keras")
    kernels = [m.get_layer("head_logits").get_weights()[0] for m in (fresh, carried)]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize("name", ["x.h5", "x.keras"])
def test_a_damaged_file_of_weights_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(ValueError, match=str(tmp_path / name)):
        build_classifier("mobilenet", num_classes=2, weights=tmp_path / name)
