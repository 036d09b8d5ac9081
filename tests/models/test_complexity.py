import math
from collections import Counter

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_wsol.layers import ADL, CAGD, CBAM, DFM, DGDM, SAGD, MaxDrop, SqueezeExcite
from keras_wsol.models import Localizer, build_classifier, describe, multiply_adds
from tests.models.small import tiny_classifier

BACKEND = keras.backend.backend()


def model_of(layer, shape=(9, 7, 6)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # Rows x columns of the output, kernel, channels in, channels out.
        (layers.Conv2D(5, (3, 2), padding="same"), 9 * 7 * (3 * 2) * 6 * 5),
        (layers.Conv2D(5, 3, strides=2), 4 * 3 * 9 * 6 * 5),
        (layers.Conv2D(5, 3, dilation_rate=2), 5 * 3 * 9 * 6 * 5),
        (layers.Conv2D(4, 3, groups=2), 7 * 5 * 9 * 3 * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), 7 * 5 * 9 * 6 * 2),
        # Each cell and channel first, then 12 channels to 5.
        (
            layers.SeparableConv2D(5, 3, depth_multiplier=2),
            7 * 5 * (9 * 6 * 2 + 12 * 5),
        ),
        # Every cell of the input meets the whole kernel.
        (layers.Conv2DTranspose(5, 3, strides=2), 9 * 7 * 9 * 6 * 5),
        (layers.Dense(4), 9 * 7 * 6 * 4),
        (layers.EinsumDense("abcd,de->abce", (9, 7, 4)), 9 * 7 * 6 * 4),
        (layers.EinsumDense("...d,dec->...ec", (4, 5)), 9 * 7 * 6 * 4 * 5),
        (layers.EinsumDense("abcd,bcde->ae", (5,)), 9 * 7 * 6 * 5),
        (layers.EinsumDense("abcd,d->abcd", (9, 7, 6)), 0),
        # 6 channels to 2 and back; CBAM does so for the mean and the maximum, and
        # has a window of 5 x 5 over two maps.
        (SqueezeExcite(ratio=3), 2 * 6 * 2),
        (CBAM(ratio=3, kernel_size=5), 4 * 6 * 2 + 9 * 7 * 25 * 2),
        (CBAM(ratio=3, spatial=False), 4 * 6 * 2),
        (CBAM(kernel_size=5, channel=False), 9 * 7 * 25 * 2),
        (layers.BatchNormalization(), 0),
        (layers.MaxPooling2D(), 0),
        (layers.GlobalAveragePooling2D(), 0),
        (layers.ReLU(), 0),
        (MaxDrop(), 0),
    ],
)
def test_counts_of_the_head(layer, expected):
    model = model_of(layer)
    assert multiply_adds(model) == expected
    assert multiply_adds(keras.Sequential([keras.Input((9, 7, 6)), layer])) == expected


def attention(queries, keys, width, heads, key_dim, value_dim, width_of_keys=None):
    """Of a layer: every product of every head, in loops."""
    width_of_keys = width_of_keys or width
    count = 0
    for _ in range(heads):
        count += queries * width * key_dim  # queries
        count += keys * width_of_keys * (key_dim + value_dim)
        for _ in range(queries):
            count += keys * key_dim  # scores
            count += keys * value_dim  # weighed values
        count += queries * value_dim * width  # their projection
    return count


