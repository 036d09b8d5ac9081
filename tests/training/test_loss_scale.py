"""`LayerwiseSGD` inside Keras' loss scaling against NumPy, overflowing steps included.

The reference is written from the docstring of `LayerwiseSGD` (decay, multiplier,
clipping, momentum, rate-free velocity) and Keras' of `LossScaleOptimizer` (halved and
left out where a gradient is not finite, doubled after so many good steps).
"""

import keras
import numpy as np
import pytest

from keras_wsol.training import Checkpoint, LayerwiseSGD
from tests.models.small import dtype_policy
from tests.training import embedded

SCALE, GROWTH = 1024.0, 4
RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.03
# Kernel and bias of body, then of head.
MULTIPLIERS, DECAYS = [0.1, 0.1, 1.0, 1.0], [DECAY, 0.0, DECAY, 0.0]
BAD = {3: np.inf, 4: np.nan, 11: -np.inf}
STEPS = 16


def make_model(rng):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(5, name="body_1")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head_dense")(x))
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def optimizer(**changes):
    return keras.optimizers.LossScaleOptimizer(
        LayerwiseSGD(
            RATE,
            MOMENTUM,
            multipliers={"body_*": 0.1},
            l2_decay=DECAY,
            rate_free_velocity=True,
            **changes,
        ),
        initial_scale=SCALE,
        dynamic_growth_steps=GROWTH,
    )


def clipped(gradients, clip):
    """Of what decay and multiplier made of the gradients, free of the loss scale."""
    if "clipvalue" in clip:
        return [np.clip(g, -clip["clipvalue"], clip["clipvalue"]) for g in gradients]
    if "clipnorm" in clip:
        norms = [np.sqrt((g**2).sum()) for g in gradients]
        largest = clip["clipnorm"]
        return [
            g * min(1, largest / norm) for g, norm in zip(gradients, norms, strict=True)
        ]
    if "global_clipnorm" in clip:
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        return [g * min(1, clip["global_clipnorm"] / norm) for g in gradients]
    return gradients


class Reference:
    def __init__(self, weights, clip, weight_decay=0.0):
        self.weights = [np.array(weight, "float64") for weight in weights]
        self.velocities = [np.zeros_like(weight) for weight in self.weights]
        self.clip, self.weight_decay = clip, weight_decay
        self.scale, self.good, self.updates = SCALE, 0, 0

    def step(self, gradients):
        """Takes gradients of the loss that is not scaled."""
        if not all(np.isfinite(gradient).all() for gradient in gradients):
            self.scale, self.good = self.scale / 2, 0
            return
        self.good += 1
        if self.good == GROWTH:
            self.scale, self.good = self.scale * 2, 0
        self.updates += 1
        gradients = [
            (gradient + decay * weight) * factor
            for gradient, decay, weight, factor in zip(
                gradients, DECAYS, self.weights, MULTIPLIERS, strict=True
            )
        ]
        gradients = clipped(gradients, self.clip)
        for i, gradient in enumerate(gradients):
            self.weights[i] -= RATE * self.weight_decay * self.weights[i]
            self.velocities[i] = MOMENTUM * self.velocities[i] + gradient
            self.weights[i] -= RATE * (gradient + MOMENTUM * self.velocities[i])


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def apply(chosen, gradients, variables):
    """One step as `fit` takes it: on JAX without state."""
    if keras.backend.backend() != "jax":
        chosen.apply(gradients, variables)
        return
    values = [variable.value for variable in variables]
    state = [variable.value for variable in chosen.variables]
    trained, state = chosen.stateless_apply(state, gradients, values)
    for variable, value in zip(
        [*variables, *chosen.variables], [*trained, *state], strict=True
    ):
        variable.assign(value)


CLIPS = [{}, {"clipvalue": 0.05}, {"clipnorm": 0.2}, {"global_clipnorm": 0.3}]


@pytest.mark.parametrize("weight_decay", [None, 0.2])
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: next(iter(clip), "unclipped"))
def test_every_step_is_that_of_the_gradients_without_scale(rng, clip, weight_decay):
    model = make_model(rng)
    variables = model.trainable_variables
    chosen = optimizer(weight_decay=weight_decay, **clip)
    chosen.build(variables)
    reference = Reference(arrays(variables), clip, weight_decay or 0.0)
    scales = set()
    for step in range(STEPS):
        scale = float(chosen.dynamic_scale)
        scales.add(scale)
        assert scale == reference.scale, step
        gradients = [rng.normal(size=v.shape) for v in variables]
        if step in BAD:
            gradients[2][1, 0] = BAD[step]
        scaled = [keras.ops.cast(scale * gradient, "float32") for gradient in gradients]
        apply(chosen, scaled, variables)
        reference.step(gradients)
        inner = chosen.inner_optimizer
        for found, expected in zip(
            [*arrays(variables), *arrays(inner.momentums)],
            [*reference.weights, *reference.velocities],
            strict=True,
        ):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
        assert int(inner.iterations) == reference.updates
    # Down from the steps that overflowed and up again: 1024, 512, 256, 512, ...
    assert scales == {256.0, 512.0, 1024.0}
    assert reference.updates == STEPS - len(BAD)


def test_compile_scales_the_loss_under_mixed_float16_alone():
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        with dtype_policy(policy):
            model = make_model(np.random.default_rng(0))
            model.compile(LayerwiseSGD(0.1, multipliers={"body_*": 0.1}), "mse")
        wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert wrapped == (policy == "mixed_float16")
        inner = model.optimizer.inner_optimizer if wrapped else model.optimizer
        assert type(inner) is LayerwiseSGD
        assert inner.multipliers == {"body_*": 0.1}


def scaled_classifier(scale):
    model = embedded.build("dgdm", "mixed_float16")
    chosen = keras.optimizers.LossScaleOptimizer(
        LayerwiseSGD(
            0.01, multipliers={"head_*": 3.0}, l2_decay=1e-3, rate_free_velocity=True
        ),
        initial_scale=scale,
        dynamic_growth_steps=3,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(chosen, loss, jit_compile=False)
    return model


def fit(model, epochs, *callbacks, done=0):
    dataset = embedded.drawn("train-weaksup", 8)
    model.fit(
        dataset.images,
        dataset.class_ids,
        batch_size=4,
        epochs=epochs,
        initial_epoch=done,
        shuffle=False,
        callbacks=list(callbacks),
        verbose=0,
    )
    return model


@pytest.mark.slow
def test_a_scale_that_is_too_high_costs_steps_and_no_weights(tmp_path):
    keras.utils.set_random_seed(0)
    model = scaled_classifier(2.0**40)
    start = arrays(model.trainable_variables)
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz")
    fit(model, 1, checkpoint)
    # Both steps overflowed.
    assert float(model.optimizer.dynamic_scale) == 2.0**38
    assert int(model.optimizer.iterations) == 0
    for before, after in zip(start, arrays(model.trainable_variables), strict=True):
        np.testing.assert_array_equal(before, after)
    # A run that goes on from there goes on from that scale, and loses no more steps
    # than one that was not interrupted.
    resumed = scaled_classifier(2.0**15)
    checkpoint.restore(resumed)
    assert float(resumed.optimizer.dynamic_scale) == 2.0**38
    for each in (model, resumed):
        each.optimizer.dynamic_scale.assign(2.0**10)  # from here on it is finite
        fit(each, 4, done=1)
        assert int(each.optimizer.iterations) == 6
        assert float(each.optimizer.dynamic_scale) == 2.0**12
    for one, other in zip(model.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-2, atol=1e-3)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
