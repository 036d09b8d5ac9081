"""The table of the study of examples/: every run can be made, every row is of a run."""

import dataclasses
import functools
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import study_grid_tables
import study_tables
from study_ablations import ABLATION_RUNS, ABLATIONS
from study_grid import chosen_run, first_runs
from study_results import bits_of, read_rows
from study_runs import STUDY
from study_training import with_options

from keras_wsol import models

RESULTS = Path(study_tables.__file__).parents[1] / "results"
RUNS = (*STUDY, *ABLATION_RUNS)


def test_no_two_runs_have_one_name():
    grid = [run for run in first_runs() if run.group == "grid"]
    keys = [run.key for run in (*RUNS, *grid)]
    assert len(set(keys)) == len(keys)


def test_no_two_runs_are_the_same():
    runs = [dataclasses.replace(run, name="", group="", reads=()) for run in RUNS]
    for index, run in enumerate(runs):
        same = [
            RUNS[i].key for i, other in enumerate(runs) if other == run and i != index
        ]
        assert not same, (RUNS[index].key, same)


def test_figures_of_the_papers_in_their_columns():
    rows = [row.paper for ablation in ABLATIONS for row in ablation.rows]
    for gt_known, top1, loc in rows:
        # Right in both is no more often than right in one.
        assert loc <= min(each for each in (gt_known, top1, 100.0) if each is not None)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("adl-rate-0.25-frozen-epochs-6-seed0", {"drop_rate": 0.25}),
        (
            "sagd-stage-1-block-2-frozen-epochs-6-seed0",
            {"block_size": 2, "low_threshold": None},
        ),
        ("dgdm-multiple-2.5-frozen-epochs-6-seed0", {"min_multiple": 2.5}),
        (
            "dfm-weights-0.9-0.1-frozen-epochs-6-seed0",
            {"position_weight": 0.9, "channel_weight": 0.1},
        ),
    ],
)
def test_some_runs_by_hand(key, options):
    (run,) = [run for run in RUNS if run.key == key]
    assert run.options == options


def test_no_two_reads_of_a_run_have_one_name():
    for run in RUNS:
        names = [read.name for read in run.reads]
        assert len(set(names)) == len(names), run.key


def test_every_row_of_an_ablation_has_a_run():
    rows = {row.run for ablation in ABLATIONS for row in ablation.rows}
    assert rows <= {run.name for run in RUNS}
    # And none is made for nothing.
    assert {run.name for run in ABLATION_RUNS} <= rows


# Defaults that rows of the papers' tables state beside what they change.
STATED = {("position_weight", 0.6), ("channel_weight", 0.4), ("block_size", 3)}


@pytest.mark.parametrize(
    "run", [run for run in RUNS if run.options and not run.seed], ids=lambda r: r.key
)
def test_each_option_of_a_run_changes_its_layer(run):
    spec, method = models.BACKBONES[run.backbone], models.METHODS[run.method]
    places = run.places or spec.drop_after
    presets = [spec.preset(run.method, place, (224, 224, 3)) for place in places]
    before = [method(**preset).get_config() for preset in presets]
    after = [method(**{**preset, **run.options}).get_config() for preset in presets]
    for name, value in run.options.items():
        changed = any(
            new[name] != old[name] for new, old in zip(after, before, strict=True)
        )
        stated = run.group == "ablation" and (name, value) in STATED
        assert changed != stated


@functools.cache
def layers_of(backbone):
    options = {"mobilenet": {"alpha": 0.25}, "mobilenet_v2": {"alpha": 0.35}}
    return models.build_classifier(
        backbone,
        weights=None,
        input_shape=(64, 64, 3),
        num_classes=2,
        backbone_options=options[backbone],
    ).layers


def test_places_are_layers_of_the_backbone_in_its_order():
    for backbone, places in {(run.backbone, run.places) for run in RUNS if run.places}:
        layers = layers_of(backbone)
        names = [layer.name for layer in layers]
        order = [names.index(place) for place in places]
        assert order == sorted(set(order)), places
        assert all(isinstance(layers[index], keras.layers.ReLU) for index in order)


def test_options_come_on_top_of_the_rows_and_weights_stay():
    places = ("conv_pw_12_relu", "conv_pw_13_relu")
    model = models.build_classifier(
        "mobilenet",
        "sagd",
        weights=None,
        input_shape=(64, 64, 3),
        num_classes=2,
        drop_after=places,
        backbone_options={"alpha": 0.25},
        freeze="conv_pw_1_relu",
    )
    copy = with_options(model, {"block_size": 1, "grow_background": False})
    for before, after in zip(model.layers, copy.layers, strict=True):
        changed = {"block_size": 1, "grow_background": False}
        expected = before.get_config()
        expected |= changed if before.name.startswith("sagd_") else {}
        assert after.get_config() == expected
        assert after.trainable == before.trainable or not after.weights
    # The row's share of the background differs from place to place.
    shares = [copy.get_layer(f"sagd_{place}").low_threshold for place in places]
    assert shares[0] != shares[1]
    for before, after in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_rate_is_that_of_the_better_held_out_figure():
    def row(rate, figure, seed="0", read="own"):
        name = f"adl-cub40-v1-rate-{rate}"
        return {
            "group": "grid",
            "run": name,
            "read": read,
            "seed": seed,
            "held_out_top1_loc": figure,
        }

    rows = [row(0.005, "0.41"), row(0.005, "0.9", read="cam-positive")]
    assert chosen_run(rows, "adl-cub40-v1") is None  # the other rate is missing
    rows += [row(0.015, "0.42"), row(0.005, "", seed="1")]
    assert chosen_run(rows, "adl-cub40-v1") == "adl-cub40-v1-rate-0.015"
    assert chosen_run(rows, "adl-cub40-v2") is None
    rows[-2] = row(0.015, "0.41")  # of equal ones the lower
    assert chosen_run(rows, "adl-cub40-v1") == "adl-cub40-v1-rate-0.005"


