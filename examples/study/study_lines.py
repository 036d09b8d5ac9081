"""The lines of the tables of study_tables.py: means, differences and intervals."""

from collections.abc import Iterable

import numpy as np
from study_results import hits_of

from keras_wsol.evaluation.report import difference_interval

Row = dict[str, str]
MEASURES = ("top1_cls", "gt_known_loc", "top1_loc")
HEAD = (
    "| | seeds | Top-1 Cls | GT-known Loc | Top-1 Loc | Top-1 Loc, fixed 0.2 | "
    "Top-1 Loc, oracle | MaxBoxAccV2 |"
)
RULE = "| --- |" + " ---: |" * 7


def of(rows: Iterable[Row], run: str, read: str) -> list[Row]:
    """Returns the rows of a run and read, by seed."""
    found = [row for row in rows if row["run"] == run and row["read"] == read]
    return sorted(found, key=lambda row: int(row["seed"]))


def line(name: str, runs: list[Row], first: list[Row]) -> str:
    """Returns the line of a table.

    Args:
        name: What stands in front.
        runs: A row for each seed.
        first: What they are compared with; nothing if empty.

    Returns:
        Markdown.
    """
    cells = [name, str(len(runs))]
    for measure in MEASURES:
        cells.append(mean(runs, column_of(measure)) + difference(runs, first, measure))
    cells += [
        mean(runs, column)
        for column in ("fixed_top1_loc", "oracle_top1_loc", "max_box_acc_v2")
    ]
    return "| " + " | ".join(cells) + " |"


def column_of(measure: str) -> str:
    """The column of a measure: at the tuned threshold, but for classes."""
    return measure if measure == "top1_cls" else f"tuned_{measure}"


def hits(row: Row, measure: str) -> np.ndarray:
    """Returns which images a row has right, boolean `(N,)`."""
    count = int(row["num_images"])
    right = {
        "top1_cls": ["class_bits"],
        "gt_known_loc": ["box_bits"],
        "top1_loc": ["class_bits", "box_bits"],
    }[measure]
    return np.logical_and.reduce([hits_of(row[bits], count) for bits in right])


def difference(runs: list[Row], first: list[Row], measure: str) -> str:
    """Returns the difference to other rows and its interval, in brackets."""
    found = interval(runs, first, measure) if first else None
    if found is None:
        return ""
    low, middle, high = found
    star = r"\*" if low > 0 or high < 0 else ""
    return f" ({100 * middle:+.1f}; {100 * low:+.1f} to {100 * high:+.1f}{star})"


def interval(
    runs: list[Row], first: list[Row], measure: str
) -> tuple[float, float, float] | None:
    """Returns low end, difference and high end; None where all images are the same."""
    mine, theirs = (
        np.stack([hits(row, measure) for row in each]) for each in (runs, first)
    )
    if mine.shape == theirs.shape and (mine == theirs).all():
        return None
    low, high = difference_interval(mine, theirs)
    return low, mine.mean() - theirs.mean(), high


def mean(runs: list[Row], column: str) -> str:
    """Returns the mean of a column in per cent; `-` where no row has it."""
    values = [float(row[column]) for row in runs if row.get(column)]
    return f"{100 * np.mean(values):.1f}" if values else "-"
