"""The tables of study_grid.py: one a question."""

from collections.abc import Iterator, Sequence

import numpy as np
from study_data import DATA
from study_grid import BACKBONES, BASELINES, FITTED, OF_METHOD, RATES, chosen_run
from study_lines import Row, column_of, difference, interval, mean, of
from study_runs import METHODS

NAMES = {
    "v1": "MobileNetV1 0.75",
    "v2": "MobileNetV2",
    "lite0": "EfficientNet-Lite0",
}
DATA_NAMES = {
    "cub40": "birds",
    "imagenette10": "ten kinds",
    "stanford_cars40": "cars",
    "oxford_pets3": "pets",
}
INTRO = (
    "Birds are CUB-40, ten kinds imagenette10, cars 40 classes of Stanford Cars at "
    "128x96 pixels, pets three classes of Oxford-IIIT Pet with boxes of whole bodies. "
    "MobileNetV1 is frozen up to `conv_pw_11_relu`, MobileNetV2 up to `block_12_add`, "
    "EfficientNet-Lite0 up to `block5c_add`; the rest and the head are "
    "trained for 12 epochs (ten kinds 3, pets 24) at 224 px. Each method has the rate "
    "of two, {rates} (BAS {bas}), that has the better Top-1 Loc by its own map on "
    "held-out images with seed 0. The model of the last step is read, cut where "
    "held-out boxes say; so is the centred Gaussian, which makes it a centred box. "
    "CAM, ADL, DFM and DGDM: means of three seeds, which share their crops; others: "
    "one seed. In brackets: difference to CAM's runs of the same "
    "seeds and its paired 95 % interval over images and seeds, of one seed over images "
    "alone; \\* where it excludes 0. The choice of the rate is in no interval. `-`: "
    "not run.\n\n"
    "DGDM's options in MobileNets were chosen on test images of birds with MobileNetV1 "
    "(`dgdm-grow`, `dgdm-grow-last`), so that its other rows alone are independent."
)


# Read, methods beside CAM, question.
QUESTIONS = (
    (
        "own",
        METHODS[1:],
        "Do the modules localize more than CAM, each by its own map?",
    ),
    ("own", BASELINES, "Do the methods with maps of their own?"),
    (
        "cam-positive",
        METHODS[1:],
        "Do the modules without the negative weights of the classifier?",
    ),
)
WITH_INTERVALS = {"gt_known_loc": "GT-known Loc", "top1_loc": "Top-1 Loc"}
FIXED = {"centred Gaussian": "centre_gt_known_loc"}


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
    for read, methods, question in QUESTIONS:
        for measure, name in WITH_INTERVALS.items():
            yield f"{question} {name}", by_method(rows, read, methods, measure)
    yield (
        "Do DFM and DGDM localize more than ADL, differences to which are in brackets? "
        "Top-1 Loc",
        by_method(rows, "own", ("dfm", "dgdm"), "top1_loc", "adl"),
    )
    yield (
        "Do the modules classify better than CAM? Top-1 Cls",
        by_method(rows, "own", METHODS[1:], "top1_cls"),
    )
    yield "Classes, and boxes at three IoUs: Top-1 Cls; MaxBoxAccV2", others(rows)
    yield (
        "Does a module help where `fit_localizer` chooses what is read? GT-known Loc "
        f"at the rates {RATES[0]}; {RATES[1]}, cut without a box, seed 0",
        fitted(rows),
    )
    yield (
        "Which matters more, the module or the map? GT-known Loc, means over data and "
        "backbones, seed 0",
        by_map(rows),
    )
    yield "The rates that were chosen", chosen_rates(rows)
    yield "What was not run", [*not_run(rows)]


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


