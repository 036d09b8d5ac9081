"""The table of the study of examples/: every run can be made, every row is of a run."""

import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
try:
    from study_ablations import ABLATION_RUNS, ABLATIONS
    from study_runs import STUDY
finally:
    sys.path.remove(str(EXAMPLES))

from keras_wsol import layers, models  # noqa: E402

RUNS = (*STUDY, *ABLATION_RUNS)
LAYERS = {"adl": layers.ADL, "dfm": layers.DFM, "dgdm": layers.DGDM}
LAYERS["sagd"] = layers.SAGD


def test_no_two_runs_have_one_name():
    keys = [run.key for run in RUNS]
    assert len(set(keys)) == len(keys)


def test_no_two_reads_of_a_run_have_one_name():
    for run in RUNS:
        names = [read.name for read in run.reads]
        assert len(set(names)) == len(names), run.key


def test_every_row_of_an_ablation_has_a_run():
    rows = {row.run for ablation in ABLATIONS for row in ablation.rows}
    assert rows <= {run.name for run in RUNS}
    # And none is made for nothing.
    assert {run.name for run in ABLATION_RUNS} <= rows


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.options], ids=lambda r: r.key
)
def test_the_options_of_a_run_are_those_of_its_layer(run):
    config = LAYERS[run.method](**run.options).get_config()
    default = LAYERS[run.method]().get_config()
    changed = {name for name in config if config[name] != default[name]}
    assert changed - {"name"} <= set(run.options)
    # An option that says what is the default is for a row that presets something else.
    assert changed & set(run.options) or run.name in SAID_AGAIN


# SAGD's own block size is 3.
SAID_AGAIN = {"sagd-block-3-epochs-6"}


@pytest.fixture(scope="module")
def mobilenet():
    return models.build_classifier(
        "mobilenet",
        weights=None,
        input_shape=(64, 64, 3),
        num_classes=2,
        backbone_options={"alpha": 0.25},
    )


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.places], ids=lambda r: r.key
)
def test_places_are_layers_of_the_backbone_in_its_order(run, mobilenet):
    names = [layer.name for layer in mobilenet.layers]
    order = [names.index(place) for place in run.places]
    assert order == sorted(order)
    assert isinstance(mobilenet.get_layer(run.places[-1]), keras.layers.ReLU)
