"""Every argument of every layer is checked when the layer is made."""

import re

import pytest

from keras_wsol import layers
from tests.contracts.cases import every_layer

OUTSIDE = (
    ("ADL", {"drop_rate": 1.5}, "a number in [0, 1]"),
    ("ADL", {"drop_rate": -0.1}, "a number in [0, 1]"),
    ("ADL", {"drop_threshold": 80}, "a number in [0, 1]"),
    ("ADL", {"draw": "image"}, "one of ['batch', 'sample']"),
    ("CAGD", {"drop_probability": 1.5}, "a number in [0, 1]"),
    ("CAGD", {"selection": "topk"}, "one of ['min_multiple', 'top_k']"),
    ("CAGD", {"min_multiple": 0}, "a number >= 1"),
    ("CAGD", {"keep_fraction": 75}, "a number in [0, 1]"),
    ("SAGD", {"drop_rate": 1.5}, "a number in [0, 1]"),
    ("SAGD", {"high_threshold": -1}, "a number in [0, 1]"),
    ("SAGD", {"low_threshold": 1.01}, "a number in [0, 1]"),
    ("SAGD", {"block_size": 0}, 'an integer >= 1 or "adaptive"'),
    ("SAGD", {"block_size": "adapt"}, 'an integer >= 1 or "adaptive"'),
    ("SAGD", {"draw": "both"}, "one of ['batch', 'sample']"),
    ("DGDM", {"drop_probability": 2}, "a number in [0, 1]"),
    ("DGDM", {"drop_rate": -1}, "a number in [0, 1]"),
    ("DGDM", {"block_size": -3}, 'an integer >= 1 or "adaptive"'),
    ("DFM", {"channel_threshold": 1.5}, "a number in [0, 1]"),
    ("DFM", {"position_threshold": 1.5}, "a number in [0, 1]"),
    ("DFM", {"position_rate": 1.5}, "a number in [0, 1]"),
    ("DFM", {"focus": -0.5}, "a number >= 0"),
    ("DFM", {"position_weight": -0.5}, "a number >= 0"),
    ("DFM", {"channel_weight": -0.5}, "a number >= 0"),
    ("DFM", {"feedback": "sum"}, "one of ['residual', 'add', 'scale']"),
    ("DFM", {"inference": "off"}, "one of ['identity', 'expected']"),
    ("DFM", {"branches": "both"}, "one of ['fused', 'unfused', 'channel', 'position']"),
    ("DFM", {"draw": "image"}, "one of ['batch', 'sample']"),
    ("SqueezeExcite", {"ratio": 0}, "an integer >= 1"),
    ("CBAM", {"ratio": -1}, "an integer >= 1"),
    ("CBAM", {"kernel_size": 0}, "an integer >= 1"),
    ("CBAM", {"kernel_size": 4}, "odd, so that the window is centred"),
    ("DropBlock2D", {"rate": 1.5}, "a number in [0, 1]"),
    ("DropBlock2D", {"block_size": 0}, "an integer >= 1"),
    ("MaxDrop", {"rate": -0.1}, "a number in [0, 1]"),
    ("MaxDrop", {"variant": "channel"}, "one of ['feature_wise', 'channel_wise']"),
    ("MaxDrop", {"block_size": 0}, "an integer >= 1"),
    ("TargetedDropout", {"target_fraction": 2}, "a number in [0, 1]"),
    ("TargetedDropout", {"rate": 2}, "a number in [0, 1]"),
    ("TargetedDropout", {"magnitude": "l1"}, "one of ['l2', 'mean']"),
    ("Cutout", {"size": 0}, "an integer >= 1"),
    ("HideAndSeek", {"rate": 2}, "a number in [0, 1]"),
)
ACTIVATION = "an activation: a function, or a name of `keras.activations`"


@pytest.mark.parametrize(("layer", "arguments", "expected"), OUTSIDE)
def test_values_outside_the_range(layer, arguments, expected):
    ((name, value),) = arguments.items()
    message = f"`{name}` must be {expected}. Received: {name}={value!r}."
    suggestion = r"( Did you mean '\w+'\?)?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}{suggestion}$"):
        getattr(layers, layer)(**arguments)


@every_layer
def test_values_of_another_type(case):
    for name in set(case.defaults) - {"seed"}:
        for value in (object(), [1]):
            message = rf"^`{name}` must be .*Received: {name}="
            if name in ("fill_value", "grid_size") and value == [1]:
                continue  # a colour of one channel, a list of one size
            with pytest.raises((TypeError, ValueError), match=message):
                case.layer(**{name: value})


@pytest.mark.parametrize("name", ["activation", "gate_activation"])
@pytest.mark.parametrize("layer", [layers.SqueezeExcite, layers.CBAM])
def test_unknown_activation(layer, name):
    message = f"`{name}` must be {ACTIVATION}. Received: {name}='reluu'."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer(**{name: "reluu"})


def test_cbam_without_attention():
    message = (
        r"^One of `channel` and `spatial` must be true\. Received: channel=False, "
    )
    with pytest.raises(ValueError, match=message):
        layers.CBAM(channel=False, spatial=False)


@pytest.mark.parametrize(
    ("fill_value", "received", "error"),
    [
        ((1.0, "2", 3.0), "'2' (of type str)", TypeError),
        ([0.0, float("nan")], "nan", ValueError),
        ("black", "'black' (of type str)", TypeError),
    ],
)
def test_colours(fill_value, received, error):
    message = (
        "`fill_value` must be a finite number, or one for each channel. "
        f"Received: fill_value={received}."
    )
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        layers.Cutout(fill_value=fill_value)
