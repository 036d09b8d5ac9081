"""The result of an evaluation: figures, how they came about, and how to print them."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.evaluation.at_threshold import AtThreshold
from keras_wsol.evaluation.image_results import ClassRow, GalleryImage, ImageResults
from keras_wsol.evaluation.written import write_text

# What is kept by image, by point of a curve or by class: too long for a summary.
_LEFT_OUT = frozenset(
    (
        *("thresholds", "gt_known_curve", "top1_loc_curve", "iou", "results"),
        *("per_class", "class_names", "gallery"),
    )
)


@dataclass(frozen=True, eq=False, kw_only=True)
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
        max_box_acc_v2: See `metrics.MaxBoxAccV2`; at each IoU the threshold that is
            best on this very split.
        centre: The same of a centred Gaussian: `fixed`, `tuned`, `oracle` GT-known
            Loc and `max_box_acc_v2`.
        baselines: `gt_known_loc` and `max_box_acc_v2` of boxes that look at no image
            and need no threshold: `"whole image"`, the box of the view, and
            `"random box"`, the mean over boxes between two uniform points.
        px_ap: See `metrics.PxAP`; `None` without masks.
        thresholds: Threshold of each point of the curve.
        gt_known_curve: GT-known Loc at each threshold.
        iou: IoU of each image's box of the true class at the tuned threshold, or at
            the fixed one where none was tuned, in the order of the split; NaN for
            skipped images.
        notes: How splits and thresholds were chosen, and what the localizer reads if it
            is no plain class activation map.
        results: What came of each image.
        per_class: A row for each class that has an image, by class id, at the
            main threshold (tuned, or else fixed).
        errors: Share of the images with each outcome at the main threshold: the
            words of `box_errors`.
        class_names: Names by class id; empty where they are not known.
        gallery: Images kept to be looked at, as many as `evaluate` was asked for.
        image_size: Height and width of the view, in whose pixels boxes are.
        top1_loc_curve: Top-1 Loc at each threshold; `None` if not known.
        errors_by_class: `errors` once more, each word's share parted by whether the
            top class is `"right"` or `"wrong"`, as shares of all images:
            `["too small"]["wrong"]`.
        top1_cls_interval: Bootstrap 95 % interval of `top1_cls`.
        max_box_acc_v2_interval: Bootstrap 95 % interval of `max_box_acc_v2`, with the
            thresholds held fixed.
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
    results: ImageResults | None = field(default=None, repr=False)
    per_class: tuple[ClassRow, ...] = field(default=(), repr=False)
    errors: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] = field(default=(), repr=False)
    gallery: tuple[GalleryImage, ...] = field(default=(), repr=False)
    image_size: tuple[int, int] | None = None
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    px_ap: float | None = None
    top1_loc_curve: np.ndarray | None = field(default=None, repr=False)
    errors_by_class: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict, repr=False
    )
    top1_cls_interval: tuple[float, float] | None = None
    max_box_acc_v2_interval: tuple[float, float] | None = None

    @property
    def main(self) -> AtThreshold:
        """Figures at the main threshold: the tuned one, or else the fixed one."""
        return self.tuned or self.fixed

    @property
    def class_and_box(self) -> dict[str, dict[str, float]]:
        """Shares of the images by class and box, right or wrong, at the main threshold.

        `["right"]["wrong"]` is the share whose class is right and whose box is wrong.
        """
        both, box = self.main.top1_loc, self.main.gt_known_loc
        return {
            "right": {"right": both, "wrong": self.top1_cls - both},
            "wrong": {"right": box - both, "wrong": 1 - self.top1_cls - box + both},
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain Python values.

        Curves, classes and images are left out: see `curve_csv`, `class_table_csv`
        and `image_table_csv`.
        """
        kept = {k: v for k, v in vars(self).items() if k not in _LEFT_OUT}
        return json.loads(json.dumps(kept, default=asdict))

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
        row = self.to_row()
        return _written(_csv(list(row), [row]), path)

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
        for name, (low, high) in (
            ("gt_known_interval", self.main.gt_known_interval),
            ("top1_interval", self.main.top1_interval),
        ):
            row[name] = f"{low:.4f}-{high:.4f}"
        row["max_box_acc_v2"] = round(self.max_box_acc_v2, 4)
        row |= {f"centre_{name}": round(v, 4) for name, v in self.centre.items()}
        for baseline, figures in self.baselines.items():
            name = baseline.replace(" ", "_")
            row |= {f"{name}_{key}": round(v, 4) for key, v in figures.items()}
        row |= {
            f"share_{name.replace(' ', '_')}": round(share, 4)
            for name, share in self.errors.items()
        }
        if self.px_ap is not None:
            row["px_ap"] = round(self.px_ap, 4)
        return row | self._row_where_known()

    def _row_where_known(self) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name in ("top1_cls_interval", "max_box_acc_v2_interval"):
            interval = getattr(self, name)
            if interval is not None:
                row[name] = "{:.4f}-{:.4f}".format(*interval)
        for name in ("fixed", "tuned", "oracle"):
            for figure in ("top5_loc", "mean_iou"):
                value = getattr(getattr(self, name), figure, None)
                if value is not None:
                    row[f"{name}_{figure}"] = round(value, 4)
        return row

    def curve_csv(self, path: str | Path | None = None) -> str:
        """Returns a table with a row a threshold, and writes it if a path is given.

        Args:
            path: Optional path of a file; its folder is made.

        Returns:
            The text: threshold, GT-known Loc and, where it is known, Top-1 Loc.
        """
        columns = {
            "cam_threshold": self.thresholds,
            "gt_known_loc": self.gt_known_curve,
            "top1_loc": self.top1_loc_curve,
        }
        columns = {k: v for k, v in columns.items() if v is not None}
        rows = [
            dict(zip(columns, (round(float(x), 6) for x in values), strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        return _written(_csv(list(columns), rows), path)

    def image_table_csv(self, path: str | Path | None = None) -> str:
        """Returns a table with a row an image, and writes it if a path is given.

        Args:
            path: Optional path of a file; its folder is made.

        Returns:
            The text; see `ImageResults.to_csv`.

        Raises:
            ValueError: The report holds no results by image.
        """
        if self.results is None:
            raise ValueError(
                f"The report on {self.model!r} holds no results by image. Those of "
                "`evaluate` do."
            )
        return _written(self.results.to_csv(self.class_names), path)

    def class_table_csv(self, path: str | Path | None = None) -> str:
        """Returns a table with a row a class, and writes it if a path is given.

        Args:
            path: Optional path of a file; its folder is made.

        Returns:
            The text, with the columns of `ClassRow`.
        """
        names = [each.name for each in fields(ClassRow)]
        return _written(_csv(names, [asdict(row) for row in self.per_class]), path)

    def to_markdown(self) -> str:
        """Returns a table in per cent: the model and the baselines.

        Returns:
            The text of the table, with a line above that names split and view; see
            `markdown_table`.
        """
        from keras_wsol.evaluation.tables import markdown_table

        return markdown_table([self])

    def to_html(self, path: str | Path) -> None:
        """Writes a page with tables, curves and the images of the gallery.

        Args:
            path: Path of the file, which holds all it needs; its folder is made.
        """
        from keras_wsol.evaluation.page import write_page

        write_page(self, path)


def _csv(names: list[str], rows: list[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_text(text, path)
    return text
