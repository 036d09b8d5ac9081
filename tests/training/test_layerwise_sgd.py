"""Against Nesterov's rule, written out step by step in NumPy."""

import keras
import numpy as np
import pytest

from keras_wsol.training import LayerwiseSGD, learning_rate

MULTIPLIERS = {"head_*": 10.0, "body_2": 0.0, "b*": 0.5}
# The first pattern that fits counts.
FACTORS = {"body_1": 0.5, "body_2": 0.0, "neck": 1.0, "head_dense": 10.0}


def make_model():
    inputs = keras.Input((3,))
    x = inputs
    for units, name in enumerate(FACTORS, start=2):
        x = keras.layers.Dense(units, name=name)(x)
    return keras.Model(inputs, x)


class Nesterov:
    """v = mu * v - rate * g; w += mu * v - rate * g: the rate is in the velocity."""

    def __init__(self, weights, momentum=0.9, nesterov=True):
        self.weights = [weight.astype("float64") for weight in weights]
        self.velocities = [np.zeros_like(weight) for weight in self.weights]
        self.momentum, self.nesterov = momentum, nesterov

    def step(self, gradients, rate, factors):
        for i, (gradient, factor) in enumerate(zip(gradients, factors, strict=True)):
            move = rate * factor * gradient
            self.velocities[i] = self.momentum * self.velocities[i] - move
            ahead = self.momentum * self.velocities[i] - move
            self.weights[i] += ahead if self.nesterov else self.velocities[i]


def assert_follows(model, reference):
    for variable, expected in zip(
        model.trainable_variables, reference.weights, strict=True
    ):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=2e-5, atol=1e-6)


def factors_of(variables):
    return [FACTORS[variable.path.split("/")[0]] for variable in variables]


@pytest.mark.parametrize("momentum", [0.9, 0.0, 0.5])
@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_with_given_gradients(rng, momentum, nesterov):
    model = make_model()
    variables = model.trainable_variables
    schedule = learning_rate("cosine", 0.1, epochs=2, steps_per_epoch=4)
    optimizer = LayerwiseSGD(schedule, momentum, nesterov, MULTIPLIERS)
    reference = Nesterov(model.get_weights(), momentum, nesterov)
    for step in range(6):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in variables]
        tensors = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
        # With the variables or, once they are known, without.
        optimizer.apply(tensors, *([variables] if step % 2 == 0 else []))
        rate = 0.05 * (1 + np.cos(np.pi * step / 8))
        reference.step(gradients, rate, factors_of(variables))
        assert_follows(model, reference)
    assert int(optimizer.iterations) == 6


def test_defaults_are_nesterov_with_momentum_and_no_multipliers(rng):
    model = make_model()
    optimizer, reference = LayerwiseSGD(), Nesterov(model.get_weights(), 0.9, True)
    for _ in range(3):
        gradients = [rng.normal(size=weight.shape) for weight in model.get_weights()]
        optimizer.apply(
            [keras.ops.cast(gradient, "float32") for gradient in gradients],
            model.trainable_variables,
        )
        reference.step(gradients, 0.01, [1.0] * 8)
    assert_follows(model, reference)


def test_layer_without_a_gradient_shifts_no_multiplier():
    model = make_model()
    variables = model.trainable_variables
    before = model.get_weights()
    ones = [keras.ops.ones(v.shape) for v in variables]
    optimizer = LayerwiseSGD(0.1, 0.0, False, MULTIPLIERS)
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([None, *ones[1:]], variables)
    for old, variable, factor in zip(
        before[1:], variables[1:], factors_of(variables)[1:], strict=True
    ):
        np.testing.assert_allclose(old - variable.numpy(), 0.1 * factor, atol=1e-6)
    np.testing.assert_array_equal(variables[0].numpy(), before[0])


def linear_model():
    inputs = keras.Input((3,))
    body = keras.layers.Dense(2, use_bias=False, name="body")
    head = keras.layers.Dense(1, use_bias=False, name="head_dense")
    model = keras.Model(inputs, head(body(inputs)))
    model.set_weights(
        [np.arange(6).reshape(3, 2) / 10 - 0.2, np.array([[0.3], [-0.4]])]
    )
    return model


def gradients_by_hand(weights, x, y):
    """Of mean((x A b - y)^2)."""
    body, head = weights
    error = 2 * (x @ body @ head - y) / len(x)
    return [x.T @ error @ head.T, (x @ body).T @ error]


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss-scale"])
def test_under_fit(rng, scaled):
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 1))
    model = linear_model()
    optimizer = LayerwiseSGD(0.02, multipliers={"head_*": 4.0})
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
    reference = Nesterov(model.get_weights())
    model.compile(optimizer, "mse")
    model.fit(x, y, batch_size=5, epochs=4, verbose=0)
    for _ in range(4):
        gradients = gradients_by_hand(reference.weights, x, y)
        reference.step(gradients, 0.02, [1.0, 4.0])
    assert_follows(model, reference)


def test_configuration_survives(tmp_path):
    # "b*" comes last and would come first in alphabetical order.
    schedule = learning_rate("cosine", 0.1, epochs=3, steps_per_epoch=2)
    optimizer = LayerwiseSGD(schedule, 0.8, False, MULTIPLIERS, clipvalue=3.0)
    model = make_model()
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    saved = keras.saving.load_model(tmp_path / "model.keras").optimizer
    config = keras.optimizers.serialize(optimizer)
    for revived in (saved, keras.optimizers.deserialize(config)):
        assert type(revived) is LayerwiseSGD
        assert (revived.momentum, revived.nesterov) == (0.8, False)
        assert revived.clipvalue == 3.0
        assert list(revived.multipliers.items()) == list(MULTIPLIERS.items())
        revived.iterations.assign(3)  # half of the six steps
        assert float(revived.learning_rate) == pytest.approx(0.05)


def test_pattern_that_fits_no_layer():
    variables = make_model().trainable_variables
    optimizer = LayerwiseSGD(multipliers={"head": 10.0, "b*": 1.0})
    message = (
        r"`multipliers` has patterns that fit no trained layer: \['head'\]. The last "
        r"trained layers are: \['body_1', 'body_2', 'head_dense', 'neck'\]."
    )
    with pytest.raises(ValueError, match=message):
        optimizer.build(variables)


def test_pattern_that_fits_no_layer_is_refused_the_second_time_too():
    # Else whoever runs a cell twice trains without the multiplier.
    variables = make_model().trainable_variables
    gradients = [keras.ops.ones(v.shape) for v in variables]
    optimizer = LayerwiseSGD(multipliers={"head": 10.0})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"fit no trained layer: \['head'\]"):
            optimizer.apply(gradients, variables)


def test_negative_multiplier():
    message = r"`multipliers\[.a.\]` must be a number >= 0. Received: .*=-1.0."
    with pytest.raises(ValueError, match=message):
        LayerwiseSGD(multipliers={"a": -1.0, "b": 0.0})


def test_a_model_in_h5_trains_on(tmp_path, rng):
    # Keras builds the optimizer of such a file without any weights.
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(inputs))
    optimizer = LayerwiseSGD(0.1, 0.0, multipliers={"head": 3.0})
    model.compile(optimizer, keras.losses.MeanSquaredError())
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.h5")
    revived = keras.saving.load_model(tmp_path / "model.h5")
    assert revived.optimizer.multipliers == {"head": 3.0}
    for each in (model, revived):
        each.fit(x, y, verbose=0, shuffle=False)
    for one, other in zip(model.get_weights(), revived.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
