"""A report as one page that needs no network and no other file."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePath
from typing import Any

import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.evaluation.tables import THRESHOLD_KINDS, name_of, percent
from keras_wsol.viz import overlay

# Of the curve, in units of its drawing.
_WIDTH, _HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 58, 44
_LINE_OF_TEXT = 17
# A score map is smooth: more cells would make the page larger and show no more.
_LONGER_SIDE_OF_MAP = 128
# So many times as many images are kept on the way as are asked for: the last choice
# among them is the more even, the more there are.
_SPARE_IMAGES = 4


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
        "percent": percent,
        "shortened": lambda number: f"{float(number):.2f}" if number else "",
        "unbroken": lambda x: x.replace("Top-", "Top\u2011").replace("GT-", "GT\u2011"),
    }
    file = resources.files("keras_wsol.evaluation").joinpath("page.html")
    template = environment.from_string(file.read_text(encoding="utf-8"))
    shown = [_shown(image, report) for image in report.gallery]
    return template.render(report=report, curve=_curve(report), gallery=shown)


def _curve(report: Any) -> dict[str, Any]:
    """Where lines, marks and texts of the threshold curve stand."""
    marks = []
    # Each name has a line of its own, since thresholds may lie close to each other.
    for line, name in enumerate(reversed(THRESHOLD_KINDS)):
        at = getattr(report, name)
        if at is None:
            continue
        side, gap = ("end", -5) if at.cam_threshold > 0.5 else ("start", 5)
        text = f"{name} {at.cam_threshold:.2f}: {percent(at.gt_known_loc)} %"
        mark = {"x": _x(at.cam_threshold), "y": _y(at.gt_known_loc), "text": text}
        top = _TOP - 42 + _LINE_OF_TEXT * line
        marks.append({**mark, "top": top, "side": side, "gap": gap})
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _x(0),
        "right": _x(1),
        "bottom": _y(0),
        "first_line": _TOP - 42,
        "grid": [(fifth / 5, _x(fifth / 5), _y(fifth / 5)) for fifth in range(6)],
        "gt_known": _points(report.thresholds, report.gt_known_curve),
        "top1_loc": _points(report.thresholds, report.top1_loc_curve),
        "marks": marks,
    }


def _points(thresholds: np.ndarray, shares: np.ndarray) -> str:
    pairs = zip(thresholds, shares, strict=True)
    return " ".join(f"{_x(threshold)},{_y(share)}" for threshold, share in pairs)


def _x(threshold: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * float(threshold), 1)


def _y(share: float) -> float:
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * float(share), 1)


def _shown(image: "GalleryImage", report: Any) -> dict[str, Any]:
    """What the page shows of an image."""
    images, n = report.images, image.index
    path, names = str(images.paths[n]), report.class_names
    return {
        "path": path,
        "file": PurePath(path).name,
        "true_name": name_of(images.class_ids[n], names),
        "predicted": name_of(images.predicted_ids[n], names),
        "class_right": bool(images.ranks[n] == 0),
        "outcome": str(images.errors[n]),
        "iou": _number(images.iou[n, images.kept]),
        "score": _number(images.scores[n]),
        "photo": _data_url(image.jpeg),
        "heat": _data_url(_heat(image.score_map)),
        "rects": [
            *_rects("true", images.true_boxes[n]),
            *_rects("found", images.boxes[n][None]),
        ],
    }


def _rects(kind: str, boxes: np.ndarray) -> Iterator[tuple[str, *tuple[float, ...]]]:
    for x0, y0, x1, y1 in np.asarray(boxes, dtype=float).tolist():
        if x0 >= 0 and x1 > x0 and y1 > y0:  # else padding, or no box was found
            yield kind, x0, y0, x1 - x0, y1 - y0


def _heat(score_map: np.ndarray) -> bytes:
    scale = min(1.0, _LONGER_SIDE_OF_MAP / max(score_map.shape))
    height, width = (max(1, round(scale * side)) for side in score_map.shape)
    black, scores = np.zeros((height, width, 3), "uint8"), np.float32(score_map) / 255
    return to_jpeg(overlay(black, scores, alpha=1.0), quality=80)


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _number(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else ""


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