def test_counts_of_attention():
    queries, others = keras.Input((7, 6)), keras.Input((4, 8))
    layer = layers.MultiHeadAttention(3, key_dim=5, value_dim=2)
    itself = keras.Model(queries, layer(queries, queries))
    assert multiply_adds(itself) == attention(7, 7, 6, 3, 5, 2)
    layer = layers.MultiHeadAttention(3, key_dim=5, value_dim=2)
    expected = attention(7, 4, 6, 3, 5, 2, width_of_keys=8)
    inputs = [queries, others]
    for made in (
        layer(queries, others),
        layer(query=queries, value=others, key=others),
        layer(queries, others, attention_mask=ops.ones((1, 7, 4))),
    ):
        assert multiply_adds(keras.Model(inputs, made)) == expected
    # Without kernels of its own: 3 heads of 5.
    heads = [keras.Input((length, 3, 5)) for length in (7, 4, 4)]
    made = ops.dot_product_attention(*heads)
    assert multiply_adds(keras.Model(heads, made)) == 2 * 3 * 7 * 4 * 5
    # Of maps, each cell with each.
    layer = layers.MultiHeadAttention(3, key_dim=5, value_dim=2)
    maps = keras.Input((2, 3, 6))
    model = keras.Model(maps, layer(maps, maps))
    assert multiply_adds(model) == attention(6, 6, 6, 3, 5, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        # torchvision's `vit_b_16`: 17.564 G; it counts attention, too.
        ("vit_b16", 17.564),
        # Liu et al., 2021 (Swin), Table 1, with one token less: 4.6 G.
        ("deit_s16", 4.6),
    ],
)
def test_transformers_published_counts(backbone, published):
    model = build_classifier(backbone, num_classes=1000, weights=None)
    width = model.get_layer("block12").output.shape[-1]
    tokens = 14 * 14 + model.get_layer("embedding").learned
    block = 4 * tokens * width**2 + 2 * tokens * width * 4 * width
    block += 2 * tokens**2 * width
    expected = 14 * 14 * 16 * 16 * 3 * width + 12 * block + 1000 * width
    assert multiply_adds(model) == expected
    digits = len(str(published)) - str(published).index(".") - 1
    assert round(expected / 1e9, digits) == published
    assert f"{expected:,}" in describe(model).splitlines()[-1]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv1D(5, 3, strides=2), (9, 6)),
        (layers.Conv2D(4, (3, 2), groups=2, strides=2), (9, 7, 6)),
        (layers.Conv3D(2, (1, 2, 3)), (4, 5, 6, 3)),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (9, 6)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 7, 6)),
        (layers.Conv1DTranspose(5, 3, strides=2), (9, 6)),
        (layers.Conv2DTranspose(5, 3, strides=2), (9, 7, 6)),
        (layers.Dense(4), (9, 7, 6)),
    ],
)
def test_as_many_products_as_are_added_up(layer, shape):
    # With ones everywhere, and no padding, the sum of the output counts them.
    model = model_of(layer, shape)
    layer.set_weights([np.full(w.shape, float(w.ndim > 1)) for w in layer.weights])
    assert multiply_adds(model) == int(ops.sum(model(ops.ones((1, *shape)))))


def test_shared_layers_and_models_count_each_time():
    images = keras.Input((9, 7, 6))
    inner = model_of(layers.Conv2D(6, 1, name="inner"))  # 63 * 36 = 2268
    shared = layers.Conv2D(6, 3, padding="same", name="shared")  # 9 * 2268 = 20412
    x = shared(shared(inner(images)))
    assert multiply_adds(keras.Model(images, [x, x + 1.0])) == 2268 + 2 * 20412
    # A model up to the middle does not pay for the rest, nor one from there.
    middle = keras.Model(images, inner(images))
    assert multiply_adds(middle) == 2268
    assert multiply_adds(keras.Model(images, shared(images))) == 20412


@pytest.fixture(scope="module")
def mobilenet():
    return keras.applications.MobileNet(alpha=0.25, weights=None)


@pytest.fixture(scope="module")
def resnet50():
    return build_classifier("resnet50", num_classes=1000, weights=None)


def test_mobilenets_published_count(mobilenet):
    # Howard et al., 2017, Table 6, 0.25 MobileNet-224: 41 million mult-adds.
    assert round(multiply_adds(mobilenet) / 1e6) == 41


def test_vgg16_with_two_head_convolutions_has_dgdms_columns():
    model = build_classifier(
        "vgg16",
        num_classes=200,
        weights=None,
        backbone_options={"head_convolutions": 2},
    )
    stages = [(224, 64, 2), (112, 128, 2), (56, 256, 3), (28, 512, 3), (14, 512, 3)]
    expected, before = 1024 * 200, 3
    for side, channels, convolutions in [*stages, (14, 1024, 2)]:
        for _ in range(convolutions):
            expected += 9 * before * channels * side**2
            before = channels
    assert multiply_adds(model) == expected == 18_121_367_552
    # Table 3 of DGDM says 18.20 G, 0.4 % more than the products: what else it counts
    # is not said.
    assert multiply_adds(model) == pytest.approx(18.20e9, rel=0.005)
    assert round(model.count_params() / 1e6, 2) == 29.08


