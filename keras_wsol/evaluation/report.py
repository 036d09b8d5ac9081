"""The result of an evaluation: figures from the table of images."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from keras_wsol.arguments import check_choice
from keras_wsol.evaluation import tables
from keras_wsol.evaluation.measure import ERRORS, ImageTable
from keras_wsol.files import replaced
from keras_wsol.metrics.functional import V2_IOU_THRESHOLDS
from keras_wsol.models.tune import best_index


@dataclass(frozen=True, kw_only=True)
class AtThreshold:
    """Localization at one threshold of the score map."""

    cam_threshold: float
    gt_known_loc: float
    top1_loc: float
    top5_loc: float
    mean_iou: float
    gt_known_interval: tuple[float, float]
    top1_interval: tuple[float, float]


_BOOTSTRAP_DRAWS = 10_000
_NUMBERS_AT_ONCE = 2_000_000
# What `Report.to_dict` holds, in this order.
_FIGURES = (
    *("model", "dataset", "split", "view", "num_images", "num_left_out"),
    *("top1_cls", "top5_cls", "fixed", "tuned", "oracle", "max_box_acc_v2"),
    *("centre", "baselines", "px_ap", "errors", "errors_by_class"),
    *("top1_cls_interval", "max_box_acc_v2_interval", "image_size", "score_map"),
    "notes",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """What a model is worth on a split, by the field's protocols.

    All figures are shares in [0, 1]; printed tables give per cent. Intervals are
    bootstrap 95 % intervals with the thresholds held fixed.

    Attributes:
        model, dataset, split, view: What was measured.
        images: Table with a row an image: `paths`, `class_ids`, `ranks`,
            `predicted_ids`, `scores`, `iou` `(N, T)`, `boxes`, `true_boxes`, `errors`.
        centre: GT-known Loc of a centred Gaussian as every score map, `fixed`,
            `tuned` and `oracle`, and its `max_box_acc_v2`.
        baselines: `gt_known_loc` and `max_box_acc_v2` of the `"whole image"` as box,
            and of a `"random box"`.
        px_ap: See `metrics.PxAP`; `None` without segmentations.
        notes: How splits and thresholds were chosen, and which map is no plain CAM.
        class_names: Names by class id; empty where they are not known.
        image_size: Height and width of the view, in whose pixels boxes are.
        score_map: Which map was measured, in words.
        num_images, num_left_out: Images measured, and those that could not be read.
        gallery: Images kept for the page.
        top1_cls, top5_cls: Share of images whose class is right, or in the top five.
        fixed, tuned, oracle: Figures at the threshold of the localizer, at the one that
            was best on another split (or `None`), and at the best one on this very
            split: an upper bound, no result. Each has `cam_threshold`, `gt_known_loc`,
            `top1_loc`, `top5_loc`, `mean_iou`, `gt_known_interval`, `top1_interval`.
        main: `tuned`, or else `fixed`.
        max_box_acc_v2: See `metrics.MaxBoxAccV2`.
        thresholds, gt_known_curve, top1_loc_curve: `(T,)`, the curves by threshold.
        errors, errors_by_class: Share of the images by what came of their box at the
            main threshold, and parted by whether the top class is `"right"`.
        class_and_box: `["right"]["wrong"]`: share with a right class and a wrong box.
        per_class: A dictionary for each class that has an image, at the main threshold.
        top1_cls_interval, max_box_acc_v2_interval: Intervals of these figures.
    """

    model: str
    dataset: str
    split: str
    view: str
    images: ImageTable = field(repr=False)
    fixed_index: int = 0
    tuned_index: int | None = None
    centre: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    px_ap: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = field(default=(), repr=False)
    image_size: tuple[int, int] | None = None
    score_map: str = ""
    num_left_out: int = 0
    gallery: tuple[Any, ...] = field(default=(), repr=False)

    @property
    def num_images(self) -> int:
        return len(self.images)

    @cached_property
    def top1_cls(self) -> float:
        return float((self.images.ranks == 0).mean())

    @cached_property
    def top5_cls(self) -> float:
        return float((self.images.ranks < 5).mean())

    @property
    def thresholds(self) -> np.ndarray:
        return self.images.thresholds

    @cached_property
    def gt_known_curve(self) -> np.ndarray:
        return self.images.right_by_threshold() / self.num_images

    @cached_property
    def top1_loc_curve(self) -> np.ndarray:
        return self.images.right_by_threshold(top_k=1) / self.num_images

    @cached_property
    def fixed(self) -> AtThreshold:
        return self._at(self.fixed_index)

    @cached_property
    def tuned(self) -> AtThreshold | None:
        return None if self.tuned_index is None else self._at(self.tuned_index)

    @cached_property
    def oracle(self) -> AtThreshold:
        return self._at(best_index(self.images.right_by_threshold()))

    @property
    def main(self) -> AtThreshold:
        return self.tuned or self.fixed

    def _at(self, index: int) -> AtThreshold:
        count, curves = self.num_images, (self.gt_known_curve, self.top1_loc_curve)
        gt_known, top1_loc = (float(curve[index]) for curve in curves)
        top5_loc = self.images.right_by_threshold(top_k=5)[index] / count
        return AtThreshold(
            cam_threshold=float(self.thresholds[index]),
            gt_known_loc=gt_known,
            top1_loc=top1_loc,
            top5_loc=float(top5_loc),
            mean_iou=float(self.images.iou[:, index].mean(dtype="float64")),
            gt_known_interval=share_interval(gt_known, count),
            top1_interval=share_interval(top1_loc, count),
        )

    @cached_property
    def v2_hits(self) -> np.ndarray:
        """Which images are right at the best threshold of each IoU, `(N, 3)`."""
        hits = []
        for level in range(len(V2_IOU_THRESHOLDS)):
            right = self.images.v2_right(level)[:, self.images.on_grid]
            hits.append(right[:, best_index(right.sum(axis=0))])
        return np.stack(hits, axis=1)

    @cached_property
    def max_box_acc_v2(self) -> float:
        return float(self.v2_hits.mean())

    @cached_property
    def errors(self) -> dict[str, float]:
        words = self.images.errors
        return {name: float((words == name).mean()) for name in ERRORS}

    @cached_property
    def errors_by_class(self) -> dict[str, dict[str, float]]:
        words, right = self.images.errors, self.images.ranks == 0
        return {
            name: {
                "right": float(((words == name) & right).mean()),
                "wrong": float(((words == name) & ~right).mean()),
            }
            for name in ERRORS
        }

    @property
    def class_and_box(self) -> dict[str, dict[str, float]]:
        both, box = self.main.top1_loc, self.main.gt_known_loc
        return {
            "right": {"right": both, "wrong": self.top1_cls - both},
            "wrong": {"right": box - both, "wrong": 1 - self.top1_cls - box + both},
        }

    @cached_property
    def per_class(self) -> tuple[dict[str, Any], ...]:
        images, rows = self.images, []
        for class_id in np.unique(images.class_ids).tolist():
            of_class = images.class_ids == class_id
            words = images.errors[of_class]
            row = {
                "class_id": class_id,
                "class_name": tables.name_of(class_id, self.class_names),
                "num_images": int(of_class.sum()),
                "top1_cls": float((images.ranks[of_class] == 0).mean()),
                "gt_known_loc": float(np.isin(words, ERRORS[:2]).mean()),
                "top1_loc": float((words == ERRORS[0]).mean()),
            }
            rows.append(row)
        return tuple(rows)

    @cached_property
    def top1_cls_interval(self) -> tuple[float, float]:
        return share_interval(self.top1_cls, self.num_images)

    @cached_property
    def max_box_acc_v2_interval(self) -> tuple[float, float]:
        shares = self.v2_hits.mean(axis=1)[None]
        return difference_interval(shares, np.zeros_like(shares))

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain Python values, without curves and tables."""
        figures = {name: getattr(self, name) for name in _FIGURES}
        return json.loads(json.dumps(figures, default=asdict))

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns the figures as JSON, and writes them to a `path`."""
        return written(json.dumps(self.to_dict(), indent=2) + "\n", path)

    def to_csv(self, path: str | Path | None = None, table: str = "figures") -> str:
        """Returns a table as CSV, and writes it to a `path`.

        `table` is `"figures"` (one row, rounded to four digits), `"images"` (a row an
        image), `"classes"` or `"curve"` (a row a threshold).
        """
        rows = tables.TABLES[check_choice("table", table, list(tables.TABLES))](self)
        return written(tables.csv_text(rows), path)

    def to_markdown(self) -> str:
        """Returns a table in per cent, with the baselines."""
        return tables.to_markdown(self)

    def to_html(self, path: str | Path | None = None) -> str:
        """Returns a page with tables, curves and gallery, and writes it to a `path`."""
        return written(tables.html_of(self), path)

    def _repr_html_(self) -> str:
        text = escape(self.to_html())
        return (
            f'<iframe srcdoc="{text}" sandbox="allow-scripts" '
            'style="width: 100%; height: 40rem; border: 0"></iframe>'
        )


def written(text: str, path: str | Path | None) -> str:
    """Writes a text as UTF-8 if a path is given, and returns it."""
    if path is not None:
        with replaced(path) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    return text


# How sure a figure is: bootstrap intervals, had other images come, as many. Models and
# thresholds are held fixed; where a threshold was chosen on the same images, as the
# oracle's, that choice is left out.


def share_interval(share: float, count: int) -> tuple[float, float]:
    """Bootstrap 95 % interval of a share of `count` images."""
    random = np.random.default_rng(0)
    draws = random.binomial(count, min(float(share), 1.0), _BOOTSTRAP_DRAWS) / count
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def difference_interval(
    hits: np.ndarray,
    others: np.ndarray,
    draws: int = _BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap 95 % interval of the difference of two methods' shares.

    `hits` and `others` are `(runs, N)` on the same images: boolean, or one of few
    shares in [0, 1].
    """
    # Images on which all runs do the same cannot be told apart, so it is enough to
    # draw how many of each kind come: a multinomial number.
    random = np.random.default_rng(seed)
    kinds, counts = np.unique(
        np.concatenate([hits, others]).T, axis=0, return_counts=True
    )
    size = max(1, _NUMBERS_AT_ONCE // len(kinds))
    found = []
    for start in range(0, draws, size):
        number = min(size, draws - start)
        drawn = random.multinomial(counts.sum(), counts / counts.sum(), number)
        shares = drawn @ kinds / counts.sum()  # (number, runs of both)
        mine, theirs = shares[:, : len(hits)], shares[:, len(hits) :]
        found.append(_mean_of_runs(random, mine) - _mean_of_runs(random, theirs))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _mean_of_runs(random: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Mean over drawn runs of `(draws, runs)`, one fewer than there are."""
    # The mean of so many drawn varies as the mean of all does (Rao and Wu, 1988).
    runs = shares.shape[1]
    if runs == 1:
        return shares[:, 0]
    drawn = random.multinomial(runs - 1, np.full(runs, 1 / runs), len(shares))
    return (shares * drawn).sum(axis=1) / (runs - 1)
