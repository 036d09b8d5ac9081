"""A report as one page that needs no network and no other file."""

import base64
import io
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePath
from typing import Any

import numpy as np

from keras_wsol.arguments import check_integer
from keras_wsol.evaluation.tables import name_of, percent
from keras_wsol.viz import overlay

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
