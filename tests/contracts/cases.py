"""What every public layer promises, one row a layer.

A layer that is in `keras_wsol.layers.__all__` and has no row fails the suite.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import pytest

from keras_wsol import layers

HANDED_ON = ("self", "kwargs")


@dataclass(frozen=True, kw_only=True)
class LayerCase:
    """One public layer and what holds for it.

    Attributes:
        layer: The class.
        settings: Constructor arguments that are not defaults; together the sets
            name every argument of `__init__`.
        random: Arguments under which two calls differ. None: nothing is drawn at
            a call, whatever the arguments, and the tests of draws do not apply.
        held: Sets of arguments under which nothing is left to the draw.
        identity_at_inference: Returns its input unless training.
        weightless: Has no weights. Otherwise the tests of weights apply.
        largest_activation: Largest float16 input that may give no inf.
    """

    layer: type[keras.layers.Layer]
    settings: tuple[Mapping[str, Any], ...]
    random: Mapping[str, Any] | None
    held: tuple[Mapping[str, Any], ...]
    identity_at_inference: bool
    weightless: bool
    largest_activation: float = 6e4

    @property
    def name(self):
        return self.layer.__name__

    @property
    def usual(self):
        """Arguments under which the layer does something in a small network."""
        return self.held[0] if self.random is None else self.random

    @property
    def defaults(self):
        """Arguments of the constructor, with their defaults."""
        arguments = inspect.signature(self.layer.__init__).parameters.values()
        return {a.name: a.default for a in arguments if a.name not in HANDED_ON}


SPATIAL = {
    "drop_rate": 0.5,
    "high_threshold": 0.7,
    "low_threshold": 0.3,
    "block_size": 2,
    "grow_background": True,
    "draw": "sample",
    "use_importance_map": False,
    "seed": 7,
}
CHANNEL = {
    "drop_probability": 0.4,
    "selection": "top_k",
    "min_multiple": 2.0,
    "keep_fraction": 0.5,
}

CASES = (
    LayerCase(
        layer=layers.ADL,
        settings=(
            {
                "drop_rate": 0.5,
                "drop_threshold": 0.7,
                "draw": "sample",
                "use_importance_map": False,
                "seed": 7,
            },
            {"use_drop_mask": False},
        ),
        random={"drop_rate": 0.5},
        held=(
            {"drop_rate": 0.0},
            {"drop_rate": 1.0},
            # Here the cell at the cut, which falls, is there for sure: the maximum.
            {"drop_rate": 1.0, "drop_threshold": 1.0},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.CAGD,
        settings=({**CHANNEL, "seed": 7},),
        random={"drop_probability": 0.5, "selection": "top_k", "keep_fraction": 0.5},
        held=(
            {"drop_probability": 1.0},
            {"drop_probability": 1.0, "selection": "top_k"},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.SAGD,
        settings=(
            SPATIAL,
            {"use_drop_mask": False, "low_threshold": None, "block_size": "adaptive"},
        ),
        random={"drop_rate": 0.5, "block_size": "adaptive"},
        held=(
            {"drop_rate": 0.0},
            {"drop_rate": 1.0},
            {"drop_rate": 1.0, "block_size": "adaptive"},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.DGDM,
        settings=(
            {**CHANNEL, **SPATIAL},
            {"use_drop_mask": False, "low_threshold": None, "block_size": "adaptive"},
        ),
        random={"drop_probability": 0.5, "selection": "top_k", "drop_rate": 0.5},
        held=(
            {"drop_probability": 1.0, "drop_rate": 0.0},
            {"drop_probability": 1.0, "drop_rate": 1.0},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.DFM,
        settings=(
            {
                "channel_threshold": 0.7,
                "position_threshold": 0.8,
                "focus": 0.25,
                "position_weight": 0.5,
                "channel_weight": 0.3,
                "position_rate": 0.5,
                "feedback": "add",
                "rescale": False,
                "inference": "expected",
                "accumulate_focus": True,
                "branches": "unfused",
                "draw": "sample",
                "seed": 7,
            },
        ),
        random={"position_rate": 0.5},
        held=(
            {"position_rate": 0.0},
            {"position_rate": 1.0},
            {"position_rate": 1.0, "rescale": False},
            {"branches": "position", "feedback": "scale"},
            {"branches": "channel", "feedback": "add", "inference": "expected"},
        ),
        identity_at_inference=True,
        weightless=True,
        # The unscaled residual is at most 1 + 1 + omega + gamma = 2.55 inputs.
        largest_activation=1.5e4,
    ),
    LayerCase(
        layer=layers.SqueezeExcite,
        settings=(
            {
                "ratio": 3,
                "activation": "silu",
                "gate_activation": "hard_sigmoid",
                "use_bias": False,
                "seed": 7,
            },
        ),
        random=None,
        held=(
            {"ratio": 2},
            {"ratio": 1, "activation": "silu", "use_bias": False},
        ),
        identity_at_inference=False,
        weightless=False,
    ),
    LayerCase(
        layer=layers.CBAM,
        settings=(
            {
                "ratio": 3,
                "kernel_size": 3,
                "activation": "silu",
                "gate_activation": "hard_sigmoid",
                "use_bias": False,
                "channel": False,
                "seed": 7,
            },
            {"spatial": False, "ratio": 2},
        ),
        random=None,
        held=(
            # Not 3: PyTorch's CPU convolution has no gradient for a batch of one,
            # one filter and a 3 x 3 window ("grad_weight must be contiguous").
            {"ratio": 2, "kernel_size": 5},
            {"ratio": 2, "spatial": False, "use_bias": False},
            {"channel": False},
        ),
        identity_at_inference=False,
        weightless=False,
    ),
    LayerCase(
        layer=layers.DropBlock2D,
        settings=(
            {
                "rate": 0.3,
                "block_size": 2,
                "per_channel": False,
                "rescale": False,
                "seed": 7,
            },
        ),
        random={"rate": 0.4, "block_size": 3},
        # Nothing is left to the draw only where all falls or nothing does.
        held=(
            {"rate": 0.0},
            {"rate": 1.0, "block_size": 1},
            {"rate": 1.0, "block_size": 40, "per_channel": False},
        ),
        identity_at_inference=True,
        weightless=True,
        # What is kept is divided by the share of cells that is kept; this leaves
        # room for a mask that keeps only 2.5e4 / 65504 = 0.38 of them.
        largest_activation=2.5e4,
    ),
    LayerCase(
        layer=layers.MaxDrop,
        settings=(
            {
                "rate": 0.3,
                "variant": "channel_wise",
                "block_size": 3,
                "rescale": True,
                "seed": 7,
            },
        ),
        random={"rate": 0.5},
        held=(
            {"rate": 0.0},
            {"rate": 1.0},
            {"rate": 1.0, "block_size": 2},
            {"rate": 1.0, "variant": "channel_wise", "rescale": True},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.Cutout,
        settings=({"size": 5, "fill_value": [1.0, 2.0, 3.0, 4.0], "seed": 7},),
        random={"size": 2},
        # Squares that hide every pixel wherever they lie; one that hides some is
        # always a matter of the draw.
        held=({"size": 99}, {"size": 99, "fill_value": 2.5}),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.HideAndSeek,
        settings=(
            {
                "grid_size": [2, 0, 3],
                "rate": 0.3,
                "fill_value": [1.0, 2.0, 3.0, 4.0],
                "seed": 7,
            },
        ),
        random={"grid_size": 2},
        held=(
            {"grid_size": 0},
            {"grid_size": 2, "rate": 0.0},
            {"grid_size": [2, 3], "rate": 1.0, "fill_value": 2.5},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
    LayerCase(
        layer=layers.TargetedDropout,
        settings=(
            {
                "target_fraction": 0.75,
                "rate": 0.3,
                "magnitude": "mean",
                "seed": 7,
            },
        ),
        random={"rate": 0.5},
        held=(
            {"rate": 0.0},
            {"rate": 1.0},
            {"rate": 1.0, "target_fraction": 0.75, "magnitude": "mean"},
        ),
        identity_at_inference=True,
        weightless=True,
    ),
)

BY_NAME = {case.name: case for case in CASES}


def each(cases):
    """Runs a test once for each of the cases."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


every_layer = each(CASES)
every_layer_that_draws = each([case for case in CASES if case.random is not None])
every_layer_with_weights = each([case for case in CASES if not case.weightless])


def each_set(sets):
    """Runs a test once for each set of arguments `(case, name, arguments)`."""
    return pytest.mark.parametrize(
        ("case", "arguments"),
        [
            pytest.param(case, given, id=f"{case.name}-{name}")
            for case, name, given in sets
        ],
    )


# A mask that is all zeros or all ones hides errors in its making, so tests that run
# over these sets force the draws: see `draws.py`.
HELD = [(case, number, held) for case in CASES for number, held in enumerate(case.held)]
RANDOM = [(case, "random", case.random) for case in CASES if case.random is not None]
every_held_or_random_draw = each_set([*HELD, *RANDOM])
# For what takes longer: the last held set of a case is its most particular one.
LAST = [(case, "last", case.held[-1]) for case in CASES]
every_last_or_random_draw = each_set([*LAST, *RANDOM])
# For what takes seconds: one set a case.
every_usual_set = each_set([*RANDOM, *(last for last in LAST if not last[0].random)])
