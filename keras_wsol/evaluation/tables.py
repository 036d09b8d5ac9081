"""Reports side by side in one table."""

from collections.abc import Sequence

from keras_wsol.evaluation.at_threshold import AtThreshold
from keras_wsol.evaluation.report import Report

NOTE = (
    "Per cent, in brackets bootstrap 95 % intervals. MaxBoxAccV2 takes, at each IoU, "
    "the threshold that is best on this split."
)


def markdown_table(reports: Sequence[Report]) -> str:
    """Puts reports on the same split and view into one table, in per cent.

    GT-known Loc and Top-1 Loc at the main threshold (tuned, or else fixed) are followed
    by their bootstrap 95 % interval. The last rows are the baselines, which look at no
    image: the centred Gaussian, the box of the whole image, and the mean of random
    boxes. The Gaussian is cut at the thresholds of a report, so it has a row for each
    report where these differ.

    Args:
        reports: At least one report.

    Returns:
        The text: a line that names split and view, the table, and a line that says
        what its figures are.

    Raises:
        ValueError: There is no report, or they are of different splits or views.
    """
    kinds = {(report.dataset, report.split, report.view) for report in reports}
    if len(kinds) != 1:
        raise ValueError(
            "One table holds reports on one split in one view. Received: "
            f"{sorted(kinds)}."
        )
    any_tuned = any(report.tuned for report in reports)
    columns = ["fixed", "tuned", "oracle"] if any_tuned else ["fixed", "oracle"]
    header = ["", "Top-1 Cls"]
    header += [f"GT-known ({name})" for name in columns]
    header += [f"Top-1 Loc ({name})" for name in columns] + ["MaxBoxAccV2"]
    with_masks = any(report.px_ap is not None for report in reports)
    header += ["PxAP"] if with_masks else []
    rows = [_row(report, columns) for report in reports]
    rows += _centre_rows(reports, columns) + _box_rows(reports, columns)
    if with_masks:
        cells = [_percent(report.px_ap) for report in reports]
        cells += ["-"] * (len(rows) - len(cells))
        rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
    first = reports[0]
    counts = sorted({report.num_images for report in reports})
    count = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    title = f"{first.dataset}, {first.split}, view {first.view}, {count} images"
    return "\n".join([title, "", *markdown_lines(header, rows), "", NOTE])


def markdown_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Writes the lines of a Markdown table whose first column is text."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *escaped)]


def _row(report: Report, columns: Sequence[str]) -> list[str]:
    found: list[AtThreshold | None] = [getattr(report, name) for name in columns]
    return [
        report.model,
        _percent(report.top1_cls),
        *(_at_cell(at, "gt_known_loc", "gt_known_interval", report) for at in found),
        *(_at_cell(at, "top1_loc", "top1_interval", report) for at in found),
        _percent(report.max_box_acc_v2),
    ]


def _at_cell(at: AtThreshold | None, figure: str, interval: str, report: Report) -> str:
    if at is None:
        return "-"
    cell = _percent(getattr(at, figure))
    if at is not report.main:
        return cell
    low, high = getattr(at, interval)
    return f"{cell} ({_percent(low)}-{_percent(high)})"


def _centre_rows(reports: Sequence[Report], columns: Sequence[str]) -> list[list[str]]:
    names = [*columns, "max_box_acc_v2"]
    by_column = [
        {report.centre[name] for report in reports if name in report.centre}
        for name in names
    ]
    if all(len(values) <= 1 for values in by_column):
        label = "centre Gaussian"
        shares = [next(iter(values), None) for values in by_column]
        return [_baseline_row(label, shares, columns)]
    return [
        _baseline_row(
            f"centre Gaussian, as {report.model}",
            [report.centre.get(name) for name in names],
            columns,
        )
        for report in reports
    ]


def _box_rows(reports: Sequence[Report], columns: Sequence[str]) -> list[list[str]]:
    """They are the same in all reports, unless some lack images: one row each."""
    found = next((report.baselines for report in reports if report.baselines), {})
    return [
        _baseline_row(
            name,
            [figures["gt_known_loc"]] * len(columns) + [figures["max_box_acc_v2"]],
            columns,
        )
        for name, figures in found.items()
    ]


def _baseline_row(
    label: str, shares: Sequence[float | None], columns: Sequence[str]
) -> list[str]:
    cells = [_percent(share) for share in shares]
    return [label, "-", *cells[:-1], *["-"] * len(columns), cells[-1]]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
