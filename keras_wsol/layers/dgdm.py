"""DGDM: CAGD and SAGD on the same feature map."""

from typing import Any

import keras
from keras import ops

from keras_wsol.layers.cagd import CAGD
from keras_wsol.layers.sagd import SAGD

# Far from 1, so that the halves of modules with neighbouring seeds do not draw the
# same numbers.
_SEED_OF_SAGD = 1_000_003

_OF_CAGD = ("drop_probability", "selection", "min_multiple", "keep_fraction")
_OF_SAGD = (
    "drop_rate",
    "high_threshold",
    "low_threshold",
    "block_size",
    "grow_background",
    "draw",
    "importance_map",
    "drop_mask",
)


@keras.saving.register_keras_serializable(package="keras_wsol")
class DGDM(keras.layers.Layer):
    """Dual-attention guided dropblock module: CAGD and SAGD together.

    The input is multiplied by CAGD's channel mask at every training step, and by
    SAGD's spatial mask or importance map, whichever its draw picks [paper: "In
    addition, M_drop1 is also applied to the input feature map"]. Both attentions
    are taken from the input itself, never from what the other half left over.

    The layer has no weights and acts only if `training` is true.

    Args:
        drop_probability: See `CAGD`. 0 leaves SAGD alone.
        selection: See `CAGD`.
        min_multiple: See `CAGD`.
        keep_fraction: See `CAGD`.
        drop_rate: See `SAGD`.
        high_threshold: See `SAGD`.
        low_threshold: See `SAGD`.
        block_size: See `SAGD`.
        grow_background: See `SAGD`.
        draw: See `SAGD`. Channels are drawn for each image in either case.
        importance_map: See `SAGD`.
        drop_mask: See `SAGD`.
        seed: Optional integer. Fixes the sequence of draws of this instance:
            its two halves draw from streams of their own.
        **kwargs: Passed on to `keras.layers.Layer` (`name`, `dtype`, ...).

    Call arguments:
        inputs: Feature maps, channels last, taken after the activation.
        training: Boolean. Whether to act (`True`) or to pass through.

    Input shape:
        4D tensor `(batch, height, width, channels)`; height and width may be
        unknown until the call.

    Output shape:
        Same as the input.

    Raises:
        ValueError: An argument is out of its range.
        TypeError: An argument is of the wrong type.

    Example:
    >>> layer = DGDM(drop_probability=0.0, drop_rate=1.0, high_threshold=0.9,
    ...              low_threshold=None, block_size=1)
    >>> x = keras.ops.reshape(keras.ops.array([1.0, 5.0, 9.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [1.0, 5.0, 0.0]

    Reference:
        - [Yin et al., 2020](https://arxiv.org/abs/2003.04719)
    """

    def __init__(
        self,
        drop_probability: float = 0.5,
        selection: str = "min_multiple",
        min_multiple: float = 3.0,
        keep_fraction: float = 0.75,
        drop_rate: float = 0.75,
        high_threshold: float = 0.95,
        low_threshold: float | None = 0.1,
        block_size: int | str = 3,
        grow_background: bool = True,
        draw: str = "batch",
        importance_map: bool = True,
        drop_mask: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        self.seed = seed
        self.cagd = CAGD(
            drop_probability=drop_probability,
            selection=selection,
            min_multiple=min_multiple,
            keep_fraction=keep_fraction,
            seed=seed,
            dtype=self.dtype_policy,
            name="cagd",
        )
        self.sagd = SAGD(
            drop_rate=drop_rate,
            high_threshold=high_threshold,
            low_threshold=low_threshold,
            block_size=block_size,
            grow_background=grow_background,
            draw=draw,
            importance_map=importance_map,
            drop_mask=drop_mask,
            seed=None if seed is None else seed + _SEED_OF_SAGD,
            dtype=self.dtype_policy,
            name="sagd",
        )

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer would use on `inputs`, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            The entries of `CAGD.maps` and of `SAGD.maps`.
        """
        return {**self.cagd.maps(inputs), **self.sagd.maps(inputs)}

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 `(B,)` in [0, 1]: `"channels"` as `CAGD` and
            `"cells"` as `SAGD`.
        """
        return {**self.cagd.drop_shares(inputs), **self.sagd.drop_shares(inputs)}

    def build(self, input_shape: tuple) -> None:
        self.cagd.build(input_shape)
        self.sagd.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        features = ops.cast(inputs, "float32")
        factor = self.cagd.draw_mask(features) * self.sagd.draw_map(features)
        return ops.cast(features * factor, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in (*_OF_CAGD, *_OF_SAGD)},
            "seed": self.seed,
        }


def _argument_of(half: str, name: str) -> property:
    return property(lambda layer: getattr(getattr(layer, half), name))


# The halves act, so an argument is theirs: whoever reads it sees what acts, and it
# cannot be set where it would have no effect.
for _name in _OF_CAGD:
    setattr(DGDM, _name, _argument_of("cagd", _name))
for _name in _OF_SAGD:
    setattr(DGDM, _name, _argument_of("sagd", _name))
