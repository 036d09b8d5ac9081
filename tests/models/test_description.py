import math

import keras
import pytest
from keras import layers

from keras_wsol.layers import ADL, MaxDrop, SqueezeExcite
from keras_wsol.models import Localizer, build_classifier, describe, multiply_adds
from keras_wsol.models.inspection import Place, Stage
from tests.models.small import small_classifier


@pytest.fixture(scope="module")
def model():
    images = keras.Input((8, 6, 3), name="images")
    x = layers.Conv2D(4, 3, padding="same", name="low")(images)
    x = layers.BatchNormalization(name="norm")(x)
    x = ADL(drop_threshold=0.9, seed=3, name="adl")(x)
    x = layers.Conv2D(6, 3, padding="same", strides=2, name="high")(x)
    x = SqueezeExcite(ratio=3, name="se")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="logits")(x), name="mine")


# In the head: 3x3x3x4 + 4 and 4x4; 48 cells x 108. 3x3x4x6 + 6 and 6x2 + 2 + 2x6 + 6;
# 12 cells x 216, and 24. 6x5 + 5; 30.
LOW, HIGH, POOLED = (112 + 16, 5184), (222 + 32, 2592 + 24), (35, 30)


def test_stages(model):
    assert describe(model).stages == (
        Stage((8, 6), 4, 3, "low", "adl", *LOW),
        Stage((4, 3), 6, 2, "high", "se", *HIGH),
        Stage(None, 5, 2, "pool", "logits", *POOLED),
    )


def test_places_and_options_that_differ(model):
    # Of ADL: mean and product 2 x 192, mask 2 x 48 + 1, sigmoid 48, draw 1.
    assert describe(model).places == (
        Place("norm", "ADL", (8, 6, 4), {"drop_threshold": 0.9}, 0, 0, 530),
        Place("high", "SqueezeExcite", (4, 3, 6), {"ratio": 3}, 32, 24, None),
    )


def test_costs_and_overheads(model):
    described = describe(model)
    assert (described.name, described.input_shape) == ("mine", (8, 6, 3))
    assert described.outputs == 5
    assert described.parameters == 128 + 254 + 35 == model.count_params()
    assert described.trainable_parameters == 417 - 8
    assert described.multiply_adds == 5184 + 2616 + 30 == multiply_adds(model)
    assert described.parameter_overhead == 32 / (417 - 32)
    assert described.computation_overhead == 24 / (7830 - 24)
    assert described.training_overhead is None  # an SE block is not counted


def test_overhead_in_training_is_a_share_of_the_forward_pass():
    images = keras.Input((8, 6, 3))
    x = layers.Conv2D(4, 3, padding="same")(images)
    x = layers.GlobalAveragePooling2D()(ADL()(x))
    described = describe(keras.Model(images, layers.Dense(5)(x)))
    assert described.training_overhead == 530 / (2 * (5184 + 20))


def test_printed(model):
    lines = str(describe(model)).splitlines()
    assert lines[0] == "mine: images of 8 x 6 x 3, 5 classes"
    assert lines[2].split() == [
        *("map", "channels", "layers", "from", "...", "to"),
        *("parameters", "multiply-adds"),
    ]
    assert " ".join(lines[3].split()) == "8 x 6 4 3 low ... adl 128 5,184"
    assert lines[7].index("after") == lines[8].index("norm") == lines[9].index("high")
    assert "drop_threshold=0.9" in lines[8]
    assert lines[8].endswith(" 530")
    assert lines[9].endswith(" -")
    assert lines[-1].split() == ["0.00", "0.00", "0.00", "0.307", "8.312", "-"]


def test_markdown(model):
    blocks = describe(model).to_markdown().split("\n\n")
    assert len(blocks) == 4
    assert blocks[2].splitlines() == [
        "| inserted | after | map | options | parameters | multiply-adds | "
        "operations in training |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| ADL | norm | 8 x 6 x 4 | drop_threshold=0.9 | 0 | 0 | 530 |",
        "| SqueezeExcite | high | 4 x 3 x 6 | ratio=3 | 32 | 24 | - |",
    ]


def test_of_a_sequential_model_and_a_localizer(model):
    sequential = keras.Sequential(
        [
            *(keras.Input((8, 6, 3)), layers.Conv2D(4, 3, name="low"), MaxDrop()),
            *(layers.GlobalAveragePooling2D(), layers.Dense(5)),
        ]
    )
    found = describe(sequential)
    assert [(place.layer, place.after) for place in found.places] == [
        ("MaxDrop", "low")
    ]
    assert describe(Localizer(model)) == describe(model)


def test_what_a_method_of_keras_inserts_is_listed():
    places = describe(small_classifier(method="spatial_dropout")).places
    assert [place.after for place in places] == ["conv_pw_12_relu", "conv_pw_13_relu"]
    assert [place.options for place in places] == [{"rate": 0.2}] * 2


def test_a_model_with_several_outputs_is_refused():
    images = keras.Input((8, 6, 3))
    with pytest.raises(ValueError, match="Received: 1 inputs and 2 outputs"):
        describe(keras.Model(images, [2.0 * images, 3.0 * images]))
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        describe(layers.Dense(2))


def as_pytorch_counts(model):
    """Parameters of the same network there.

    No moving statistics, no bias of a convolution before batch normalization, and
    that with a scale.
    """
    count = 0
    for layer in model.layers:
        count += sum(math.prod(weight.shape) for weight in layer.weights)
        if isinstance(layer, layers.BatchNormalization):
            channels = layer.output.shape[-1]
            count -= 2 * channels
            count += 0 if layer.scale else channels
            count -= channels if "conv" in layer.name else 0  # of a ResNet
    return count


@pytest.mark.parametrize(
    ("backbone", "options", "parameters", "flops"),
    [
        # Table 3 of DGDM, at 200 classes. What its column of FLOPs counts besides
        # products is not said; 62.32 for ResNet50 is none of the network's map sizes.
        ("vgg16", {"head_convolutions": 2}, 29.08, 18.20),
        ("resnet50", {}, 23.92, None),
        ("inception_v3", {"map_size": 12}, 25.69, 4.84),
    ],
)
def test_papers_columns(backbone, options, parameters, flops):
    model = build_classifier(
        backbone, "dgdm", 200, weights=None, backbone_options=options
    )
    described = describe(model)
    assert round(as_pytorch_counts(model) / 1e6, 2) == parameters
    assert described.parameters / 1e6 == pytest.approx(parameters, rel=0.004)
    if flops is not None:
        assert flops * 0.99 < described.multiply_adds / 1e9 < flops
    assert described.parameter_overhead == described.computation_overhead == 0
    assert 0 < described.training_overhead < 4e-4


def test_the_blocks_of_resnet50_se_are_no_overhead():
    model = build_classifier("resnet50_se", "adl", 200, weights=None)
    described = describe(model)
    assert [place.layer for place in described.places] == ["ADL"] * 3
    # The blocks: 2 x C x C / 16 and biases, at 3, 4, 6 and 3 blocks.
    widths = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    blocks = sum(2 * c * (c // 16) + c // 16 + c for c in widths)
    assert described.parameters == 23_997_512 + blocks
    # Table 3 of ADL: 107 MB.
    assert 4 * described.parameters / 1e6 == pytest.approx(107, rel=0.01)
