"""The tables of study_grid.py: one a question."""

from collections.abc import Iterable, Iterator

import numpy as np
from study_data import DATA
from study_grid import BACKBONES, BASELINES, FITTED, OF_METHOD, RATES, chosen_run
from study_lines import Row, difference, interval, mean, of
from study_runs import METHODS

NAMES = {
    "v1": "MobileNetV1 0.75",
    "v2": "MobileNetV2",
    "lite0": "EfficientNet-Lite0",
}
INTRO = (
    "Everything in front of the last stride is frozen; the rest and the head are "
    "trained for 12 epochs (imagenette10 3, oxford_pets3 24) at 224 px. Each method "
    "has the rate of two, {rates} (BAS {bas}), that has the better Top-1 Loc on "
    "held-out images with seed 0. The model of the last step is read. CAM, ADL, DFM "
    "and DGDM: means of the seeds that are there, up to three; else one. In brackets: "
    "difference to CAM and its paired 95 % interval over images and seeds; \\* where "
    "it excludes 0; - not run."
)


QUESTIONS = {
    "own": "Do the modules localize more than CAM, each by its own map?",
    "cam-positive": "And without the negative weights of the classifier?",
}
MEASURES = {"gt_known_loc": "GT-known Loc", "top1_loc": "Top-1 Loc"}


def grid_sections(rows: list[Row]) -> Iterator[tuple[str, list[str]]]:
    """Gives the title and the lines of each table.

    Args:
        rows: All rows of the CSV.
    """
    rows = [row for row in rows if row["group"] == "grid"]
    if not rows:
        return
    intro = INTRO.format(
        rates=" and ".join(map(str, RATES)),
        bas=" and ".join(map(str, OF_METHOD["bas"])),
    )
    yield "Four data sets, three backbones", [intro]
    for read, question in QUESTIONS.items():
        for measure, name in MEASURES.items():
            yield f"{question} {name}", by_method(rows, read, measure)
    yield "Classes, and boxes at three IoUs: Top-1 Cls; MaxBoxAccV2", others(rows)
    yield (
        "Does a module help where `fit_localizer` chooses what is read? GT-known Loc, "
        "cut where it says, without a box; seed 0",
        fitted(rows),
    )
    yield (
        "Which matters more, the module or the map? GT-known Loc, mean over the rows "
        "that have all",
        by_map(rows),
    )
    yield "The rates that were chosen", chosen_rates(rows)


def titled(method: str) -> str:
    """The name of a method as its authors write it."""
    return {"acol": "ACoL"}.get(method, method.upper())


def cells() -> Iterator[tuple[str, str]]:
    """Gives each data set and backbone."""
    for name in DATA:
        for backbone in BACKBONES:
            yield name, backbone


def runs_of(rows: list[Row], method: str, cell: tuple[str, str], read: str) -> list:
    """The rows of a method at its better rate, by seed."""
    name, backbone = cell
    best = chosen_run(rows, f"{method}-{name}-{backbone}")
    return [] if best is None else of(rows, best, read)


def by_method(rows: list[Row], read: str, measure: str) -> list[str]:
    """Methods against CAM, by the same read."""
    methods = (*METHODS, *BASELINES) if read == "own" else METHODS
    columns = {
        "whole image": "whole_image_gt_known_loc",
        "Gaussian": "centre_gt_known_loc",
    }
    if measure != "gt_known_loc":
        columns = {}
    lines = table_head(["", *columns, *(titled(method) for method in methods)])
    for cell in cells():
        cam = runs_of(rows, "cam", cell, read)
        if not cam:
            continue
        values = [mean(cam, column) for column in columns.values()]
        for method in methods:
            runs = runs_of(rows, method, cell, read)
            values.append(mean(runs, f"tuned_{measure}"))
            if runs and method != "cam":
                values[-1] += difference(runs, same_seeds(cam, runs), measure)
        lines.append(table_line(named(cell), *values))
    return [*lines, "", answer(rows, methods, read, measure)]


def answer(rows: list[Row], methods: Iterable[str], read: str, measure: str) -> str:
    """Says how far and how often methods are above CAM, and how often below."""
    sentences = []
    for method in methods:
        found = []
        for cell in cells():
            runs = runs_of(rows, method, cell, read)
            cam = same_seeds(runs_of(rows, "cam", cell, read), runs)
            if method != "cam" and runs and cam:
                found.append(interval(runs, cam, measure) or (0.0, 0.0, 0.0))
        if found:
            lows, points, highs = np.transpose(found)
            sentences.append(
                f"{titled(method)} {100 * points.mean():+.1f}, above in "
                f"{(lows > 0).sum()} and below in {(highs < 0).sum()} of {len(found)}"
            )
    return f"On average over rows, and beyond the interval: {'; '.join(sentences)}."


def others(rows: list[Row]) -> list[str]:
    """The measures without intervals, each method by its own map."""
    methods = (*METHODS, *BASELINES)
    lines = table_head(["", *(titled(method) for method in methods)])
    for cell in cells():
        runs = [runs_of(rows, method, cell, "own") for method in methods]
        if any(runs):
            values = [
                "; ".join(mean(each, x) for x in ("top1_cls", "max_box_acc_v2") if each)
                for each in runs
            ]
            lines.append(table_line(named(cell), *(each or "-" for each in values)))
    return lines


def fitted(rows: list[Row]) -> list[str]:
    """What `fit_localizer` took of CAM and of the modules."""
    lines = table_head(["", *(titled(method) for method in METHODS)])
    for cell in cells():
        runs = [runs_of(rows, method, cell, FITTED.name) for method in METHODS]
        if any(runs):
            values = [mean(each[:1], "fixed_gt_known_loc") for each in runs]
            lines.append(table_line(named(cell), *values))
    return lines


def by_map(rows: list[Row]) -> list[str]:
    """Means over data sets and backbones, of seed 0."""
    columns = {
        "own": "tuned_gt_known_loc",
        "cam-positive": "tuned_gt_known_loc",
        FITTED.name: "fixed_gt_known_loc",
    }
    found = {
        cell: [
            [runs_of(rows, method, cell, read)[:1] for method in METHODS]
            for read in columns
        ]
        for cell in cells()
    }
    whole = [each for each in found.values() if all(all(read) for read in each)]
    lines = table_head(["", *(titled(method) for method in METHODS)])
    for index, (read, column) in enumerate(columns.items()):
        values = [
            mean([each[index][place][0] for each in whole], column)
            for place in range(len(METHODS))
        ]
        lines.append(table_line(f"{read}, {len(whole)} rows", *values))
    return lines


def chosen_rates(rows: list[Row]) -> list[str]:
    """The rate of each method."""
    methods = (*METHODS, *BASELINES)
    lines = table_head(["", *(titled(method) for method in methods)])
    for name, backbone in cells():
        found = [chosen_run(rows, f"{method}-{name}-{backbone}") for method in methods]
        if any(found):
            rates = ["-" if x is None else x.rpartition("-")[2] for x in found]
            lines.append(table_line(named((name, backbone)), *rates))
    return lines


def same_seeds(runs: list[Row], others: list[Row]) -> list[Row]:
    """The rows of the seeds that others have."""
    seeds = {row["seed"] for row in others}
    return [row for row in runs if row["seed"] in seeds]


def named(cell: tuple[str, str]) -> str:
    """What stands in front of a line."""
    return f"{cell[0]}, {NAMES[cell[1]]}"


def table_line(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cells) + " |"


def table_head(names: list[str]) -> list[str]:
    """The two first lines of a table."""
    return [table_line(*names), "| --- |" + " ---: |" * (len(names) - 1)]
