"""Reports as Markdown and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def percent(share: float | None) -> str:
    """Writes a share in per cent, with one digit."""
    return "-" if share is None else f"{100 * share:.1f}"


def name_of(class_id: int, class_names: Sequence[str]) -> str:
    """Returns the name of a class; its id where names are not known."""
    if 0 <= class_id < len(class_names):
        return class_names[class_id]
    return "" if class_id < 0 else str(class_id)


# Markdown


def to_markdown(report: Any) -> str:
    """Puts a report and the baselines into one table, in per cent."""
    kinds = [name for name in ("fixed", "tuned", "oracle") if getattr(report, name)]
    header = ["", "Top-1 Cls", *(f"GT-known ({name})" for name in kinds)]
    header += [*(f"Top-1 Loc ({name})" for name in kinds), "MaxBoxAccV2"]
    cells = [report.model, percent(report.top1_cls)]
    for figure, interval in (
        ("gt_known_loc", "gt_known_interval"),
        ("top1_loc", "top1_interval"),
    ):
        for at in (getattr(report, name) for name in kinds):
            cells.append(percent(getattr(at, figure)))
            if at is report.main:
                cells[-1] += " ({}-{})".format(*map(percent, getattr(at, interval)))
    rows = [[*cells, percent(report.max_box_acc_v2)]]
    beaten = {"centre Gaussian": report.centre}
    for name, each in report.baselines.items():
        beaten[name] = each | dict.fromkeys(kinds, each["gt_known_loc"])
    for name, each in beaten.items():
        cells = [name, "-", *(percent(each.get(kind)) for kind in kinds)]
        cells += ["-"] * len(kinds) + [percent(each.get("max_box_acc_v2"))]
        rows.append(cells)
    if report.px_ap is not None:
        header.append("PxAP")
        rows = [[*rows[0], percent(report.px_ap)], *([*row, "-"] for row in rows[1:])]
    note = (
        "Per cent, in brackets bootstrap 95 % intervals. MaxBoxAccV2 takes, at each "
        "IoU, the threshold that is best on this split."
    )
    return markdown(report, header, rows, note)


def markdown(
    of: Any, header: Sequence[str], rows: Iterable[Sequence[str]], note: str
) -> str:
    """Writes what was measured, a table whose first column is text, and a note."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(line) + " |" for line in (header, rule, *escaped)]
    title = f"{of.dataset}, {of.split}, view {of.view}, {of.num_images} images"
    return "\n".join([title, "", *lines, "", note])


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
    figures = report.to_dict()
    for name in ("errors_by_class", "image_size", "notes"):
        del figures[name]
    if figures["tuned"] is None:
        figures["tuned"] = dict.fromkeys(figures["fixed"])
    return [rounded(dict(_flat(figures)))]


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        column = prefix + name.replace(" ", "_")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{column}_")
        elif isinstance(value, list):
            yield column, "-".join(f"{end:.4f}" for end in value)
        else:
            yield column, value


def rounded(row: Mapping[str, Any], digits: int = 4) -> dict[str, Any]:
    """Rounds the floats of a row."""
    return {k: round(v, digits) if isinstance(v, float) else v for k, v in row.items()}


def curve_rows(report: Any) -> list[dict[str, float]]:
    """Returns a row a threshold."""
    columns = (report.thresholds, report.gt_known_curve, report.top1_loc_curve)
    names = ("cam_threshold", "gt_known_loc", "top1_loc")
    rows = np.stack(columns, axis=1).tolist()
    return [rounded(dict(zip(names, row, strict=True)), 6) for row in rows]


def image_rows(report: Any) -> list[dict[str, Any]]:
    """Returns a row an image; true boxes stand in one field, parted by semicolons."""
    images, names, rows = report.images, report.class_names, []
    for n, path in enumerate(images.paths):
        sides = zip(("x0", "y0", "x1", "y1"), images.boxes[n], strict=True)
        true_boxes = images.true_boxes[n][images.true_boxes[n][:, 0] >= 0]
        row = {
            "path": path,
            "class": name_of(images.class_ids[n], names),
            "predicted": name_of(images.predicted_ids[n], names),
            "score": _number(images.scores[n]),
            "iou": _number(images.iou[n, images.kept]),
            "v2_right": int(report.v2_hits[n].sum()),
            "error": images.errors[n],
            **{name: _number(side) for name, side in sides},
            "true_boxes": ";".join(" ".join(map(_number, x)) for x in true_boxes),
        }
        rows.append(row)
    return rows


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")


TABLES = {
    "figures": figure_rows,
    "images": image_rows,
    "classes": lambda report: report.per_class,
    "curve": curve_rows,
}
