"""The images of a report's page."""

import base64
import io
from collections.abc import Iterable
from html import escape
from pathlib import PurePath

import numpy as np

from keras_wsol.evaluation.image_results import GalleryImage, ImageResults, name_of
from keras_wsol.evaluation.report import Report
from keras_wsol.viz import overlay

# A score map is smooth: more cells would make the page larger and show no more.
_LONGER_SIDE_OF_MAP = 128
_SORTS = {"iou": ("IoU", "number"), "class": ("class", "text")}
_SORTS |= {"score": ("score", "number")}


def gallery(report: Report) -> str:
    """Each image with its score map, boxes, classes and what came of it.

    Args:
        report: The report.

    Returns:
        HTML; empty where the report holds no images.
    """
    if not report.gallery or report.results is None:
        return ""
    sorts = "\n".join(
        f'<button type="button" data-sort="{key}" data-kind="{kind}">{name}</button>'
        for key, (name, kind) in _SORTS.items()
    )
    outcomes = [str(report.results.errors[image.index]) for image in report.gallery]
    others = sorted(set(outcomes) - {"right"})
    choices = {"": "all", "right": "right", "wrong": "wrong, any kind"}
    choices |= {name: name for name in others}
    options = "".join(
        f'<option value="{escape(value)}">{escape(name)}</option>'
        for value, name in choices.items()
    )
    figures = "\n".join(_figure(image, report) for image in report.gallery)
    return f"""<h2>Images</h2>
<p class="quiet"><span class="key true"><span>true box</span></span> &nbsp; \
<span class="key found"><span>predicted box of the true class</span></span></p>
<p class="quiet">A click on an image shows or hides its score map.</p>
<div class="controls">
<span>Sort by
{sorts}</span>
<label>Show <select id="filter">{options}</select></label>
<label><input type="checkbox" id="maps"> score maps</label>
<span id="shown" class="quiet"></span>
</div>
<div id="gallery">
{figures}
</div>"""


def _figure(image: GalleryImage, report: Report) -> str:
    results, n = report.results, image.index
    true_name = name_of(results.class_ids[n], report.class_names)
    predicted = name_of(results.predicted_ids[n], report.class_names)
    iou, score = results.iou[n], results.scores[n]
    outcome = escape(str(results.errors[n]))
    path = str(results.paths[n])
    return f"""<figure data-iou="{_number(iou)}" data-score="{_number(score)}" \
data-class="{escape(true_name)}" data-outcome="{outcome}">
<button type="button" title="{escape(path)}">{_picture(image, report)}</button>
<figcaption>
<span><b>{escape(true_name)}</b></span>
{_line(predicted == true_name, escape(predicted) or "no class", _number(score, 2))}
{_line(outcome == "right", f"{outcome}, IoU", _number(iou, 2) or "unknown")}
<span class="quiet">{escape(PurePath(path).name)}</span>
</figcaption>
</figure>"""


def _picture(image: GalleryImage, report: Report) -> str:
    height, width = report.image_size
    results: ImageResults = report.results
    whole = f'width="{width}" height="{height}" preserveAspectRatio="none"'
    true_boxes = results.true_boxes[image.index]
    rects = [
        *_rects(true_boxes, "true"),
        *_rects(results.boxes[image.index][None], "found"),
    ]
    return (
        f'<svg viewBox="0 0 {width} {height}">'
        f'<image {whole} href="{_data_url(image.jpeg)}"/>'
        f'<image {whole} class="overlay" href="{_data_url(_heat(image.score_map))}"/>'
        + "".join(rects)
        + "</svg>"
    )


def _rects(boxes: np.ndarray, kind: str) -> Iterable[str]:
    for x0, y0, x1, y1 in np.asarray(boxes, dtype=float):
        if x0 < 0 or not (x1 > x0 and y1 > y0):
            continue  # padding, or no box was found
        place = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}"'
        # A dark edge keeps a green box visible on leaves.
        yield f'<rect class="edge" {place}/><rect class="{kind}" {place}/>'


def _heat(score_map: np.ndarray) -> bytes:
    from PIL import Image

    scores = np.asarray(score_map, dtype="float32") / 255
    pixels = overlay(np.zeros_like(scores), scores, alpha=1.0)
    scale = min(1.0, _LONGER_SIDE_OF_MAP / max(pixels.shape[:2]))
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    file = io.BytesIO()
    resized = Image.fromarray(pixels).resize((width, height))
    resized.save(file, format="JPEG", quality=80)
    return file.getvalue()


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def _line(good: bool, text: str, value: str) -> str:
    style, mark = ("good", "&#10003;") if good else ("bad", "&#10007;")
    return f'<span class="{style}">{mark} {text} {value}</span>'
