"""DFM: dual-attention focused module."""

from typing import Any

import keras
from keras import ops

from keras_wsol import masks
from keras_wsol.arguments import check_bool, check_choice, check_number
from keras_wsol.layers.attention_mask import DRAWS, AttentionMask

FEEDBACKS = ("residual", "add", "scale")
INFERENCES = ("identity", "expected")
BRANCHES = ("fused", "unfused", "channel", "position")


@keras.saving.register_keras_serializable(package="keras_wsol")
class DFM(AttentionMask):
    r"""Dual-attention focused module: hides in one dimension, hints in the other.

    The input \(F\) has two attentions: of positions (mean over channels) and of
    channels (mean over height and width). Each has an *enhancement* (its tanh) and a
    *mask* (zero from a share of the maximum on; a maximum not above zero masks nothing
    [ours]). Kept cells beside masked ones gain `focus`. Fusion crosses the branches:
    \(C_{ME} = \delta P_E + C_M\), \(P_{ME} = \gamma C_E + P_M\). A draw picks one of
    the two as \(M\), and the output is \((F + F M) / 2\). Gradients flow through
    enhancements only. The layer has no weights.

    Args:
        channel_threshold: Float in [0, 1], \(\alpha\). Default 0.85 [paper].
        position_threshold: Float in [0, 1], \(\beta\). Default 0.95 [paper].
        focus: Float >= 0, \(\omega\). Default 0.15 [paper]. Masked cells stay 0 [ours:
            Eq. 7 read with \(P_M'\)]. Used by `branches="fused"` alone.
        position_weight: Float >= 0, \(\delta\). Default 0.6 [paper].
        channel_weight: Float >= 0, \(\gamma\). Default 0.4 [paper].
        position_rate: Float in [0, 1], \(\tau\), of \(P_{ME}\). Default 0.7 [paper].
        feedback: `"residual"`: `F + F * M` [ours: reading of Eq. 16]. `"scale"`: `F *
            M`. `"add"`: `F + M`, the letter, which hides nothing and shifts the
            features: it implies `inference="expected"`. Default `"residual"`.
        rescale: Boolean. Halves `"residual"`, to keep its scale [ours]. Default true.
        inference: `"identity"`: acts only if `training` is true [ours: the paper does
            not say]. `"expected"`: at inference the same feedback with the mean map
            `tau * P_ME + (1 - tau) * C_ME`. Default `"identity"`.
        accumulate_focus: Boolean. Gain `focus` for each masked neighbour rather than
            once [ours: Eq. 7 allows both]. Default false.
        branches: `"fused"`, or a row of the paper's ablation: `"channel"` or
            `"position"`, a mask plus its own enhancement, without a draw [ours], or
            `"unfused"`, a draw between these two. Default `"fused"`.
        draw: `"batch"` (default), one draw a call, or `"sample"`, one an image.
        seed: Integer or `None`. Fixes the sequence of draws.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, ...).

    Input and output shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Example:
    >>> layer = DFM(position_rate=1.0, channel_weight=0.0, focus=0.5)
    >>> x = keras.ops.reshape(keras.ops.array([4.0, 2.0, 1.0]), (1, 1, 3, 1))
    >>> keras.ops.convert_to_numpy(layer(x, training=True)).ravel().tolist()
    [2.0, 2.5, 1.0]

    Reference:
        - [Zhou et al., 2019](https://arxiv.org/abs/1909.04813)
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
        super().__init__(seed=seed, **kwargs)
        self.channel_threshold = check_number("channel_threshold", channel_threshold)
        self.position_threshold = check_number("position_threshold", position_threshold)
        self.focus = check_number("focus", focus, high=None)
        self.position_weight = check_number(
            "position_weight", position_weight, high=None
        )
        self.channel_weight = check_number("channel_weight", channel_weight, high=None)
        self.position_rate = check_number("position_rate", position_rate)
        self.feedback = check_choice("feedback", feedback, FEEDBACKS)
        self.rescale = check_bool("rescale", rescale)
        self.inference = check_choice("inference", inference, INFERENCES)
        self.accumulate_focus = check_bool("accumulate_focus", accumulate_focus)
        self.branches = check_choice("branches", branches, BRANCHES)
        self.draw = check_choice("draw", draw, DRAWS)
        if feedback == "add":  # it shifts the features by about 1
            self.inference = "expected"

    def maps(self, inputs: Any) -> dict[str, Any]:
        """Returns the key maps and the two candidates of the draw, all float32.

        `"channel_enhancement"` and `"channel_mask"` are `(B, 1, 1, C)`,
        `"position_enhancement"` and `"position_mask"` are `(B, H, W, 1)`;
        `"position_map"` and `"channel_map"` broadcast to the input. Nothing is drawn.
        """
        maps, position, channel = self._parts(inputs)
        return {
            **maps,
            "position_map": position.cells + position.channels,
            "channel_map": channel.cells + channel.channels,
        }

    def drop_shares(self, inputs: Any) -> dict[str, Any]:
        """Returns the shares, float32 `(B,)`, of `"cells"` and `"channels"` masked.

        Each is that of a call which uses the mask; 0 for a branch that is off, and
        for `feedback="add"`, which hides nothing.
        """
        maps, *_ = self._parts(inputs)
        hides = self.feedback != "add"
        return {
            "cells": masks.dropped_share(maps["position_mask"])
            * float(hides and self.branches != "channel"),
            "channels": masks.dropped_share(maps["channel_mask"])
            * float(hides and self.branches != "position"),
        }

    def _parts(self, inputs: Any) -> tuple[dict[str, Any], masks.Parts, masks.Parts]:
        """The key maps, and the two candidates of the draw."""
        maps = masks.dfm_maps(
            inputs,
            channel_threshold=self.channel_threshold,
            position_threshold=self.position_threshold,
            focus=self.focus if self.branches == "fused" else 0.0,
            accumulate_focus=self.accumulate_focus,
        )
        weights = (self.position_weight, self.channel_weight)
        return maps, *masks.fuse(maps, *weights, self.branches)

    def _map(self, features: Any, training: bool) -> masks.Parts:
        """The map of this call: drawn in training, the mean of both at inference."""
        _, position, channel = self._parts(features)
        if self.branches == "position":
            return position
        if self.branches == "channel":
            return channel
        pairs = tuple(zip(position, channel, strict=True))
        if not training:
            rate = self.position_rate
            return masks.Parts(*(rate * p + (1.0 - rate) * c for p, c in pairs))
        use_position = self.use_first(features, self.position_rate, self.draw)
        return masks.Parts(*(ops.where(use_position, p, c) for p, c in pairs))

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training and self.inference == "identity":
            return inputs
        features = ops.cast(inputs, "float32")
        cells, channels = self._map(features, training)
        if self.feedback == "add":
            return ops.cast(features + cells + channels, inputs.dtype)
        if self.feedback == "residual":
            scale = 0.5 if self.rescale else 1.0
            cells, channels = scale * (1.0 + cells), scale * channels
        return ops.cast(features * (cells + channels), inputs.dtype)
