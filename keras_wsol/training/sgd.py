"""SGD as the papers train with it, and its learning rates."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
from keras import ops

from keras_wsol.arguments import check_bool, check_choice, check_integer, check_number

SCHEDULES = ("cosine", "step", "constant")


def learning_rate(
    schedule: str,
    base: float,
    *,
    epochs: int,
    steps_per_epoch: int,
    drop_epochs: Sequence[float] = (30, 60, 90),
) -> Any:
    """Makes a float, or a schedule of `keras.optimizers.schedules`, by epochs.

    Args:
        schedule: `"cosine"`: from `base` to 0 over all epochs. `"step"`: a tenth at
            each of `drop_epochs`. `"constant"`.
        base: Float >= 0. First rate.
        epochs: Integer. Length of the training.
        steps_per_epoch: Integer. Batches in an epoch.
        drop_epochs: Numbers that rise. Epochs after which `"step"` drops. Default 30,
            60, 90 [ADL's code has a fourth at 100].

    Example:
    >>> rate = learning_rate("step", 0.1, epochs=4, steps_per_epoch=10, drop_epochs=[2])
    >>> [round(float(rate(step)), 3) for step in (0, 19, 20)]
    [0.1, 0.1, 0.01]
    """
    check_choice("schedule", schedule, SCHEDULES)
    base = check_number("base", base, high=None)
    epochs = check_integer("epochs", epochs)
    steps_per_epoch = check_integer("steps_per_epoch", steps_per_epoch)
    more = {"low": sys.float_info.min, "high": None, "expected": "numbers above 0"}
    drops = [check_number("drop_epochs", each, **more) for each in drop_epochs]
    if drops != sorted(set(drops)):
        raise ValueError(f"`drop_epochs` must rise. Received: {drop_epochs=}.")
    if schedule == "constant":
        return base
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(base, epochs * steps_per_epoch)
    # Keras' boundaries are the last steps of the old rate.
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(epoch * steps_per_epoch) - 1 for epoch in drops],
        [base * 0.1**count for count in range(len(drops) + 1)],
    )


# What a layer multiplies its input by; not biases, `gamma` and `beta`.
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


@keras.saving.register_keras_serializable(package="keras_wsol")
class LayerwiseSGD(keras.optimizers.SGD):
    """SGD with momentum that multiplies the gradients of chosen layers.

    Pretrained layers want a lower rate than a new head [ADL's code]. A step is decay
    (`l2_decay`), multiplier, clipping, momentum. Two arguments make Keras' SGD that of
    TensorFlow 1 and PyTorch: `l2_decay`, which multipliers scale, unlike Keras'
    `weight_decay`, and `rate_free_velocity`.

    Args:
        learning_rate: Float, or a schedule of `keras.optimizers.schedules`.
        momentum: Float in [0, 1]. Default 0.9 [ADL's code].
        nesterov: Boolean. Default `True` [ADL's code].
        multipliers: Pattern of a layer's name to the factor of its gradients, such as
            `{"head_*": 10.0}`. The first pattern that fits counts; of nested layers,
            the innermost that fits. Layers that fit none have 1. A pattern that fits
            no trained layer is an error as the optimizer is built.
        l2_decay: Float >= 0. A loss of `l2_decay / 2 * sum(w ** 2)`. Default 0 [ADL's
            code: 5e-4 for VGG, 1e-4 for ResNet].
        l2_weights: Names of the weights that decay; `None` for all [PyTorch's SGD].
            Default: kernels [ADL's code].
        rate_free_velocity: Boolean. Whether the rate is outside `v = momentum * v + g`,
            so that its drops act at once. Default `False` [Keras].
        **kwargs: Passed on to `keras.optimizers.SGD`.

    Example:
    >>> names, ones = ("body", "head"), {"units": 1, "kernel_initializer": "ones"}
    >>> layers = [keras.layers.Dense(name=name, **ones) for name in names]
    >>> model = keras.Sequential([keras.Input((2,)), *layers])
    >>> optimizer = LayerwiseSGD(0.1, 0.0, multipliers={"head": 5.0}, l2_decay=0.2)
    >>> weights = model.trainable_variables
    >>> optimizer.apply([keras.ops.ones_like(w) for w in weights], weights)
    >>> [round(float(keras.ops.max(w)), 3) for w in weights]
    [0.88, -0.1, 0.4, -0.5]
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        nesterov: bool = True,
        multipliers: Mapping[str, float] | None = None,
        l2_decay: float = 0.0,
        l2_weights: Sequence[str] | None = KERNELS,
        rate_free_velocity: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )
        self.multipliers = {
            pattern: check_number(f"multipliers[{pattern!r}]", factor, high=None)
            for pattern, factor in (multipliers or {}).items()
        }
        self.l2_decay = float(check_number("l2_decay", l2_decay, high=None))
        if isinstance(l2_weights, str):
            raise TypeError(
                f"`l2_weights` must be a sequence or None. Received: {l2_weights=}."
            )
        self.l2_weights = None if l2_weights is None else list(l2_weights)
        self.rate_free_velocity = check_bool("rate_free_velocity", rate_free_velocity)

    def build(self, variables: list) -> None:
        if not variables:
            return  # as Keras loads an .h5 file: `fit` builds it with the weights
        unused = set(self.multipliers) - patterns_that_fit(self.multipliers, variables)
        if unused:
            layers = {name for variable in variables for name in _layers(variable.path)}
            raise ValueError(
                "`multipliers` has patterns that fit no trained layer: "
                f"{sorted(unused)}. The last trained layers are: {sorted(layers)[-8:]}."
            )
        super().build(variables)

    def _factor(self, path: str) -> float:
        for layer in reversed(_layers(path)):
            for pattern, factor in self.multipliers.items():
                if fnmatchcase(layer, pattern):
                    return factor
        return 1.0

    def apply(self, grads: list, trainable_variables: Any = None) -> None:
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        variables = list(trainable_variables)
        changed = [
            None if grad is None else self._decayed_and_multiplied(grad, variable)
            for grad, variable in zip(grads, variables, strict=True)
        ]
        super().apply(changed, variables)

    def _decayed_and_multiplied(self, grad: Any, variable: Any) -> Any:
        decaying, name = self.l2_weights, variable.path.split("/")[-1]
        if self.l2_decay > 0 and (decaying is None or name in decaying):
            # Scaled as the loss: Keras divides by this, and sums over the replicas.
            decay = self.l2_decay * (self.loss_scale_factor or 1.0) / _replicas()
            weights = ops.convert_to_tensor(variable)
            grad = ops.cast(grad, weights.dtype) + decay * weights
        factor = self._factor(variable.path)
        return grad if factor == 1.0 else grad * factor

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self.rate_free_velocity or self.momentum == 0:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = ops.cast(gradient, variable.dtype)
        momentum = ops.cast(self.momentum, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, ops.add(ops.multiply(velocity, momentum), gradient))
        step = velocity
        if self.nesterov:
            step = ops.add(ops.multiply(velocity, momentum), gradient)
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, ops.multiply(step, rate))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "multipliers": self.multipliers,
            "l2_decay": self.l2_decay,
            "l2_weights": self.l2_weights,
            "rate_free_velocity": self.rate_free_velocity,
        }


def patterns_that_fit(patterns: Iterable[str], variables: Iterable[Any]) -> set[str]:
    """Returns those patterns that fit the layer of a variable."""
    layers = {name for variable in variables for name in _layers(variable.path)}
    return {each for each in patterns if any(fnmatchcase(x, each) for x in layers)}


def _replicas() -> int:
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def _layers(path: str) -> list[str]:
    """Names of the layers that a weight belongs to, the innermost last."""
    return path.split("/")[:-1]
