"""What the layers have in common, above all those that act in training only."""

import inspect
from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_layout, check_number

DRAWS = ("batch", "sample")
# Far from 1, so that layers with neighbouring seeds share no draws or first weights.
SEED_STEP = 1_000_003


class MapLayer(keras.layers.Layer):
    """Base of all: takes and returns a map `(B, H, W, C)`."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_layout()
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.seed = seed

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        # Each argument of a layer, and of its bases, is an attribute of the same name.
        for kind in type(self).__mro__:
            if issubclass(kind, MapLayer):
                names = inspect.signature(kind.__init__).parameters
                config |= {n: getattr(self, n) for n in names if hasattr(self, n)}
        serialized = keras.activations.serialize
        return {n: serialized(x) if callable(x) else x for n, x in config.items()}


class AttentionMask(MapLayer):
    """Base: multiplies its input by a factor in training, and returns it otherwise."""

    # False where the parts of the layer draw, each with a generator of its own.
    draws_itself = True

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        if self.draws_itself:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def factor(self, features: Any) -> Any:
        """Draws the float32 factor of one training call, from float32 features."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        # Cast once, so that in float16 both paths of the gradient meet in float32.
        features = ops.cast(inputs, "float32")
        return ops.cast(features * self.factor(features), inputs.dtype)

    def uniform(self, *shape: Any) -> Any:
        """Draws float32 numbers from [0, 1)."""
        return keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)

    def use_first(self, features: Any, probability: float, draw: str) -> Any:
        """Draws whether the first of two maps is used: once, or for each sample."""
        samples = ops.shape(features)[0] if draw == "sample" else 1
        return self.uniform(samples, 1, 1, 1) < probability

    def channel_mask(self, eligible: Any, probability: float) -> Any:
        """Draws which of the eligible channels `(B, 1, 1, C)` are dropped."""
        dropped = self.uniform(*ops.shape(eligible)) < probability
        return 1.0 - ops.cast(ops.logical_and(eligible, dropped), "float32")


class MaskOrImportance(AttentionMask):
    """Base of ADL and SAGD: a draw between a drop mask of cells and the importance."""

    def __init__(
        self,
        drop_rate: float,
        draw: str,
        use_importance_map: bool,
        use_drop_mask: bool,
        seed: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.drop_rate = check_number("drop_rate", drop_rate)
        self.draw = check_choice("draw", draw, DRAWS)
        self.use_importance_map = check_bool("use_importance_map", use_importance_map)
        self.use_drop_mask = check_bool("use_drop_mask", use_drop_mask)

    def drop_mask(self, attention: Any) -> Any:
        """The mask of cells `(B, H, W, 1)` for an attention: 1 keeps, 0 drops."""
        raise NotImplementedError

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns `"attention"`, `"importance_map"` and `"drop_mask"`, undrawn.

        Each is a float32 tensor `(B, H, W, 1)`.
        """
        attention = masks.spatial_attention(inputs)
        return {
            "attention": attention,
            "importance_map": masks.importance_map(attention),
            "drop_mask": self.drop_mask(attention),
        }

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns `"cells"`: the share, float32 `(B,)`, that the drop mask drops."""
        share = masks.dropped_share(self.maps(inputs)["drop_mask"])
        return {"cells": share * float(self.use_drop_mask)}

    def factor(self, features: Any) -> Any:
        maps = self.maps(features)
        ones = ops.ones_like(maps["attention"])
        return ops.where(
            self.use_first(features, self.drop_rate, self.draw),
            maps["drop_mask"] if self.use_drop_mask else ones,
            maps["importance_map"] if self.use_importance_map else ones,
        )
