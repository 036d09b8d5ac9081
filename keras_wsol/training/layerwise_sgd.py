"""SGD whose rate differs by layer."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_wsol")
class LayerwiseSGD(keras.optimizers.SGD):
    """SGD with momentum that multiplies the gradients of chosen layers.

    Pretrained layers want a lower rate than a new head. Multiplying gradients, as
    ADL's code does, is for SGD the same as multiplying the rate (clipping and decay
    of weights come after it), and works on every backend, under loss scaling and with
    schedules.

    Args:
        learning_rate: Float, or a schedule of `keras.optimizers.schedules`.
        momentum: Float in [0, 1]. Default 0.9, as in ADL's code.
        nesterov: Boolean. Default true, as in ADL's code.
        multipliers: Pattern of a layer's name to the factor of its gradients, such
            as `{"head_*": 10.0}`; `*` and `?` are wildcards. The first pattern that
            fits counts; layers that fit none have 1.
        **kwargs: Passed on to `keras.optimizers.SGD`.

    Raises:
        ValueError: A multiplier is negative, or, when the optimizer is built, a
            pattern fits no layer.

    Example:
    >>> inputs = keras.Input((2,))
    >>> x = keras.layers.Dense(1, kernel_initializer="ones", name="body")(inputs)
    >>> head = keras.layers.Dense(1, kernel_initializer="ones", name="head")
    >>> model = keras.Model(inputs, head(x))
    >>> optimizer = LayerwiseSGD(0.1, momentum=0.0, nesterov=False,
    ...                          multipliers={"head": 5.0})
    >>> optimizer.apply([keras.ops.ones_like(w) for w in model.trainable_variables],
    ...                 model.trainable_variables)
    >>> [round(float(w.numpy().ravel()[0]), 3) for w in model.trainable_variables]
    [0.9, -0.1, 0.5, -0.5]
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        nesterov: bool = True,
        multipliers: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, **kwargs
        )
        self.multipliers = dict(multipliers or {})
        negative = {name: m for name, m in self.multipliers.items() if m < 0}
        if negative:
            raise ValueError(f"`multipliers` must be >= 0. Received: {negative}.")
        self._factors: list[float] = []

    def build(self, variables: list) -> None:
        self._factors = [self._factor(variable.path) for variable in variables]
        layers = {variable.path.split("/")[-2] for variable in variables}
        unused = [
            pattern
            for pattern in self.multipliers
            if not any(fnmatchcase(layer, pattern) for layer in layers)
        ]
        if unused:
            raise ValueError(
                f"`multipliers` has patterns that fit no trained layer: {unused}. The "
                f"last trained layers are: {sorted(layers)[-8:]}."
            )
        super().build(variables)

    def _factor(self, path: str) -> float:
        layer = path.split("/")[-2]
        for pattern, factor in self.multipliers.items():
            if fnmatchcase(layer, pattern):
                return factor
        return 1.0

    def apply(self, grads: list, trainable_variables: Any = None) -> None:
        if trainable_variables is None:
            # The variables are then those that the optimizer was built with.
            factors = self._factors
        else:
            trainable_variables = list(trainable_variables)
            factors = [self._factor(variable.path) for variable in trainable_variables]
        scaled = [
            grad if grad is None or factor == 1.0 else grad * factor
            for grad, factor in zip(grads, factors, strict=True)
        ]
        super().apply(scaled, trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multipliers": self.multipliers}