def by_method(
    rows: list[Row],
    read: str,
    methods: Sequence[str],
    measure: str,
    base: str = "cam",
) -> list[str]:
    """Methods against CAM, or another, by the same read."""
    fixed = FIXED if measure == "gt_known_loc" else {}
    lines = table_head(["", *fixed, *(titled(x) for x in (base, *methods))])
    found: dict[str, list[tuple[float, float, float]]] = {x: [] for x in methods}
    for cell in cells():
        first = runs_of(rows, base, cell, read)
        by_name = {x: runs_of(rows, x, cell, read) for x in methods}
        if not (first and any(by_name.values())):
            continue
        values = [mean(first, column) for column in fixed.values()]
        values.append(mean(first, column_of(measure)))
        for method, runs in by_name.items():
            same = same_seeds(first, runs)
            values.append(mean(runs, column_of(measure)))
            values[-1] += difference(runs, same, measure) if runs else ""
            if all(by_name.values()):
                found[method].append(interval(runs, same, measure) or (0.0, 0.0, 0.0))
        lines.append(table_line(named(cell), *values))
    return [*lines, "", answer(found, titled(base))]


def answer(found: dict[str, list[tuple[float, float, float]]], base: str) -> str:
    """Says how far and how often methods are above another, and how often below."""
    parts, count = [], max(map(len, found.values()))
    if not count:
        return ""
    for method, each in found.items():
        lows, points, highs = np.transpose(each)
        above, below = (lows > 0).sum(), (highs < 0).sum()
        parts.append(f"{titled(method)} {100 * points.mean():+.1f} ({above}, {below})")
    return (
        f"Mean difference to {base} in points over the {count} rows that have all, and "
        f"in how many of them it is above 0 and below 0 beyond the interval: "
        f"{'; '.join(parts)}."
    )


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
    """What `fit_localizer` took of CAM and of the modules, at each rate."""
    lines = table_head(["", *(titled(method) for method in METHODS)])
    for cell in cells():
        values = []
        for method in METHODS:
            names = ["-".join([method, *cell, "rate", str(rate)]) for rate in RATES]
            runs = [seed_0(of(rows, name, FITTED.name)) for name in names]
            found = [mean(each, "fixed_gt_known_loc") for each in runs]
            values.append("; ".join(found) if any(runs) else "-")
        if set(values) != {"-"}:
            lines.append(table_line(named(cell), *values))
    return lines


def by_map(rows: list[Row]) -> list[str]:
    """Means over the data sets and backbones that have all, of seed 0."""
    reads = ("own", "cam-positive", FITTED.name)
    found = [
        [[seed_0(runs_of(rows, x, cell, read)) for x in METHODS] for read in reads]
        for cell in cells()
    ]
    whole = [each for each in found if all(map(all, each))]
    lines = table_head([f"{len(whole)} rows", *(titled(x) for x in METHODS)])
    kinds = [(read, place, "tuned") for place, read in enumerate(reads)]
    for name, place, cut in (*kinds, (f"{reads[-1]}, cut without a box", -1, "fixed")):
        runs = [
            [row for each in whole for row in each[place][i]]
            for i in range(len(METHODS))
        ]
        values = [mean(each, f"{cut}_gt_known_loc") for each in runs]
        lines.append(table_line(name, *values))
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


def not_run(rows: list[Row]) -> Iterator[str]:
    """A line for each data set and backbone that lacks methods."""
    for cell in cells():
        lacking = [
            titled(method)
            for method in (*METHODS, *BASELINES)
            if not runs_of(rows, method, cell, "own")
        ]
        if lacking:
            yield f"- {named(cell)}: {', '.join(lacking)}"


def seed_0(runs: list[Row]) -> list[Row]:
    """The rows of seed 0."""
    return [row for row in runs if row["seed"] == "0"]


def same_seeds(runs: list[Row], others: list[Row]) -> list[Row]:
    """The rows of the seeds that others have."""
    seeds = {row["seed"] for row in others}
    return [row for row in runs if row["seed"] in seeds]


def named(cell: tuple[str, str]) -> str:
    """What stands in front of a line."""
    return f"{DATA_NAMES[cell[0]]}, {NAMES[cell[1]]}"


def table_line(*values: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(values) + " |"


def table_head(names: list[str]) -> list[str]:
    """The two first lines of a table."""
    return [table_line(*names), "| --- |" + " ---: |" * (len(names) - 1)]
