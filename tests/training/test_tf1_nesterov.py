"""Fifty steps of training against TensorFlow 1's optimizer, written out in NumPy."""

import keras
import numpy as np
import pytest

from keras_wsol.training import LayerwiseSGD, learning_rate
from tests.reference.tf1_nesterov_numpy import steps_of_tenths, tf1_nesterov

STEPS, DROPS, BASE = 50, (20, 40), 0.05
DECAY = 0.03
# In the order of the weights that are trained: kernel and bias of body, then of head.
MULTIPLIERS = [0.1, 0.1, 1.0, 1.0]
DECAYS = [DECAY, 0.0, DECAY, 0.0]
RATES = steps_of_tenths(BASE, DROPS, STEPS)
# PyTorch's compiler takes longer than all of these tests.
COMPILED = [] if keras.backend.backend() == "torch" else [True]
JIT = [False, *(pytest.param(jit, marks=pytest.mark.slow) for jit in COMPILED)]


def make_model(rng):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(5, activation="tanh", name="body_1")(inputs)
    x = keras.layers.Dense(4, name="frozen", trainable=False)(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head_dense")(x))
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def optimizer(**changes):
    rate = learning_rate("step", BASE, epochs=10, steps_per_epoch=5, drop_epochs=(4, 8))
    arguments = {"l2_decay": DECAY, "rate_free_velocity": True, **changes}
    return LayerwiseSGD(rate, multipliers={"body_*": 0.1}, **arguments)


def gradients_by_hand(frozen, x, y):
    """Of the mean of (h + (tanh(a + x A) F + f) H - y)^2."""
    kernel, bias = frozen

    def gradients(weights, step):
        body, shift, head, last = weights
        z = np.tanh(x @ body + shift)
        u = z @ kernel + bias
        error = 2 * (u @ head + last - y) / y.size
        before = (error @ head.T @ kernel.T) * (1 - z**2)
        return [x.T @ before, before.sum(0), u.T @ error, error.sum(0)]

    return gradients


def train(model, x, y, chosen, jit=False, steps=STEPS):
    """Returns the trained weights after each step."""
    model.compile(chosen, "mse", jit_compile=jit)
    history = []
    for _ in range(steps):
        model.train_on_batch(x, y)
        trained = model.trainable_variables
        history.append([keras.ops.convert_to_numpy(v).copy() for v in trained])
    return history


def problem(rng):
    model = make_model(rng)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    gradients = gradients_by_hand(model.get_layer("frozen").get_weights(), x, y)
    start = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    expected = tf1_nesterov(start, gradients, RATES, MULTIPLIERS, DECAYS)
    return model, x.astype("float32"), y.astype("float32"), expected


def distances(found, expected):
    """The largest difference of any weight after each step."""
    return np.array(
        [
            max(np.abs(one - other).max() for one, other in zip(*pair, strict=True))
            for pair in zip(found, expected, strict=True)
        ]
    )


@pytest.mark.parametrize("jit", JIT)
def test_fifty_steps_follow_the_reference(rng, jit):
    model, x, y, expected = problem(rng)
    frozen = model.get_layer("frozen").get_weights()
    found = train(model, x, y, optimizer(), jit)
    assert distances(found, expected).max() < 1e-6
    for before, after in zip(
        frozen, model.get_layer("frozen").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    "scaled",
    [
        lambda: keras.optimizers.LossScaleOptimizer(optimizer(), initial_scale=64.0),
        lambda: optimizer(loss_scale_factor=64.0),
    ],
    ids=["dynamic", "fixed"],
)
def test_a_scaled_loss_changes_nothing(rng, scaled):
    model, x, y, expected = problem(rng)
    found = train(model, x, y, scaled())
    assert distances(found, expected).max() < 1e-6


def test_mixed_precision_keeps_the_decay_in_float32(rng):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x, y, expected = problem(rng)
        found = train(model, x, y, optimizer())
    finally:
        keras.config.set_dtype_policy(before)
    # Three digits of float16; without decay the weights would be 0.09 off.
    assert distances(found, expected).max() < 2e-3


def test_keras_own_velocity_differs_once_the_rate_has_dropped(rng):
    model, x, y, expected = problem(rng)
    found = train(model, x, y, optimizer(rate_free_velocity=False))
    off = distances(found, expected)
    assert off[: DROPS[0]].max() < 1e-6
    # The first step after the drop is already off, by the old velocity.
    assert off[DROPS[0]] > 1e-3
    assert off[-1] > 5e-3


@pytest.mark.parametrize(
    "wrong",
    [{"l2_decay": 0.0}, {"l2_weights": None}, {"nesterov": False}, {"momentum": 0.8}],
    ids=str,
)
def test_every_part_of_the_rule_matters(rng, wrong):
    model, x, y, expected = problem(rng)
    found = train(model, x, y, optimizer(**wrong), steps=10)
    assert distances(found, expected[:10]).max() > 1e-5


def test_decay_of_keras_is_another_one(rng):
    # w -= rate * decay * w, whatever the multiplier, and not in the velocity.
    model, x, y, expected = problem(rng)
    keras_decay = optimizer(l2_decay=0.0, weight_decay=DECAY)
    found = train(model, x, y, keras_decay, steps=10)
    assert distances(found, expected[:10]).max() > 1e-4


def test_kernels_decay_and_nothing_else(rng):
    inputs = keras.Input((8, 7, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(5, 3, name="separable")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    zeros = [keras.ops.zeros(variable.shape) for variable in variables]
    chosen = LayerwiseSGD(0.5, 0.0, multipliers={"dense": 0.5}, l2_decay=0.1)
    chosen.apply(zeros, variables)
    after = {v.path: float(keras.ops.max(v)) for v in variables}
    kept = {path: value for path, value in after.items() if value == 1.0}
    assert {path.split("/")[-1] for path in kept} == {"bias", "gamma", "beta"}
    # 1 - rate * decay, and half of that decay where the multiplier is a half.
    assert {path: value for path, value in after.items() if path not in kept} == {
        "conv/kernel": pytest.approx(0.95),
        "depthwise/kernel": pytest.approx(0.95),
        "separable/depthwise_kernel": pytest.approx(0.95),
        "separable/pointwise_kernel": pytest.approx(0.95),
        "dense/kernel": pytest.approx(0.975),
    }


def test_all_weights_decay_where_asked():
    model = make_model(np.random.default_rng(0))
    variables = model.trainable_variables
    before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
    chosen = LayerwiseSGD(0.5, 0.0, l2_decay=0.1, l2_weights=None)
    chosen.apply([keras.ops.zeros(v.shape) for v in variables], variables)
    for old, new in zip(before, variables, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(new), 0.95 * old, rtol=1e-6
        )


def test_accumulated_gradients_decay_as_one_batch(rng):
    model, x, y, expected = problem(rng)
    chosen = optimizer(gradient_accumulation_steps=2)
    # Two batches, both of them all seven examples: each step of the rule is two of
    # `fit`, and the rate, which counts those of `fit`, stays the same for twenty.
    model.compile(chosen, "mse")
    x2, y2 = np.concatenate([x, x]), np.concatenate([y, y])
    model.fit(x2, y2, batch_size=7, epochs=10, verbose=0, shuffle=False)
    found = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    assert distances([found], [expected[9]]).max() < 1e-6


def test_configuration_keeps_the_new_arguments():
    given = optimizer(l2_weights=("kernel", "gamma"))
    revived = keras.optimizers.deserialize(keras.optimizers.serialize(given))
    assert revived.l2_decay == DECAY
    assert revived.l2_weights == ["kernel", "gamma"]
    assert revived.rate_free_velocity is True
    plain = LayerwiseSGD()
    assert (plain.l2_decay, plain.rate_free_velocity) == (0.0, False)


def test_weights_inside_a_layer_follow_the_innermost_name_that_fits():
    from keras_wsol.layers import SqueezeExcite

    inputs = keras.Input((4, 5, 6))
    x = SqueezeExcite(ratio=2, name="conv2_se")(inputs)
    x = SqueezeExcite(ratio=2, name="conv5_se")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="head")(x))
    multipliers = {"conv[1-4]_*": 0.5, "excite": 0.25}
    chosen = LayerwiseSGD(1.0, 0.0, False, multipliers)
    variables = model.trainable_variables
    before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
    chosen.apply([keras.ops.ones(v.shape) for v in variables], variables)
    moved = {
        v.path.rsplit("/", 1)[0]: round(
            float(np.mean(old - keras.ops.convert_to_numpy(v))), 4
        )
        for old, v in zip(before, variables, strict=True)
    }
    assert moved == {
        "conv2_se/squeeze": 0.5,
        "conv2_se/excite": 0.25,
        "conv5_se/squeeze": 1.0,
        "conv5_se/excite": 0.25,
        "head": 1.0,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"l2_decay": -1.0}, ValueError, r"`l2_decay` must be a number >= 0\."),
        ({"l2_decay": True}, TypeError, r"`l2_decay` must be a number >= 0\. .*bool"),
        ({"l2_weights": "kernel"}, TypeError, r"`l2_weights` must be a sequence"),
        ({"rate_free_velocity": 1}, TypeError, r"`rate_free_velocity` must be a bool"),
        ({"multipliers": {"a": True}}, TypeError, r"`multipliers\[.a.\]` must be a n"),
    ],
)
def test_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        LayerwiseSGD(**arguments)