@pytest.mark.slow
def test_resnet50_with_maps_of_14_pays_for_the_last_stage_four_times(resnet50):
    # With the stride of He et al., 2016, the network has 3.8 G (Table 1, its last
    # digit cut). In conv5, blocks of 512, 512 and 2048 channels; the shortcut is 1024
    # to 2048.
    first = 1024 * 512 + 9 * 512 * 512 + 512 * 2048 + 1024 * 2048
    others = 2 * (2048 * 512 + 9 * 512 * 512 + 512 * 2048)
    published = multiply_adds(resnet50) - (14**2 - 7**2) * (first + others)
    assert 3.8e9 <= published < 3.9e9


def inference(model):
    """What the backend does for one image: (name, multiply-adds), in any order."""
    shape = (1, *model.input_shape[1:])
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND](
        model, np.zeros(shape, "float32")
    )


def _tensorflow(model, images):
    import tensorflow as tf

    graph = (
        tf.function(lambda x: model(x, training=False)).get_concrete_function(images)
    ).graph
    counted = []
    for operation in graph.get_operations():
        products = 0
        if operation.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            made, kernel = operation.outputs[0].shape, operation.inputs[1].shape
            depthwise = operation.type == "DepthwiseConv2dNative"
            products = math.prod(made) * math.prod(kernel[: 2 if depthwise else -1])
        counted.append((operation.type, products))
    return counted


def _jax(model, images):
    import jax

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            inner = [each for each in equation.params.values() if hasattr(each, "eqns")]
            inner += [
                each.jaxpr
                for each in equation.params.values()
                if hasattr(each, "jaxpr") and hasattr(each.jaxpr, "eqns")
            ]
            for each in inner:
                yield from walk(each)
            yield str(equation.primitive), products(equation)

    def products(equation):
        made = equation.outvars[0].aval.shape
        if str(equation.primitive) == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            channels = equation.params["dimension_numbers"].rhs_spec[0]
            return math.prod(made) * math.prod(kernel) // kernel[channels]
        if str(equation.primitive) == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = [equation.invars[0].aval.shape[axis] for axis in contracted]
            return math.prod(made) * math.prod(summed)
        return 0

    traced = jax.make_jaxpr(lambda x: model(x, training=False))(images)
    return list(walk(traced.jaxpr))


