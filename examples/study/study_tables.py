r"""Writes the tables of examples/results/README.md from the rows of study.py.

    python examples/study/study_tables.py examples/results/study.csv \
        --out examples/results/README.md

What stands above the mark in the file stays. Every figure comes from the CSV; the
differences and their intervals are computed here, from the images that each row has
right.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from study_ablations import ABLATION_RUNS, ABLATIONS, CUT, EPOCHS, Ablation
from study_grid_tables import grid_sections
from study_lines import HEAD, RULE, Row, hits, line, mean, of
from study_reads import GUIDED, SECOND_LOOK
from study_results import data_of, read_rows
from study_runs import AGAINST, BETTER_ONCE, CAM_AT_ITS_BEST, METHODS, STUDY

MARK = (
    "<!-- Below: made by examples/study/study_tables.py from study.csv; do not "
    "edit. -->"
)
TITLES = {
    "best": "The best that was found (`study_best.py`): EfficientNet-Lite0 as ImageNet "
    "left it, a linear head, maps at 288 px (birds: `fit_localizer`; fixed is its own "
    "threshold, chosen without a box) and at 352 px (ten kinds: the mean of `ByClass` "
    "of two layers and of CAM; fixed is 0.5)",
    "improved": "What may help: a frozen MobileNetV2 at 256 px, and another map of it",
    "reference": "References",
    "tuning": "The budget of CAM: rates and length",
    "rates": "DGDM at the rate that was CAM's best, against CAM at that rate",
    "decisions": "Options, one at a time, against the same method in the first tables",
    "places": "Places, against the same method in the first tables",
    "compared": "What the papers compare with, each by its own map, against the class "
    "activation map of `cam`; `bas-v2` against that of `cam-v2`",
    "imagenette10": "Ten kinds of objects, imagenette10: 1,800 training images with "
    "labels only, 100 held-out, 400 test images, 3 epochs, else as above; against the "
    "class activation map of `cam-imagenette10`",
    "mobilenet_v2": "MobileNetV2 1.0, momentum 0.9 but for `cam-v2-slow-statistics`; "
    "against `cam-v2`",
}
# Of another backbone, or untrained: none is compared with the runs of `main`.
SEPARATE = ("best", "mobilenet_v2", "reference")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not read_rows(options.csv):
        parser.error(f"{options.csv} holds no rows")
    write_tables(options.csv, options.out)
    print(f"Wrote {options.out}.")


def write_tables(csv: Path, out: Path) -> None:
    """Writes the tables of a CSV behind the mark of a file."""
    rows = read_rows(csv)
    parts = [intro(rows), *(section(*each) for each in grid_sections(rows))]
    parts += main_tables(rows)
    parts += [
        section(title, group_table(rows, group)) for group, title in TITLES.items()
    ]
    parts.append(repeated_table(rows))
    parts.append(orders_table(rows))
    parts += [ablation_table(rows, ablation) for ablation in ABLATIONS]
    parts.append(missing(rows))
    above = out.read_text() if out.is_file() else ""
    parts = [above.partition(MARK)[0] + MARK, *parts]
    out.write_text("\n\n".join(part for part in parts if part) + "\n")


def intro(rows: list[Row]) -> str:
    """Says what the figures are of."""
    rows = [row for row in rows if row["num_images"] and data_of(row) == "cub40"]
    rows = [row for row in rows if row["group"] != "grid"]
    centre = {row["centre_gt_known_loc"] for row in rows}
    whole = {row["whole_image_gt_known_loc"] for row in rows}
    return "\n".join(
        [
            "# What each method is worth",
            "",
            "Tables that name no data are of CUB-40: 1,000 training images with labels "
            "only, 200 held-out images with boxes by which checkpoint and threshold "
            "are chosen, 1,100 test images. View `whole`, 224 px, "
            "MobileNetV1 0.75 from ImageNet weights, 12 epochs, batches of 32, rate "
            "0.005 (head 0.05) falling along a cosine, everything up to "
            "`conv_pw_5_relu` frozen, unless a row says otherwise. Per cent; "
            "thresholds tuned on the held-out images unless a column says otherwise. "
            "Means over seeds. In brackets: difference to the row it is compared with, "
            "and the paired bootstrap 95 % interval over images and seeds (of one "
            "seed: over images alone); \\* where it excludes 0.",
            "",
            f"A centred Gaussian has {_spread(centre)} GT-known Loc at the tuned "
            f"threshold, the box of the whole image {_spread(whole)}.",
            "",
            "Of these, all rows of `dgdm` but `dgdm-grow`, `dgdm-grow-last`, "
            "`dgdm-rate-0.01`, `dgdm-v2` and those of 6 epochs are with "
            "`grow_background=False`, the default until `dgdm-grow` decided otherwise, "
            "and all but `dgdm-last`, `dgdm-three`, `dgdm-grow-last` and "
            "`dgdm-rate-0.01` are at two places, the default until `dgdm-grow-last` "
            "did; in MobileNetV2 it still is.",
            "",
            "[What maps of 24 birds show, and miss](gallery.md).",
        ]
    )


def main_tables(rows: list[Row]) -> list[str]:
    """Methods against CAM for each map, and maps against CAM for each method."""
    mine = [row for row in rows if row["group"] == "main"]
    reads = list(dict.fromkeys(row["read"] for row in mine))
    parts = []
    for read in reads:
        first = of(mine, "cam", read)
        body = [
            line(method, runs, first if method != "cam" else [])
            for method in METHODS
            if (runs := of(mine, method, read))
        ]
        if len(body) > 1:
            parts.append(section(f"Methods, map `{read}`", [HEAD, RULE, *body]))
    body = [
        line(f"{method}, `{read}`", runs, of(mine, method, "cam"))
        for method in METHODS
        for read in reads
        if read != "cam" and (runs := of(mine, method, read))
    ]
    title = "Maps, against the class activation map of the same models"
    parts.append(section(title, [HEAD, RULE, *body] if body else []))
    return [*parts, larger_table(rows), second_look_table(rows), guided_table(rows)]


def larger_table(rows: list[Row]) -> str:
    """Maps read at a larger size than that of training, and at that size."""
    suffixes = {
        (row["run"], row["read"]): f"-{row['read_size']}"
        for row in rows
        if row["read_size"] != row["image_size"]
        and SECOND_LOOK not in row["read"]
        and GUIDED not in row["read"]
    }
    title = (
        "Maps read at a larger size than the training size, compared with the same "
        "maps at the training size"
    )
    return reads_table(rows, title, suffixes)


def second_look_table(rows: list[Row]) -> str:
    """Classes of a second look, and the same maps without one."""
    suffixes = {
        (row["run"], row["read"]): SECOND_LOOK
        for row in rows
        if SECOND_LOOK in row["read"]
    }
    title = "`models.SecondLook`, compared with the same maps without it"
    return reads_table(rows, title, suffixes)


def guided_table(rows: list[Row]) -> str:
    """Maps mixed with their guided filter, and the same maps as they are."""
    suffixes = {
        (row["run"], row["read"]): GUIDED
        for row in rows
        if row["read"].endswith(GUIDED)
    }
    title = "`cam.Guided`, compared with the same maps without it"
    return reads_table(rows, title, suffixes)


def reads_table(
    rows: list[Row], title: str, suffixes: dict[tuple[str, str], str]
) -> str:
    """Reads, each compared with the one that has its name but for a suffix."""
    body = []
    for (run, read), suffix in suffixes.items():
        runs = of(rows, run, read)
        seeds = {row["seed"] for row in runs}
        base = of(rows, run, read.removesuffix(suffix))
        base = [row for row in base if row["seed"] in seeds]
        if not base:  # nothing to compare with
            continue
        body.append(line(f"{run}, `{read}`", runs, base))
    return section(title, [HEAD, RULE, *body] if body else [])


def group_table(rows: list[Row], group: str) -> list[str]:
    """One part of the study; compared with the same method, map and seed of `main`."""
    mine = [row for row in rows if row["group"] == group]
    names = dict.fromkeys((row["run"], row["method"], row["read"]) for row in mine)
    body = []
    for name, method, read in names:
        runs = of(mine, name, read)
        seeds = {row["seed"] for row in runs}
        # Compared where backbone and data are the same, of the same seeds.
        base = AGAINST.get(name, None if group in SEPARATE else method)
        first = of(rows, base, read) if base else []
        if group in ("compared", "imagenette10"):
            first = of(rows, base, "cam") if (name, read) != (base, "cam") else []
        if group == "improved":  # with the class activation map of the same models
            first = of(mine, name, "cam") if read != "cam" else []
        first = [row for row in first if row["seed"] in seeds]
        body.append(line(f"{name}, `{read}`", runs, first))
    return [HEAD, RULE, *body] if body else []


def repeated_table(rows: list[Row]) -> str:
    """Options that were better with seed 0, and so chosen: with and without it."""
    body = []
    for name in BETTER_ONCE:
        runs = of(rows, name, "cam")
        if len(runs) < 2:
            continue
        against = (AGAINST.get(name, runs[0]["method"]), "cam", CAM_AT_ITS_BEST)
        for other in dict.fromkeys(against):
            if other == name:
                continue
            theirs = of(rows, other, "cam")
            for kept, seeds in ((runs, ""), (runs[1:], ", without seed 0")):
                same = {row["seed"] for row in kept}
                first = [row for row in theirs if row["seed"] in same]
                body.append(line(f"{name} against {other}{seeds}", kept, first))
    title = "Options that were better with one seed, with the others"
    return section(title, [HEAD, RULE, *body] if body else [])


def _spread(values: set[str]) -> str:
    low, high = min(map(float, values)), max(map(float, values))
    if low == high:
        return f"{100 * low:.1f}"
    return f"{100 * low:.1f} to {100 * high:.1f}"


def section(title: str, table: list[str]) -> str:
    """Returns a table under its title; nothing if there is no table."""
    return "\n".join([f"## {title}", "", *table]) if table else ""


def ablation_table(rows: list[Row], ablation: Ablation) -> str:
    """Returns a paper's table with our figures beside the paper's."""
    if not any(of(rows, row.run, "cam") for row in ablation.rows):
        return ""
    body = []
    for row in ablation.rows:
        runs = of(rows, row.run, "cam")
        theirs = ["-" if value is None else f"{value:.2f}" for value in row.paper]
        columns = ("tuned_gt_known_loc", "top1_cls", "tuned_top1_loc")
        ours = [mean(runs, column) for column in columns]
        cells = [row.label, *theirs, *ours, str(len(runs) or "-")]
        body.append("| " + " | ".join(cells) + " |")
    head = (
        "| | paper: GT-known Loc | Top-1 Cls | Top-1 Loc | ours: GT-known Loc | "
        "Top-1 Cls | Top-1 Loc | seeds |"
    )
    note = (
        f"Paper: {ablation.source}. Ours: map `cam` after {EPOCHS} epochs, everything "
        f"up to `{CUT}` frozen; - where there is no figure."
    )
    return section(ablation.title, [note, "", head, RULE, *body])


def orders_table(rows: list[Row]) -> str:
    """Whether the rows of the papers' tables stand to each other as published."""
    body = []
    for ablation in ABLATIONS:
        mine = {row.run: row for row in reversed(ablation.rows)}  # each run once
        mine = {run: row for run, row in mine.items() if of(rows, run, "cam")}
        cells = [ablation.title, str(len(mine))]
        for place, measure in enumerate(("gt_known_loc", "top1_cls", "top1_loc")):
            pairs = [
                (row.paper[place], hits(of(rows, run, "cam")[0], measure))
                for run, row in mine.items()
                if row.paper[place] is not None
            ]
            cells.append(rank_correlation(*zip(*pairs, strict=True)) if pairs else "-")
        if len(mine) > 2:
            body.append("| " + " | ".join(cells) + " |")
    head = "| | runs | GT-known Loc | Top-1 Cls | Top-1 Loc |"
    note = (
        "Spearman's rank correlation of the paper's figures and ours, and its 95 % "
        "interval over images; 1 where the orders agree, -1 where they are reversed; "
        "a paper's row that repeats one of our runs is left out."
    )
    title = "Do the rows of the papers' ablation tables stand in their order?"
    table = [note, "", head, "| --- |" + " ---: |" * 4, *body]
    return section(title, table if body else [])


def rank_correlation(paper: Sequence[float], right: Sequence[np.ndarray]) -> str:
    """Rank correlation of figures with which images `(N,)` rows have right."""
    found = np.stack(right)
    draw = np.random.default_rng(0)
    count = found.shape[1]
    drawn = draw.multinomial(count, np.full(count, 1 / count), 1000)
    ranks = [spearmanr(paper, each).statistic for each in (found @ drawn.T / count).T]
    low, high = np.nanpercentile(ranks, [2.5, 97.5])
    middle = spearmanr(paper, found.mean(axis=1)).statistic
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"


def missing(rows: list[Row]) -> str:
    """Names the runs with maps that were not read yet."""
    there = {(row["run"], int(row["seed"]), row["read"]) for row in rows}
    left = [
        run.key
        for run in (*STUDY, *ABLATION_RUNS)
        if not there.issuperset((run.name, run.seed, read.name) for read in run.reads)
    ]
    if not left:
        return ""
    return "\n".join(["## Not run yet", "", ", ".join(f"`{key}`" for key in left)])


if __name__ == "__main__":
    main()
