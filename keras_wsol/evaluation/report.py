"""The result of an evaluation: figures, how they came about, and how to print them."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class AtThreshold:
    """Localization at one threshold of the score map. All figures are in [0, 1].

    Attributes:
        cam_threshold: The threshold.
        gt_known_loc: Share of images whose box of the true class is right.
        top1_loc: Share of images whose class and box are right.
        gt_known_interval: Bootstrap 95 % interval of `gt_known_loc`.
        top1_interval: Bootstrap 95 % interval of `top1_loc`.
    """

    cam_threshold: float
    gt_known_loc: float
    top1_loc: float
    gt_known_interval: tuple[float, float]
    top1_interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a model is worth on a split, by the field's protocols.

    All figures are shares in [0, 1]; printed tables give per cent.

    Attributes:
        model: Name of the model.
        dataset: Name of the data set.
        split: Name of the split the figures are of.
        view: `"whole"` or `"center_crop"`; figures of different views must not be
            compared.
        num_images: Images that count.
        num_skipped: Images that could not be read and do not count.
        top1_cls: Share of images whose top class is right.
        top5_cls: Share of images whose class is among the top five.
        fixed: At the threshold of the localizer.
        tuned: At the threshold that was best on another split; `None` if none was
            given.
        oracle: At the best threshold on this very split: an upper bound, no result.
        max_box_acc_v2: See `metrics.MaxBoxAccV2`.
        centre: The same of a centred Gaussian: `fixed`, `tuned`, `oracle` GT-known
            Loc and `max_box_acc_v2`.
        thresholds: Threshold of each point of the curve.
        gt_known_curve: GT-known Loc at each threshold.
        iou: IoU of each image's box of the true class at the tuned threshold, or at
            the fixed one where none was tuned, in the order of the split; NaN for
            skipped images.
        notes: How splits and thresholds were chosen.
    """

    model: str
    dataset: str
    split: str
    view: str
    num_images: int
    num_skipped: int
    top1_cls: float
    top5_cls: float
    fixed: AtThreshold
    tuned: AtThreshold | None
    oracle: AtThreshold
    max_box_acc_v2: float
    centre: Mapping[str, float]
    thresholds: np.ndarray = field(repr=False)
    gt_known_curve: np.ndarray = field(repr=False)
    iou: np.ndarray = field(repr=False)
    notes: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain Python values, without curves and images."""
        left_out = {"thresholds", "gt_known_curve", "iou"}
        values = {k: v for k, v in asdict(self).items() if k not in left_out}
        return json.loads(json.dumps(values))

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns the figures as JSON, and writes them if a path is given.

        Args:
            path: Optional path of a file; its folder is made.

        Returns:
            The text.
        """
        return _written(json.dumps(self.to_dict(), indent=2) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """Returns a header and one row, and writes them if a path is given.

        Args:
            path: Optional path of a file; its folder is made.

        Returns:
            The text.
        """
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self.to_row()), lineterminator="\n")
        writer.writeheader()
        writer.writerow(self.to_row())
        return _written(buffer.getvalue(), path)

    def to_row(self) -> dict[str, Any]:
        """Returns the figures as one flat row, shares rounded to four digits."""
        row: dict[str, Any] = {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "view": self.view,
            "num_images": self.num_images,
            "num_skipped": self.num_skipped,
            "top1_cls": round(self.top1_cls, 4),
            "top5_cls": round(self.top5_cls, 4),
        }
        for name in ("fixed", "tuned", "oracle"):
            at = getattr(self, name)
            row[f"{name}_threshold"] = "" if at is None else round(at.cam_threshold, 4)
            row[f"{name}_gt_known_loc"] = (
                "" if at is None else round(at.gt_known_loc, 4)
            )
            row[f"{name}_top1_loc"] = "" if at is None else round(at.top1_loc, 4)
        main = self.tuned or self.fixed
        for name, (low, high) in (
            ("gt_known_interval", main.gt_known_interval),
            ("top1_interval", main.top1_interval),
        ):
            row[name] = f"{low:.4f}-{high:.4f}"
        row["max_box_acc_v2"] = round(self.max_box_acc_v2, 4)
        row |= {f"centre_{name}": round(v, 4) for name, v in self.centre.items()}
        return row

    def to_markdown(self) -> str:
        """Returns a table in per cent: the model and the centre baseline.

        Returns:
            The text of the table, with a line above that names split and view.
        """
        return markdown_table([self])


def markdown_table(reports: list[Report]) -> str:
    """Puts reports on the same split and view into one table, in per cent.

    Args:
        reports: At least one report.

    Returns:
        The text; the last row is the centred Gaussian.

    Raises:
        ValueError: The reports are of different splits or views.
    """
    kinds = {(report.dataset, report.split, report.view) for report in reports}
    if len(kinds) != 1:
        raise ValueError(
            "One table holds reports on one split in one view. Received: "
            f"{sorted(kinds)}."
        )
    first = reports[0]
    any_tuned = any(report.tuned for report in reports)
    columns = ["fixed", "tuned", "oracle"] if any_tuned else ["fixed", "oracle"]
    header = ["", "Top-1 Cls"]
    header += [f"GT-known ({name})" for name in columns]
    header += [f"Top-1 Loc ({name})" for name in columns] + ["MaxBoxAccV2"]
    rows = [_row(report, columns) for report in reports]
    centre = ["centre Gaussian", "-"]
    centres = {name: v for report in reports for name, v in report.centre.items()}
    centre += [_percent(centres[name]) for name in columns]
    centre += ["-"] * len(columns) + [_percent(first.centre["max_box_acc_v2"])]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows, centre]
    title = (
        f"{first.dataset}, {first.split}, view {first.view}, {first.num_images} images"
    )
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


def _row(report: Report, columns: list[str]) -> list[str]:
    found = [getattr(report, name) for name in columns]
    return [
        report.model,
        _percent(report.top1_cls),
        *("-" if at is None else _percent(at.gt_known_loc) for at in found),
        *("-" if at is None else _percent(at.top1_loc) for at in found),
        _percent(report.max_box_acc_v2),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return text