def _torch(model, images):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    names = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append((str(function), 0))
            return function(*args, **(kwargs or {}))

    with torch.no_grad(), FlopCounterMode(display=False) as counter, Record():
        model(images, training=False)
    return [*names, ("all", counter.get_total_flops() // 2)]


@pytest.mark.parametrize(
    "backbone", ["mobilenet", pytest.param("resnet50", marks=pytest.mark.slow)]
)
def test_the_backends_own_graph_has_the_same_count(backbone, request):
    model = request.getfixturevalue(backbone)
    assert multiply_adds(model) == sum(count for _, count in inference(model))


@pytest.mark.parametrize("module", [ADL, CAGD, DFM, DGDM, SAGD])
def test_a_module_adds_nothing_to_inference(module):
    def classifier(*modules):
        x = images = keras.Input((9, 7, 3))
        for layer in (layers.Conv2D(4, 3, activation="relu"), *modules):
            x = layer(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(images, layers.Dense(5)(x))

    plain, ours = classifier(), classifier(module())
    assert multiply_adds(ours) == multiply_adds(plain)
    assert ours.count_params() == plain.count_params()
    assert Counter(inference(ours)) == Counter(inference(plain))


def test_layers_that_cannot_be_counted_are_refused():
    with pytest.raises(TypeError, match="of type GRU, with kernels"):
        multiply_adds(model_of(layers.GRU(5), (9, 7)))
    images = keras.Input((9, 7, 6))
    with pytest.raises(TypeError, match="of type Matmul"):
        multiply_adds(keras.Model(images, ops.matmul(images, ops.ones((6, 2)))))
    inner = keras.Model(images, layers.Attention()([images[:, 0], images[:, 1]]))
    with pytest.raises(TypeError, match="of type Attention"):
        multiply_adds(keras.Model(images, inner(images)))


def test_sizes_have_to_be_known():
    with pytest.raises(ValueError, match=r"inputs of `model` .* size \(None, 3\)"):
        multiply_adds(model_of(layers.Conv2D(2, 3, name="first"), (None, 5, 6)))
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        multiply_adds(layers.Conv2D(2, 3))
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        multiply_adds(keras.Sequential([layers.Conv2D(2, 3)]))


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "options", "parameters", "flops"),
    [
        # Table 3 of DGDM, at 200 classes. What its column of FLOPs counts besides
        # products is not said; 62.32 for ResNet50 is none of the network's map sizes.
        ("resnet50", {}, 23.92, None),
        ("inception_v3", {"map_size": 12}, 25.69, 4.84),
    ],
)
def test_papers_columns(backbone, options, parameters, flops):
    model = build_classifier(
        backbone, "dgdm", 200, weights=None, backbone_options=options
    )
    assert round(as_pytorch_counts(model) / 1e6, 2) == parameters
    assert model.count_params() / 1e6 == pytest.approx(parameters, rel=0.004)
    if flops is not None:
        assert flops * 0.99 < multiply_adds(model) / 1e9 < flops


@pytest.mark.slow
def test_the_blocks_of_resnet50_se_belong_to_the_backbone():
    model = build_classifier("resnet50_se", "adl", 200, weights=None)
    lines = describe(model).splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["ADL"] * 3 + ["all"]
    # The blocks: 2 x C x C / 16 and biases, at 3, 4, 6 and 3 blocks.
    widths = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    blocks = sum(2 * c * (c // 16) + c // 16 + c for c in widths)
    assert model.count_params() == 23_997_512 + blocks
    # Table 3 of ADL: 107 MB.
    assert 4 * model.count_params() / 1e6 == pytest.approx(107, rel=0.01)


# The table of `describe`


def described_model():
    images = keras.Input((8, 6, 3), name="images")
    x = layers.Conv2D(4, 3, padding="same", name="low")(images)
    x = layers.BatchNormalization(name="norm")(x)
    x = ADL(drop_threshold=0.9, seed=3, name="adl")(x)
    x = layers.Conv2D(6, 3, padding="same", strides=2, name="high")(x)
    x = SqueezeExcite(ratio=3, name="se")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(5, name="logits")(x), name="mine")


def test_description_by_hand():
    # Convolutions: 3x3x3x4 + 4 and 48 cells x 108; 3x3x4x6 + 6 and 12 cells x 216.
    # Gates: 6x2 + 2 + 2x6 + 6 and 24. Head: 6x5 + 5 and 30. 4x4 of batch norm, of
    # which 8 are statistics.
    model = described_model()
    parameters, count = 112 + 16 + 222 + 32 + 35, 5184 + 2592 + 24 + 30
    assert describe(model).splitlines() == [
        "mine: images of 8 x 6 x 3, 5 classes",
        "layer          after  options             parameters  multiply-adds",
        "ADL            norm   drop_threshold=0.9           0              0",
        "SqueezeExcite  high   ratio=3                     32             24",
        f"all 8          -      {parameters - 8} trained                {parameters}"
        f"          {count:,}",
    ]
    assert describe(Localizer(model)) == describe(model)


def test_description_of_a_sequential_model():
    sequential = keras.Sequential(
        [
            *(keras.Input((8, 6, 3)), layers.Conv2D(4, 3, name="low"), MaxDrop()),
            *(layers.GlobalAveragePooling2D(), layers.Dense(5)),
        ]
    )
    assert describe(sequential).splitlines()[2].split()[:2] == ["MaxDrop", "low"]


def test_what_a_method_of_keras_inserts_is_listed():
    lines = describe(tiny_classifier(method="spatial_dropout")).splitlines()
    assert [line.split()[:3] for line in lines[2:-1]] == [
        ["SpatialDropout2D", place, "rate=0.2"]
        for place in ("conv2_relu", "conv3_relu")
    ]


def test_a_model_that_cannot_be_described_is_refused():
    images = keras.Input((8, 6, 3))
    with pytest.raises(ValueError, match=r"Received: 1 input\(s\), 2 output\(s\)"):
        describe(keras.Model(images, [2.0 * images, 3.0 * images]))
    with pytest.raises(ValueError, match="must be a functional Keras model"):
        describe(layers.Dense(2))