def test_rank_correlation_is_of_the_order_alone():
    right = [np.arange(200) < count for count in (20, 60, 190)]
    agree = study_tables.rank_correlation((1.0, 40.0, 41.0), right)
    assert agree == "+1.00 (+1.00 to +1.00)"
    reverse = study_tables.rank_correlation((41.0, 40.0, 1.0), right)
    assert reverse == "-1.00 (-1.00 to -1.00)"
    # On other images, draws decide between 20 and 25.
    apart = [right[0], np.arange(200) >= 175, right[2]]
    middle, low, *_ = study_tables.rank_correlation((1.0, 2.0, 3.0), apart).split()
    assert middle == "+1.00"
    assert float(low[1:]) < 1


def test_every_preset_has_its_line_and_its_rows_are_there():
    text = (RESULTS / "README.md").read_text()
    table = text.partition("### Presets of the backbones")[2].partition("\n#")[0]
    lines = [cells_of(line) for line in table.splitlines() if line.startswith("|")][2:]
    told, names = set(), []
    for first, values, *_ in lines:
        names = re.findall(r"`(\w+\(\w+\))`", first) or names
        split = values.replace("`", "").split("; ")
        told |= set(zip(names, split * (len(names) // len(split)), strict=True))
    set_somewhere = set()
    for spec in models.BACKBONES.values():
        at_places = [
            (method, options)
            for method, places in spec.place_presets.items()
            for options in places.values()
        ]
        for method, options in (*spec.presets.items(), *at_places):
            values = options.items()
            set_somewhere |= {(f"{method}({name})", str(x)) for name, x in values}
    assert told == set_somewhere
    cited = set(re.findall(r"`([^`]+)`", " ".join(cells[4] for cells in lines)))
    assert cited <= {row["run"] for row in read_rows(RESULTS / "study.csv")}


def test_differences_are_to_the_same_seeds_of_cam():
    def row(method, rate, seed, right):
        bits = bits_of(np.arange(40) < right)
        return {
            "group": "grid",
            "run": f"{method}-cub40-v1-rate-{rate}",
            "read": "own",
            "seed": str(seed),
            "num_images": "40",
            "class_bits": bits_of(np.ones(40, bool)),
            "box_bits": bits,
            "held_out_top1_loc": str(1 - rate),
            "tuned_gt_known_loc": str(right / 40),
            "centre_gt_known_loc": "0.5",
        }

    rows = [row("cam", 0.015, 0, 0)]
    rows += [row("cam", 0.005, seed, 10 * seed) for seed in (0, 1, 2)]
    rows += [row("adl", 0.005, 0, 4), row("adl", 0.015, 0, 0)]
    _, _, line, *_ = study_grid_tables.by_method(rows, "own", ["adl"], "gt_known_loc")
    name, centre, cam, adl = cells_of(line)
    assert (name, centre, cam) == ("birds, MobileNetV1 0.75", "50.0", "25.0")
    # Of seed 0 alone, where CAM has none right; not of CAM's mean.
    assert adl.startswith("10.0 (+10.0; ")

    options = (rows, "own", ["cam"], "gt_known_loc", "adl")
    _, _, line, _, said = study_grid_tables.by_method(*options)
    _, _, adl, cam = cells_of(line)
    assert (adl, cam.partition(";")[0]) == ("10.0", "25.0 (+15.0")
    assert said.startswith("Mean difference to ADL in points over the 1 rows")


def tables_of(path):
    """Title of each section to the lines of its table."""
    parts = re.split(r"(?m)^## ", path.read_text())[1:]
    return {
        part.splitlines()[0]: [x for x in part.splitlines() if x.startswith("|")]
        for part in parts
    }


def cells_of(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_short_tables_are_those_of_all_tables():
    every = tables_of(RESULTS / "README.md")
    short = tables_of(RESULTS.parent / "docs" / "results.md")
    shared = short.keys() & every.keys()
    assert len(shared) == 4
    for title in shared:
        assert short[title] == every[title], title

    (title,) = (x for x in shared if x.startswith("Do the modules localize"))
    in_readme = tables_of(RESULTS.parents[1] / "README.md")["Results"]
    head, _, *lines = map(cells_of, in_readme)
    names, _, *expected = map(cells_of, every[title])
    for line, cells in zip(lines, expected, strict=True):
        by_name = dict(zip(names, cells, strict=True))
        assert line[0] == cells[0]
        for name, cell in zip(head[1:], line[1:], strict=True):
            theirs = by_name[name]
            assert cell.removesuffix(r"\*") == theirs.partition(" ")[0]
            assert cell.endswith(r"\*") == (r"\*" in theirs)


@pytest.mark.slow
def test_tables_are_those_of_the_rows(tmp_path):
    written = (RESULTS / "README.md").read_text()
    again = tmp_path / "README.md"
    again.write_text(written.partition(study_tables.MARK)[0])
    study_tables.write_tables(RESULTS / "study.csv", again)
    assert again.read_text() == written
