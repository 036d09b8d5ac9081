"""Which gain is noise: differences between reports on the same images.

Every method is measured on the same images, so what is compared is the difference
image by image, which varies far less than two shares with an interval each.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.evaluation.measure import ERRORS
from keras_wsol.evaluation.report import Report, difference_interval, written
from keras_wsol.evaluation.tables import csv_text, image_rows, markdown, rounded
from keras_wsol.metrics.functional import V2_IOU_THRESHOLDS

# A report, or the folder that `keras-wsol evaluate` wrote it into.
Measured = Report | str | Path

_COMPARED = {
    "top1_cls": "Top-1 Cls",
    "gt_known_loc": "GT-known Loc",
    "top1_loc": "Top-1 Loc",
    "max_box_acc_v2": "MaxBoxAccV2",
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measure of one method against the first method. Shares in [0, 1]."""

    method: str
    measure: str
    num_runs: int
    share: float
    difference: float
    interval: tuple[float, float]
    excludes_zero: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on the same images, against the first of them.

    Boxes are those at each report's main threshold; MaxBoxAccV2 has the best thresholds
    of each report, held fixed in the draws.

    Attributes:
        dataset, split, view, num_images: What all of them were measured on.
        methods: Names, the one that the others are compared with in front.
        differences: Of each method in turn, one for each measure: `method`, `measure`,
            `num_runs`, `share` (mean over runs), `difference` of it from the first
            method's, its bootstrap 95 % `interval`, and whether that `excludes_zero`.
    """

    dataset: str
    split: str
    view: str
    num_images: int
    methods: tuple[str, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain Python values."""
        return json.loads(json.dumps(asdict(self)))

    def to_csv(self, path: str | Path | None = None) -> str:
        """Returns a row for each method and measure, and writes them to a `path`."""
        rows = [asdict(each) for each in self.differences]
        for row in rows:
            row["low"], row["high"] = row.pop("interval")
        return written(csv_text([rounded(row) for row in rows]), path)

    def to_markdown(self) -> str:
        """Returns a table in per cent, in which a star marks what is no noise."""
        header = ["", "runs"]
        for each in self.differences:
            if each.method == self.methods[0]:
                header += [_COMPARED[each.measure], "difference"]
        rows = []
        for number, method in enumerate(self.methods):
            own = [each for each in self.differences if each.method == method]
            row = [method, str(own[0].num_runs)]
            for each in own:
                row += [f"{100 * each.share:.1f}", _cell(each) if number else "-"]
            rows.append(row)
        note = (
            f"Differences from {self.methods[0]} in points, with bootstrap 95 % "
            "intervals. \\* The interval excludes 0; without a star, the difference "
            "may be noise. MaxBoxAccV2: best thresholds on this split; thresholds held "
            "fixed in the draws."
        )
        return markdown(self, header, rows, note)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare(
    reports: Sequence[Measured] | Mapping[str, Measured | Sequence[Measured]],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares reports on the same images, in the same order and view.

    Each draw of the bootstrap takes as many images as there are, with replacement, the
    same for both methods, and of several runs of a method one fewer than there are
    [Rao and Wu, 1988]. Of twenty methods that are no better, one gets a star. A model
    of one class knows none, so that with others only its boxes are compared.

    Args:
        reports: At least two reports, each a method named after its model; the others
            are compared with the first. Or a dictionary, in which a method may have
            been trained several times: `{"CAM": [r1, r2, r3], "ADL": r4}`. A report may
            be a path: of a folder with its `report.json` and `images.csv`.
        draws: Integer. How often images and runs are drawn. Default 10,000.
        seed: Integer. Fixes the draws. Default 0.

    Returns:
        A `Comparison`: each figure of each method, and how far it is from the first's.

    Raises:
        ValueError: There are fewer than two methods, the reports are of different
            splits, views or images, only some of them have a tuned threshold, or a
            folder holds no report.

    Example:
        table = evaluation.compare({"CAM": plain_report, "DGDM": dgdm_report})
        table.to_markdown()
    """
    check_integer("draws", draws)
    methods = _methods(reports)
    every = [run for runs in methods.values() for run in runs]
    _check_same_images(every)
    hits = {name: np.stack([x.hits for x in runs]) for name, runs in methods.items()}
    first, *_ = hits.values()
    differences, only_boxes = [], len({x.of_one_class for x in every}) > 1
    for name, own in hits.items():
        for place, measure in enumerate(_COMPARED):
            if only_boxes and measure in ("top1_cls", "top1_loc"):
                continue
            mine, theirs = own[:, place], first[:, place]
            interval = (0.0, 0.0)
            if own is not first:
                interval = difference_interval(mine, theirs, draws, seed)
            each = Difference(
                method=name,
                measure=measure,
                num_runs=len(own),
                share=float(mine.mean()),
                difference=float(mine.mean() - theirs.mean()),
                interval=interval,
                excludes_zero=interval[0] > 0 or interval[1] < 0,
            )
            differences.append(each)
    run = every[0]
    return Comparison(
        dataset=run.dataset,
        split=run.split,
        view=run.view,
        num_images=len(run.names),
        methods=tuple(methods),
        differences=tuple(differences),
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a comparison needs of one report."""

    model: str
    dataset: str
    split: str
    view: str
    tuned: bool  # whether the main threshold is
    names: list[tuple[str, list[str]]]
    hits: np.ndarray  # shares in [0, 1] of each image, `(measures, N)`

    @property
    def of_one_class(self) -> bool:
        return len({kind for kind, _ in self.names}) == 1


def _run_of(report: Measured) -> _Run:
    """Reads a report, or what its `to_json` and `to_csv` wrote."""
    if isinstance(report, Report):
        return _run(vars(report) | {"tuned": report.tuned}, image_rows(report))
    path = Path(report)
    folder = path.parent if path.name == "report.json" else path
    try:
        figures = json.loads((folder / "report.json").read_text("utf-8"))
        with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
            return _run(figures, list(csv.DictReader(file)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a folder with report.json and images.csv of an evaluation "
            f"by this version. {type(error).__name__}: {error}"
        ) from error


def _run(figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> _Run:
    class_right = np.array([row["class"] == row["predicted"] for row in rows])
    box_right = np.array([row["error"] in ERRORS[:2] for row in rows])
    v2 = np.array([int(row["v2_right"]) for row in rows]) / len(V2_IOU_THRESHOLDS)
    # Class and last two parts of each path: the data may have been moved.
    parts = (str(row["path"]).replace("\\", "/").split("/")[-2:] for row in rows)
    return _Run(
        **{name: figures[name] for name in ("model", "dataset", "split", "view")},
        tuned=figures["tuned"] is not None,
        names=[(row["class"], part) for row, part in zip(rows, parts, strict=True)],
        hits=np.stack([class_right, box_right, class_right & box_right, v2]),
    )


def _methods(reports: Any) -> dict[str, list[_Run]]:
    methods = {}
    if isinstance(reports, Mapping):
        for name, runs in reports.items():
            runs = [runs] if isinstance(runs, Measured) else runs
            methods[name] = [_run_of(run) for run in runs]
    else:
        runs = [_run_of(report) for report in reports]
        models = [run.model for run in runs]
        for place, run in enumerate(runs):
            count = models[:place].count(run.model)
            methods[f"{run.model} ({count + 1})" if count else run.model] = [run]
    if len(methods) < 2 or not all(methods.values()):
        counts = {name: len(runs) for name, runs in methods.items()}
        raise ValueError(
            "A comparison needs at least two methods, each with at least one report. "
            f"Received: {counts}."
        )
    return methods


def _check_same_images(runs: Sequence[_Run]) -> None:
    first, *others = runs
    for other in others:
        kinds = [(x.dataset, x.split, x.view) for x in (first, other)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"A comparison is on one split in one view. Received: {kinds}."
            )
        without = [x.model for x in (first, other) if not x.tuned]
        if len(without) == 1:
            raise ValueError(
                "Either all reports of a comparison have a tuned threshold, or none. "
                f"Without: {without}."
            )
        names = first.names, other.names
        # A model of one class calls all images by it.
        if first.of_one_class or other.of_one_class:
            names = tuple([path for _, path in each] for each in names)
        if names[0] != names[1]:
            same = [one == two for one, two in zip(*names, strict=False)] + [False]
            raise ValueError(
                "A comparison is on the same images in the same order. "
                f"{other.model!r} has {len(names[1])}, {first.model!r} "
                f"{len(names[0])}; the first that differs is {same.index(False)}."
            )


def _cell(each: Difference) -> str:
    low, high = (f"{100 * value:+.1f}" for value in each.interval)
    star = r" \*" if each.excludes_zero else ""
    return f"{100 * each.difference:+.1f} ({low} to {high}){star}"
