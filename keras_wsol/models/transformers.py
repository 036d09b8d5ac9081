"""Vision transformers as plain graphs in which each block gives a map."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_wsol")
def gelu_tanh(x: Any) -> Any:
    """GELU by its approximation with a hyperbolic tangent, as SigLIP has it."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="keras_wsol")
class TokenEmbedding(keras.layers.Layer):
    """Adds a position to each of the tokens `(B, N, C)`, and learned ones in front."""

    def __init__(
        self, learned: int = 1, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.learned, self.seed = learned, seed

    def build(self, input_shape: Any) -> None:
        draw = keras.initializers.TruncatedNormal(stddev=0.02, seed=self.seed)
        shape = self.compute_output_shape(input_shape)[1:]
        # Learned tokens, each with its position, and the positions of patches.
        self.added = self.add_weight(shape=shape, initializer=draw, name="added")

    def call(self, inputs: Any) -> Any:
        if self.learned:
            front = ops.repeat(ops.zeros_like(inputs[:, :1]), self.learned, axis=1)
            inputs = ops.concatenate([front, inputs], axis=1)
        return inputs + self.added

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (input_shape[0], self.learned + input_shape[1], input_shape[2])

    def get_config(self) -> dict[str, Any]:
        own = {"learned": self.learned, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_wsol")
class ChannelScale(keras.layers.Layer):
    """Weighs channels. LiteRT cannot convert an `EinsumDense` that does so."""

    def build(self, input_shape: Any) -> None:
        shape = input_shape[-1:]
        self.scale = self.add_weight(shape=shape, initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def transformer(
    name: str,
    input_shape: tuple[int, int, int],
    *,
    patch: tuple[int, int],
    blocks: int,
    width: int,
    hidden: int,
    learned: int = 1,
    **of_blocks: Any,
) -> keras.Model:
    """Builds images to the map of the last block, and its other tokens if there are.

    Block `n` ends in the map `block{n}` of its patches, before a final normalization,
    and in `block{n}_class`, the `learned` tokens: class tokens, and registers.
    """
    layers = keras.layers
    high, wide = (side // step for side, step in zip(input_shape, patch, strict=False))
    if (high * patch[0], wide * patch[1]) != tuple(input_shape[:2]):
        raise ValueError(
            f"Height and width of the images of {name!r} must be multiples of "
            f"{patch[0]} and {patch[1]}, the size of its patches. Received: "
            f"input_shape={tuple(input_shape)}."
        )
    count = high * wide
    images = keras.Input(input_shape, name="images")
    x = layers.Conv2D(width, patch, patch, name="patches")(images)
    x = layers.Reshape((count, width), name="patch_tokens")(x)
    x = TokenEmbedding(learned, name="embedding")(x)
    for number in range(1, 1 + blocks):
        block = f"block{number}"
        x = cells = _block(x, block, width, hidden, **of_blocks)
        others = []
        if learned:
            cells = layers.Cropping1D((learned, 0), name=f"{block}_cells")(x)
            others = [layers.Cropping1D((0, count), name=f"{block}_class")(x)]
        maps = layers.Reshape((high, wide, width), name=block)(cells)
        if number < blocks:
            x = layers.Reshape((count, width), name=f"{block}_tokens")(maps)
            if learned:
                x = layers.Concatenate(axis=1, name=f"{block}_all")([*others, x])
    return keras.Model(images, [maps, *others], name=name)


def _block(
    x: Any,
    name: str,
    width: int,
    hidden: int,
    *,
    heads: int,
    scaled: bool = False,
    activation: Any = "gelu",
    epsilon: float = 1e-6,
) -> Any:
    """One block of attention and a perceptron, each behind a normalization."""
    layers, tokens, around = keras.layers, x.shape[1], x

    def scale(x: Any, part: str) -> Any:
        return ChannelScale(name=f"{name}_{part}")(x) if scaled else x

    def split(x: Any, part: str) -> Any:
        x = layers.Dense(width, name=f"{name}_{part}")(x)
        # No layer: it would pass for a map.
        return ops.reshape(x, (-1, tokens, heads, width // heads))

    x = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm1")(x)
    x = ops.dot_product_attention(
        *(split(x, each) for each in ("query", "key", "value"))
    )
    x = layers.Reshape((tokens, width), name=f"{name}_attended")(x)
    x = scale(layers.Dense(width, name=f"{name}_projection")(x), "scale1")
    x = around = layers.Add(name=f"{name}_add1")([x, around])
    x = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm2")(x)
    x = layers.Dense(hidden, activation, name=f"{name}_mlp1")(x)
    x = scale(layers.Dense(width, name=f"{name}_mlp2")(x), "scale2")
    return layers.Add(name=f"{name}_add2")([x, around])
