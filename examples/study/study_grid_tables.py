"""The tables of study_grid.py: one a question."""

from collections.abc import Iterator

from study_data import DATA
from study_grid import BACKBONES, BASELINES, FITTED, OF_METHOD, RATES, READS, chosen_run
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
    for measure, name in (("gt_known_loc", "GT-known Loc"), ("top1_loc", "Top-1 Loc")):
        title = f"Do the modules localize more than CAM, each by its own map? {name}"
        yield title, by_method(rows, measure)
    yield "Does another map change that? GT-known Loc", by_map(rows)
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


def by_method(rows: list[Row], measure: str) -> list[str]:
    """Methods against CAM, each by its own map."""
    methods = (*METHODS, *BASELINES)
    fixed = ["whole image", "Gaussian"] if measure == "gt_known_loc" else ["classes"]
    head = ["", *fixed, *(titled(method) for method in methods)]
    lines = table_head(head)
    for cell in cells():
        cam = runs_of(rows, "cam", cell, "own")
        if not cam:
            continue
        name, backbone = cell
        values = [f"{name}, {NAMES[backbone]}"]
        columns = {
            "whole image": "whole_image_gt_known_loc",
            "Gaussian": "centre_gt_known_loc",
            "classes": "top1_cls",
        }
        values += [mean(cam, columns[each]) for each in fixed]
        for method in methods:
            runs = runs_of(rows, method, cell, "own")
            values.append(mean(runs, f"tuned_{measure}"))
            if runs and method != "cam":
                values[-1] += difference(runs, same_seeds(cam, runs), measure)
        lines.append("| " + " | ".join(values) + " |")
    return [*lines, "", answer(rows, measure)]


def answer(rows: list[Row], measure: str) -> str:
    """Says in how many rows a method is above CAM, and in how many below."""
    counts = []
    for method in (*METHODS[1:], *BASELINES):
        above = below = total = 0
        for cell in cells():
            runs = runs_of(rows, method, cell, "own")
            cam = same_seeds(runs_of(rows, "cam", cell, "own"), runs)
            if not (runs and cam):
                continue
            low, _, high = interval(runs, cam, measure) or (0, 0, 0)
            above, below, total = above + (low > 0), below + (high < 0), total + 1
        if total:
            counts.append(f"{titled(method)} {above} and {below} of {total}")
    return f"Above and below CAM, beyond the interval: {'; '.join(counts)}."


def by_map(rows: list[Row]) -> list[str]:
    """The maps of the modules and of CAM, and what `fit_localizer` took (seed 0)."""
    head = [
        "",
        *(f"{titled(method)}, {read.name}" for read in READS for method in METHODS),
    ]
    lines = table_head(head)
    for cell in cells():
        values = [f"{cell[0]}, {NAMES[cell[1]]}"]
        for read in READS:
            column = "tuned_gt_known_loc"
            if read is FITTED:  # cut where it says, without a box
                column = "fixed_gt_known_loc"
            values += [
                mean(runs_of(rows, method, cell, read.name), column)
                for method in METHODS
            ]
        if set(values[1:]) != {"-"}:
            lines.append("| " + " | ".join(values) + " |")
    return lines


def chosen_rates(rows: list[Row]) -> list[str]:
    """The rate of each method."""
    methods = (*METHODS, *BASELINES)
    lines = table_head(["", *(titled(method) for method in methods)])
    for name, backbone in cells():
        found = [chosen_run(rows, f"{method}-{name}-{backbone}") for method in methods]
        if any(found):
            rates = ["-" if x is None else x.rpartition("-")[2] for x in found]
            lines.append(f"| {name}, {NAMES[backbone]} | " + " | ".join(rates) + " |")
    return lines


def same_seeds(runs: list[Row], others: list[Row]) -> list[Row]:
    """The rows of the seeds that others have."""
    seeds = {row["seed"] for row in others}
    return [row for row in runs if row["seed"] in seeds]


def table_head(names: list[str]) -> list[str]:
    """The two first lines of a table."""
    return ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * (len(names) - 1)]
