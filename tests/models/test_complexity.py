import math
from collections import Counter

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_wsol.layers import ADL, CAGD, CBAM, DFM, DGDM, SAGD, MaxDrop, SqueezeExcite
from keras_wsol.models import build_classifier, layer_flops, multiply_adds

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


def test_vgg16_with_two_head_convolutions_has_dgdms_count():
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


@pytest.mark.parametrize("backbone", ["mobilenet", "resnet50"])
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


# 5 x 3 cells of 4 channels: N = 15, C = 4, n = 60. Numbers in the order of the
# docstring.
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ADL(), 60 + 31 + 15 + 1 + 60),
        (ADL(use_importance_map=False), 60 + 31 + 1 + 60),
        (ADL(use_drop_mask=False), 60 + 15 + 1 + 60),
        (CAGD(), 60 + 4 + 4 + (3 + 1) + 4 + 4 + 60),
        (CAGD(selection="top_k"), 60 + 4 + 4 * 2 + 4 + 4 + 60),
        (SAGD(), 60 + (31 + 8 * 15) + (31 + 8 * 15 + 15) + 15 + 1 + 60),
        (
            SAGD(grow_background=False),
            60 + (31 + 8 * 15) + (31 + 15) + 15 + 1 + 60,
        ),
        # The first stage with blocks of one cell is ADL.
        (SAGD(block_size=1, low_threshold=None), 60 + 31 + 15 + 1 + 60),
        (SAGD(block_size=2, low_threshold=None), 60 + (31 + 45) + 15 + 1 + 60),
        (
            SAGD(block_size="adaptive"),
            60 + (31 + 75) + (31 + 75 + 15) + 15 + 1 + 60,
        ),
        (DGDM(), 140 + 453),  # of CAGD and of SAGD, above
        (
            DFM(),
            (120 + 31 + 9 + 30 + 8 + 165 + 1) + (15 + 15 + 4) + (60 + 60),
        ),
        (DFM(accumulate_focus=True), 518 - 4 * 15),
        (DFM(focus=0.0), 518 - 11 * 15),
        (DFM(rescale=False), 518 - 15 - 4),
        (DFM(feedback="scale"), 518 - 15 - 15 - 4),
        (DFM(branches="unfused"), 518 - 11 * 15 + 15 + 4),
        # Mean, mask, tanh and weight, sum with the mask, 1 and half, product.
        (DFM(branches="position"), 60 + 31 + 30 + 15 + 15 + 15 + 60),
        (DFM(branches="channel"), 60 + 9 + 8 + 4 + 4 + 4 + 60),
    ],
)
def test_operations_of_a_module(layer, expected):
    assert layer_flops(layer, (None, 5, 3, 4)) == expected
    # The size of the batch and whether the layer has been called do not count.
    layer.build((2, 5, 3, 4))
    assert layer_flops(layer, (2, 5, 3, 4)) == expected


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (ADL(), lambda n, cells, channels: 2 * n + 3 * cells + 2),
        (CAGD(), lambda n, cells, channels: 2 * n + 5 * channels),
        (SAGD(), lambda n, cells, channels: 2 * n + 22 * cells + 3),
        (DGDM(), lambda n, cells, channels: 4 * n + 22 * cells + 5 * channels + 3),
        (DFM(), lambda n, cells, channels: 4 * n + 17 * cells + 5 * channels + 3),
    ],
)
def test_formulas_of_the_docstring(layer, formula):
    for height, width, channels in [(14, 13, 512), (1, 1, 1), (7, 28, 3)]:
        cells = height * width
        expected = formula(cells * channels, cells, channels)
        assert layer_flops(layer, (8, height, width, channels)) == expected


def test_layers_that_cannot_be_counted_are_refused():
    with pytest.raises(TypeError, match="Received: type EinsumDense, with kernels"):
        multiply_adds(model_of(layers.EinsumDense("abcd,de->abce", (9, 7, 5))))
    images = keras.Input((9, 7, 6))
    with pytest.raises(TypeError, match="Received: type Matmul"):
        multiply_adds(keras.Model(images, ops.matmul(images, ops.ones((6, 2)))))
    inner = keras.Model(images, layers.Attention()([images[:, 0], images[:, 1]]))
    with pytest.raises(TypeError, match="Received: type Attention"):
        multiply_adds(keras.Model(images, inner(images)))


def test_sizes_have_to_be_known():
    with pytest.raises(ValueError, match=r"inputs of `model` .* size \(None, 3\)"):
        multiply_adds(model_of(layers.Conv2D(2, 3, name="first"), (None, 5, 6)))
    with pytest.raises(ValueError, match="functional or Sequential"):
        multiply_adds(layers.Conv2D(2, 3))
    with pytest.raises(ValueError, match="functional or Sequential"):
        multiply_adds(keras.Sequential([layers.Conv2D(2, 3)]))
    with pytest.raises(ValueError, match="`input_shape` must be"):
        layer_flops(ADL(), (1, None, 4, 5))
    with pytest.raises(TypeError, match=r"one of \['ADL', .* type MaxDrop"):
        layer_flops(MaxDrop(), (1, 3, 4, 5))
