"""Reports as Markdown, as CSV, and as one page that needs no other file."""

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePath
from typing import Any

import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.viz import overlay


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


# A score map is smooth: more cells would make the page larger and show no more.
_LONGER_SIDE_OF_MAP = 128
_SPARE_IMAGES = 4  # times as many are kept on the way: the last choice is more even


def html_of(report: Any) -> str:
    """Returns the page, with tables, curves, and images that can be sorted."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "file": lambda path: PurePath(path).name,
        "heat": _heat,
        "name": lambda class_id: name_of(class_id, report.class_names),
        "number": lambda value: f"{value:.4f}" if np.isfinite(value) else "",
        "percent": percent,
        "shortened": lambda number: f"{float(number):.2f}" if number else "",
        "unbroken": lambda x: x.replace("Top-", "Top\u2011").replace("GT-", "GT\u2011"),
        "url": lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "x": lambda threshold: round(44 + 424 * float(threshold), 1),
        "y": lambda share: round(286 - 228 * float(share), 1),
    }
    file = resources.files("keras_wsol.evaluation").joinpath("page.html")
    template = environment.from_string(file.read_text(encoding="utf-8"))
    outcomes = {report.images.errors[image.index] for image in report.gallery}
    return template.render(report=report, outcomes=sorted(outcomes))


def _heat(score_map: np.ndarray) -> bytes:
    scale = min(1.0, _LONGER_SIDE_OF_MAP / max(score_map.shape))
    height, width = (max(1, round(scale * side)) for side in score_map.shape)
    black, scores = np.zeros((height, width, 3), "uint8"), np.float32(score_map) / 255
    return to_jpeg(overlay(black, scores, alpha=1.0), quality=80)


# Images kept while a split is measured


@dataclass(frozen=True, eq=False, kw_only=True)
class GalleryImage:
    """An image kept for the page: its row, a JPEG file, and the map in 255 steps."""

    index: int
    jpeg: bytes = field(repr=False)
    score_map: np.ndarray = field(repr=False)


class EvenSample:
    """Keeps images evenly spread over a stream whose length is not known."""

    def __init__(self, count: int) -> None:
        self._count = check_integer("gallery", count, low=0)
        self._step = 1
        self._kept: list[GalleryImage] = []

    def __call__(
        self, index: int, path: str, image: np.ndarray, score_map: np.ndarray
    ) -> None:
        """Adds an image, if it may be one of those that stay."""
        if not self._count or index % self._step:
            return
        grey = np.rint(np.clip(np.nan_to_num(score_map, nan=0.0), 0, 1) * 255)
        grey, jpeg = grey.astype("uint8"), to_jpeg(image)
        self._kept.append(GalleryImage(index=index, jpeg=jpeg, score_map=grey))
        while len(self._kept) > _SPARE_IMAGES * self._count:
            self._step *= 2
            self._kept = [x for x in self._kept if x.index % self._step == 0]

    def images(self) -> tuple[GalleryImage, ...]:
        """Returns the images asked for; all there are, if they are fewer."""
        if len(self._kept) <= self._count:
            return tuple(self._kept)
        places = np.linspace(0, len(self._kept) - 1, self._count)
        return tuple(self._kept[place] for place in np.rint(places).astype(int))


def to_jpeg(image: np.ndarray, quality: int = 85) -> bytes:
    """Returns an image in [0, 255] as a JPEG file."""
    from PIL import Image

    pixels = np.rint(np.clip(np.nan_to_num(image), 0, 255)).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
