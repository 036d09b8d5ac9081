"""Reports as Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

THRESHOLD_KINDS = ("fixed", "tuned", "oracle")

REPORT_NOTE = (
    "Per cent, in brackets bootstrap 95 % intervals. MaxBoxAccV2 takes, at each IoU, "
    "the threshold that is best on this split."
)


def percent(share: float | None) -> str:
    """Writes a share in per cent, with one digit."""
    return "-" if share is None else f"{100 * share:.1f}"


def name_of(class_id: int, class_names: Sequence[str]) -> str:
    """Returns the name of a class; its id where names are not known."""
    if 0 <= class_id < len(class_names):
        return class_names[class_id]
    return "" if class_id < 0 else str(class_id)


# Markdown


def to_markdown(reports: Sequence[Any]) -> str:
    """Puts reports on the same split and view into one table, in per cent."""
    kinds = {(report.dataset, report.split, report.view) for report in reports}
    if len(kinds) != 1:
        raise ValueError(
            "One table holds reports on one split in one view. Received: "
            f"{sorted(kinds)}."
        )
    columns = [x for x in THRESHOLD_KINDS if any(getattr(r, x) for r in reports)]
    header = ["", "Top-1 Cls"]
    header += [f"GT-known ({name})" for name in columns]
    header += [f"Top-1 Loc ({name})" for name in columns] + ["MaxBoxAccV2"]
    rows = [_row_of(report, columns) for report in reports]
    rows += _centre_rows(reports, columns) + _box_rows(reports, columns)
    if any(report.px_ap is not None for report in reports):
        header += ["PxAP"]
        cells = [percent(report.px_ap) for report in reports]
        cells += ["-"] * (len(rows) - len(cells))
        rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
    first = reports[0]
    counts = sorted({report.num_images for report in reports})
    count = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    title = f"{first.dataset}, {first.split}, view {first.view}, {count} images"
    return "\n".join([title, "", *markdown_lines(header, rows), "", REPORT_NOTE])


def markdown_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Writes the lines of a Markdown table whose first column is text."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *escaped)]


def _row_of(report: Any, columns: Sequence[str]) -> list[str]:
    cells = [report.model, percent(report.top1_cls)]
    for figure, interval in (
        ("gt_known_loc", "gt_known_interval"),
        ("top1_loc", "top1_interval"),
    ):
        for at in (getattr(report, name) for name in columns):
            cell = percent(None if at is None else getattr(at, figure))
            if at is not None and at is report.main:
                cell += " ({}-{})".format(*map(percent, getattr(at, interval)))
            cells.append(cell)
    return [*cells, percent(report.max_box_acc_v2)]


def _centre_rows(reports: Sequence[Any], columns: Sequence[str]) -> list[list[str]]:
    """One row, or one a report where reports cut the Gaussian at other thresholds."""
    names = [*columns, "max_box_acc_v2"]
    found = {n: {r.centre[n] for r in reports if n in r.centre} for n in names}
    if all(len(values) <= 1 for values in found.values()):
        shares = [next(iter(found[name]), None) for name in names]
        return [_baseline_row("centre Gaussian", shares)]
    return [
        _baseline_row(
            f"centre Gaussian, as {report.model}", [report.centre.get(n) for n in names]
        )
        for report in reports
    ]


def _box_rows(reports: Sequence[Any], columns: Sequence[str]) -> list[list[str]]:
    found = next((report.baselines for report in reports if report.baselines), {})
    return [
        _baseline_row(
            name, [each["gt_known_loc"]] * len(columns) + [each["max_box_acc_v2"]]
        )
        for name, each in found.items()
    ]


def _baseline_row(label: str, shares: Sequence[float | None]) -> list[str]:
    *cells, last = map(percent, shares)
    return [label, "-", *cells, *["-"] * len(cells), last]


# CSV


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes rows of the same columns, with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def figure_rows(report: Any) -> list[dict[str, Any]]:
    """Returns the figures as one flat row, shares rounded to four digits."""
    names = ("model", "dataset", "split", "view", "num_images", "num_left_out")
    row = {name: getattr(report, name) for name in names}
    shares = {"top1_cls": report.top1_cls, "top5_cls": report.top5_cls}
    for name in THRESHOLD_KINDS:
        at = getattr(report, name)
        for key, attribute in (
            ("threshold", "cam_threshold"),
            *((x, x) for x in ("gt_known_loc", "top1_loc", "top5_loc", "mean_iou")),
        ):
            shares[f"{name}_{key}"] = None if at is None else getattr(at, attribute)
    shares["max_box_acc_v2"] = report.max_box_acc_v2
    shares |= {f"centre_{name}": share for name, share in report.centre.items()}
    for baseline, figures in report.baselines.items():
        name = baseline.replace(" ", "_")
        shares |= {f"{name}_{key}": share for key, share in figures.items()}
    for name, share in report.errors.items():
        shares[f"share_{name.replace(' ', '_')}"] = share
    if report.px_ap is not None:
        shares["px_ap"] = report.px_ap
    row |= {name: "" if x is None else round(x, 4) for name, x in shares.items()}
    intervals = {
        "gt_known_interval": report.main.gt_known_interval,
        "top1_interval": report.main.top1_interval,
        "top1_cls_interval": report.top1_cls_interval,
        "max_box_acc_v2_interval": report.max_box_acc_v2_interval,
    }
    return [row | {name: "{:.4f}-{:.4f}".format(*x) for name, x in intervals.items()}]


def curve_rows(report: Any) -> list[dict[str, float]]:
    """Returns a row a threshold."""
    columns = {
        "cam_threshold": report.thresholds,
        "gt_known_loc": report.gt_known_curve,
        "top1_loc": report.top1_loc_curve,
    }
    return [
        {name: round(float(x), 6) for name, x in zip(columns, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]


def class_rows(report: Any) -> list[dict[str, Any]]:
    """Returns a row a class."""
    return list(report.per_class)


def image_rows(report: Any) -> list[dict[str, Any]]:
    """Returns a row an image; true boxes stand in one field, parted by semicolons."""
    images, names, rows = report.images, report.class_names, []
    for n, path in enumerate(images.paths):
        sides = dict(zip(("x0", "y0", "x1", "y1"), images.boxes[n], strict=True))
        true_boxes = images.true_boxes[n][images.true_boxes[n][:, 0] >= 0]
        rows.append(
            {
                "path": path,
                "class": name_of(images.class_ids[n], names),
                "predicted": name_of(images.predicted_ids[n], names),
                "score": _number(images.scores[n]),
                "iou": _number(images.iou[n, images.kept]),
                "error": images.errors[n],
                **{name: _number(side) for name, side in sides.items()},
                "true_boxes": ";".join(" ".join(map(_number, x)) for x in true_boxes),
            }
        )
    return rows


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")


TABLES = {
    "figures": figure_rows,
    "images": image_rows,
    "classes": class_rows,
    "curve": curve_rows,
}
