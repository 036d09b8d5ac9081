"""DFM: dual-attention focused module."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_number
from keras_wsol.layers.attention_mask import DRAWS, draw_first

FEEDBACKS = ("residual", "add", "scale")
INFERENCES = ("identity", "expected")
BRANCHES = ("fused", "unfused", "channel", "position")


@keras.saving.register_keras_serializable(package="keras_wsol")
class DFM(keras.layers.Layer):
    r"""Dual-attention focused module: hides in one dimension, hints in the other.

    Two attentions are read from the input \(F\): positions (its mean over
    channels) and channels (its mean over height and width). Of each come an
    *enhancement* (tanh of the attention) and a *mask* (zero where the attention
    reaches a share of its maximum). The position mask is raised by `focus` around
    dropped cells. Each mask is joined by the enhancement of the *other* branch:
    \(C_{ME} = \delta P_E + C_M\), \(P_{ME} = \gamma C_E + P_M\). One draw picks
    \(M\) among the two, and the output is \((F + F M) / 2\). Gradients flow
    through the enhancements and not through the masks.

    The layer has no weights. By default it acts only if `training` is true.

    Args:
        channel_threshold: Float in [0, 1], \(\alpha\). Share of the largest
            channel attention from which on a channel is masked. Default 0.85
            [paper]. Images whose maximum is not above zero mask nothing [ours: a
            share of it would mask every channel]; the only channel or cell of a map
            is its maximum, and masked.
        position_threshold: Float in [0, 1], \(\beta\). The same for positions.
            Default 0.95 [paper].
        focus: Float >= 0, \(\omega\). What kept cells gain that touch a masked
            cell; masked cells stay 0 [ours: Eq. 7 read with \(P_M'\)]. Default 0.15
            [paper]; 0 switches the focused matrix off. Used by `branches="fused"`
            alone, as in the paper's Table 1.
        position_weight: Float >= 0, \(\delta\). Weight of the enhancement that
            joins the channel mask. Default 0.6 [paper].
        channel_weight: Float >= 0, \(\gamma\). Weight of the enhancement that
            joins the position mask. Default 0.4 [paper].
        position_rate: Float in [0, 1], \(\tau\). Probability that the draw
            picks \(P_{ME}\). Default 0.7 [paper].
        feedback: How the module joins its input. `"residual"`: `F + F * M`
            (Eq. 16, with the module's output read as `F * M`: the paper's text
            speaks of weights and of deleted regions). `"add"`: `F + M`, the
            letter of Eq. 16, which hides nothing; needs `inference="expected"`.
            `"scale"`: `F * M`. With it MobileNetV1 on CUB-40 is 4.4 points of Top-1
            Loc above the plain network (95 % interval +1.7 to +7.1, three seeds) and
            2.2 above `"residual"` (-0.8 to +5.3: too little to leave the paper's;
            row `dfm-feedback-scale` of `examples/results/study-cub40.csv`).
        rescale: Boolean. Halves `"residual"`, so that training and inference see
            features of one scale [ours]: without it a MobileNetV1 with two
            such layers, which are off at inference, ends at 18.8 % accuracy on
            CUB-40 where it has 71.2 % with it (row `dfm-no-rescale` of
            `examples/results/study-cub40.csv`). `False` is the letter. Ignored by the
            other feedbacks.
        inference: `"identity"`: off unless training [ours: the paper does not
            say; ADL, which it builds on, is]. `"expected"`: at inference the
            same feedback with the mean map `tau P_ME + (1 - tau) C_ME`: on CUB-40
            0.4 points of Top-1 Loc more (95 % interval -0.7 to +1.5, one seed, row
            `dfm-expected` of `examples/results/study-cub40.csv`).
        accumulate_focus: Boolean. Gain `focus` once for each masked neighbour
            rather than once [ours: Eq. 7 allows both]. On CUB-40 it has 0.6 points of
            Top-1 Loc more (95 % interval -2.5 to +4.2, three seeds, row
            `dfm-accumulate` of `examples/results/study-cub40.csv`).
        branches: `"fused"`, or a row of the paper's ablation: `"channel"` (M is
            the channel mask plus `position_weight` times its own enhancement),
            `"position"` (likewise, `channel_weight`), both without a draw [ours:
            the paper does not say], `"unfused"` (a draw between these two).
        draw: `"batch"`: one draw a call. `"sample"`: one an image.
        seed: Optional integer. Fixes the sequence of draws of this instance.
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
    >>> layer = DFM(position_rate=1.0, channel_weight=0.0, focus=0.5)
    >>> x = keras.ops.reshape(keras.ops.array([4.0, 2.0, 1.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [2.0, 2.5, 1.0]

    Reference:
        - Zhou et al., Dual-attention Focused Module for Weakly Supervised Object
          Localization, [2019](https://arxiv.org/abs/1909.04813)
    """

    def __init__(
        self,
        channel_threshold: float = 0.85,
        position_threshold: float = 0.95,
        focus: float = 0.15,
        position_weight: float = 0.6,
        channel_weight: float = 0.4,
        position_rate: float = 0.7,
        feedback: str = "residual",
        rescale: bool = True,
        inference: str = "identity",
        accumulate_focus: bool = False,
        branches: str = "fused",
        draw: str = "batch",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        channel_threshold = check_number("channel_threshold", channel_threshold)
        position_threshold = check_number("position_threshold", position_threshold)
        focus = check_number("focus", focus, high=None)
        position_weight = check_number("position_weight", position_weight, high=None)
        channel_weight = check_number("channel_weight", channel_weight, high=None)
        position_rate = check_number("position_rate", position_rate)
        check_choice("feedback", feedback, FEEDBACKS)
        check_bool("rescale", rescale)
        check_choice("inference", inference, INFERENCES)
        check_bool("accumulate_focus", accumulate_focus)
        check_choice("branches", branches, BRANCHES)
        check_choice("draw", draw, DRAWS)
        if feedback == "add" and inference != "expected":
            raise ValueError(
                '`feedback="add"` shifts the features by about 1, so a network '
                'trained with it needs `inference="expected"`. Received: '
                f"inference={inference!r}."
            )
        self.channel_threshold = channel_threshold
        self.position_threshold = position_threshold
        self.focus = focus
        self.position_weight = position_weight
        self.channel_weight = channel_weight
        self.position_rate = position_rate
        self.feedback = feedback
        self.rescale = rescale
        self.inference = inference
        self.accumulate_focus = accumulate_focus
        self.branches = branches
        self.draw = draw
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns what the layer would use on `inputs`, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 tensors: `"channel_enhancement"` and
            `"channel_mask"` `(B, 1, 1, C)`, `"position_enhancement"` and
            `"position_mask"` `(B, H, W, 1)`, and the two candidates of the draw,
            `"position_map"` and `"channel_map"`, which broadcast to the input.
        """
        maps = self._key_maps(inputs)
        position_map, channel_map = self._candidates(maps)
        return {
            **maps,
            "position_map": position_map[0] + position_map[1],
            "channel_map": channel_map[0] + channel_map[1],
        }

    def _key_maps(self, inputs: Any) -> dict[str, Any]:
        return masks.dfm_maps(
            inputs,
            channel_threshold=self.channel_threshold,
            position_threshold=self.position_threshold,
            focus=self.focus if self.branches == "fused" else 0.0,
            accumulate_focus=self.accumulate_focus,
        )

    def _candidates(self, maps: dict[str, Any]) -> tuple[tuple, tuple]:
        return masks.fuse(
            maps,
            position_weight=self.position_weight,
            channel_weight=self.channel_weight,
            branches=self.branches,
        )

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns what share of `inputs` the layer drops, without a draw.

        Args:
            inputs: Tensor `(B, H, W, C)`.

        Returns:
            Dictionary of float32 `(B,)` in [0, 1]: `"cells"` that the position mask
            and `"channels"` that the channel mask hides, each in a call that uses
            it; 0 for a branch that is off. What is hidden keeps the enhancement of
            the other branch, and with `feedback="residual"` half of itself;
            `"add"` hides nothing.
        """
        maps = self._key_maps(inputs)
        hides = self.feedback != "add"
        used = {
            "cells": ("position_mask", hides and self.branches != "channel"),
            "channels": ("channel_mask", hides and self.branches != "position"),
        }
        shares = {
            kind: (masks.dropped_share(maps[mask]), active)
            for kind, (mask, active) in used.items()
        }
        return {
            kind: share if active else ops.zeros_like(share)
            for kind, (share, active) in shares.items()
        }

    def _rate(self) -> float:
        """Probability of the position map."""
        return {"position": 1.0, "channel": 0.0}.get(self.branches, self.position_rate)

    def _draw_map(self, inputs: Any, training: bool) -> tuple[Any, Any]:
        """The map of this call, as a map of cells and one of channels to be added."""
        position_map, channel_map = self._candidates(self._key_maps(inputs))
        pairs = tuple(zip(position_map, channel_map, strict=True))
        if not training:
            rate = self._rate()
            return tuple(rate * one + (1.0 - rate) * other for one, other in pairs)
        if self.branches in ("position", "channel"):
            return position_map if self.branches == "position" else channel_map
        use_position = draw_first(
            inputs, self.position_rate, self.draw, self.seed_generator
        )
        return tuple(ops.where(use_position, one, other) for one, other in pairs)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training and self.inference == "identity":
            return inputs
        features = ops.cast(inputs, "float32")
        cells, channels = self._draw_map(features, training)
        if self.feedback == "add":
            return ops.cast(features + cells + channels, inputs.dtype)
        if self.feedback == "residual":
            scale = 0.5 if self.rescale else 1.0
            cells, channels = scale * (1.0 + cells), scale * channels
        return ops.cast(features * (cells + channels), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "channel_threshold": self.channel_threshold,
            "position_threshold": self.position_threshold,
            "focus": self.focus,
            "position_weight": self.position_weight,
            "channel_weight": self.channel_weight,
            "position_rate": self.position_rate,
            "feedback": self.feedback,
            "rescale": self.rescale,
            "inference": self.inference,
            "accumulate_focus": self.accumulate_focus,
            "branches": self.branches,
            "draw": self.draw,
            "seed": self.seed,
        }
