"""Figures from a table of images counted by eye, and how they are written."""

import csv
import json

import numpy as np
import pytest

from keras_wsol.evaluation import Report
from keras_wsol.evaluation.tables import to_markdown
from tests.evaluation.drawn_report import at, drawn_report, image_table
from tests.reference.evaluation_numpy import interval

# Five images, four thresholds. The first row is 0.5 at the third, which is right.
IOU = [
    [0.3, 0.4, 0.5, 0.1],
    [0.6, 0.7, 0.8, 0.6],
    [0.5, 0.5, 0.2, 0.0],
    [0.0, 0.9, 0.9, 0.4],
    [0.1, 0.1, 0.2, 0.3],
]
RANKS = [0, 4, 0, 5, 0]
# Right at IoU 0.3 from the second threshold on, at 0.5 at the last, which is off the
# grid, at 0.7 for the first image at the first two thresholds.
V2 = np.zeros((5, 3, 4), bool)
V2[:4, 0, 1:] = V2[:, 1, 3] = V2[0, 2, :2] = True
WORDS = ["right", "wrong class", "too small", "wrong class", "no box"]
NAMES = ("crow", "gull")
ONE, TWO = [[0, 1, 2, 4], [-1] * 4], [[1, 1, 2, 2], [0, 0, 1, 1.25]]


def report(**changes):
    images = image_table(
        IOU,
        RANKS,
        v2=V2,
        kept=2,
        on_grid=[True, True, True, False],
        class_ids=np.array([0, 1, 1, 0, 0], "int32"),
        predicted_ids=np.array([0, 0, 1, -1, 0], "int32"),
        scores=np.array([0.75, 0.5, 0.625, np.nan, 1], "float32"),
        boxes=np.array([[0, 1, 2.5, 3]] * 5, "float32"),
        true_boxes=np.array(
            [[[0, 1, 2, 4], [-1] * 4], [[1, 1, 2, 2], [0, 0, 1, 1.25]]]
        )[[0, 0, 1, 0, 0]],
        errors=np.array(WORDS),
    )
    values = {
        "model": "vgg16_adl",
        "dataset": "cub200",
        "split": "test",
        "view": "whole",
        "images": images,
        "fixed_index": 3,
        "tuned_index": 2,
        "class_names": NAMES,
        "image_size": (24, 36),
        "num_left_out": 2,
        "notes": {"train-fullsup": "5 images a class, drawn with seed 0"},
    }
    return Report(**(values | changes))


def test_figures_counted_by_eye():
    found = report()
    assert (found.num_images, found.num_left_out) == (5, 2)
    assert (found.top1_cls, found.top5_cls) == (3 / 5, 4 / 5)
    assert found.gt_known_curve.tolist() == [2 / 5, 3 / 5, 3 / 5, 1 / 5]
    assert found.top1_loc_curve.tolist() == [1 / 5, 1 / 5, 1 / 5, 0]
    fixed, tuned, oracle = found.fixed, found.tuned, found.oracle
    assert (fixed.cam_threshold, fixed.gt_known_loc, fixed.top1_loc) == (0.75, 1 / 5, 0)
    assert (tuned.cam_threshold, tuned.gt_known_loc) == (0.5, 3 / 5)
    assert (tuned.top1_loc, tuned.top5_loc) == (1 / 5, 2 / 5)
    assert tuned.mean_iou == pytest.approx((0.5 + 0.8 + 0.2 + 0.9 + 0.2) / 5)
    # Of the equal second and third threshold, the later one is the middle.
    assert oracle == tuned
    assert found.main is tuned
    assert report(tuned_index=None).main.cam_threshold == 0.75


def test_max_box_acc_v2_has_a_threshold_of_the_grid_for_each_iou():
    found = report()
    assert found.v2_hits.T.tolist() == [
        [True] * 4 + [False],
        [False] * 5,
        [True] + [False] * 4,
    ]
    assert found.max_box_acc_v2 == pytest.approx((4 + 0 + 1) / 15)
    low, high = interval(found.v2_hits.mean(axis=1))
    np.testing.assert_allclose(found.max_box_acc_v2_interval, (low, high), atol=0.07)


def test_kinds_of_errors():
    found = report()
    assert {k: v for k, v in found.errors.items() if v} == {
        "right": 1 / 5,
        "wrong class": 2 / 5,
        "too small": 1 / 5,
        "no box": 1 / 5,
    }
    assert found.errors_by_class["wrong class"] == {"right": 0, "wrong": 2 / 5}
    assert found.errors_by_class["no box"] == {"right": 1 / 5, "wrong": 0}
    assert found.class_and_box["right"] == pytest.approx({"right": 0.2, "wrong": 0.4})
    assert found.class_and_box["wrong"] == pytest.approx({"right": 0.4, "wrong": 0})
    assert [tuple(row.values()) for row in found.per_class] == [
        (0, "crow", 3, 2 / 3, 2 / 3, 1 / 3),
        (1, "gull", 2, 1 / 2, 1 / 2, 0),
    ]


def test_it_cannot_be_changed_and_is_compared_by_identity():
    one, other = report(), report()
    with pytest.raises(AttributeError, match="cannot assign"):
        one.model = "other"
    assert len({one, other, one}) == 2


# Tables


def test_json_holds_every_figure_and_how_it_came_about(tmp_path):
    path = tmp_path / "new" / "report.json"
    text = report(px_ap=0.7).to_json(path)
    assert path.read_text() == text
    values = json.loads(text)
    assert values == report(px_ap=0.7).to_dict()
    assert values["tuned"]["top5_loc"] == 2 / 5
    assert values["tuned"]["gt_known_interval"] == list(
        report().tuned.gt_known_interval
    )
    assert values["notes"] == report().notes
    for name in ("top1_cls", "top5_cls", "max_box_acc_v2", "view", "num_left_out"):
        assert values[name] == getattr(report(), name)
    assert values["px_ap"] == 0.7
    assert not {"thresholds", "gt_known_curve", "images", "gallery"} & set(values)
    assert report(tuned_index=None).to_dict()["tuned"] is None


def test_csv_of_the_figures(tmp_path):
    path = tmp_path / "new" / "report.csv"
    text = report().to_csv(path)
    assert path.read_text() == text
    (row,) = csv.DictReader(text.splitlines())
    assert (row["model"], row["num_images"], row["tuned_cam_threshold"]) == (
        *("vgg16_adl", "5", "0.5"),
    )
    assert (row["fixed_top1_loc"], row["errors_wrong_class"]) == ("0.0", "0.4")
    assert row["max_box_acc_v2"] == "0.3333"
    low, high = report().tuned.gt_known_interval
    assert row["tuned_gt_known_interval"] == f"{low:.4f}-{high:.4f}"
    (row,) = csv.DictReader(report(tuned_index=None).to_csv().splitlines())
    # The columns are the same, so that rows of several reports fit together.
    names = ("cam_threshold", "gt_known_loc", "mean_iou", "top1_interval")
    assert [row[f"tuned_{x}"] for x in names] == [""] * 4
    changes = {"centre": {"tuned": 0.29123}, "px_ap": 0.65432}
    baselines = {"random box": {"gt_known_loc": 0.073, "max_box_acc_v2": 0.091}}
    other = report(baselines=baselines, **changes).to_csv()
    (row,) = csv.DictReader(other.splitlines())
    assert (row["px_ap"], row["centre_tuned"]) == ("0.6543", "0.2912")
    assert row["baselines_random_box_max_box_acc_v2"] == "0.091"


def test_csv_of_images_classes_and_the_curve(tmp_path):
    rows = list(csv.DictReader(report().to_csv(table="images").splitlines()))
    names = ["path", "class", "predicted", "score", "iou", "v2_right", "error"]
    assert list(rows[0]) == [*names, "x0", "y0", "x1", "y1", "true_boxes"]
    assert list(rows[0].values()) == [
        *("birds/0/0.jpg", "crow", "crow", "0.75", "0.5", "2", "right"),
        *("0", "1", "2.5", "3", "0 1 2 4"),
    ]
    assert rows[2]["true_boxes"] == "1 1 2 2;0 0 1 1.25"
    assert (rows[3]["predicted"], rows[3]["score"]) == ("", "")
    rows = list(csv.DictReader(report().to_csv(table="classes").splitlines()))
    assert rows[1]["class_name"] == "gull"
    assert float(rows[0]["gt_known_loc"]) == 2 / 3
    path = tmp_path / "curve.csv"
    assert report().to_csv(path, "curve") == path.read_text()
    header, *rows = csv.reader(path.read_text().splitlines())
    assert header == ["cam_threshold", "gt_known_loc", "top1_loc"]
    assert rows[1] == ["0.25", "0.6", "0.2"]
    with pytest.raises(ValueError, match="`table` must be one of"):
        report().to_csv(table="boxes")


def test_any_name_can_be_written(tmp_path):
    odd = report(model="\udcff 日本")
    for name in ("to_json", "to_csv", "to_html"):
        getattr(odd, name)(tmp_path / name)
    assert "? 日本" in (tmp_path / "to_csv").read_text("utf-8")


def test_the_page_is_written_whole_and_shows_itself_in_a_notebook(tmp_path):
    path = tmp_path / "new" / "report.html"
    text = report().to_html(path)
    assert path.read_text("utf-8") == text
    assert [x.name for x in path.parent.iterdir()] == ["report.html"]
    shown = report()._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert shown.count("<") == 2  # the page is an attribute
    # Its scripts run, and reach nothing of the notebook: no origin, no links.
    assert shown.count(' sandbox="allow-scripts" ') == shown.count(" sandbox=") == 1
    assert "vgg16_adl on cub200, test" in shown


# Markdown

NOTE = (
    "Per cent, in brackets bootstrap 95 % intervals. MaxBoxAccV2 takes, at each IoU, "
    "the threshold that is best on this split."
)


def drawn(**changes):
    values = {
        "model": "adl",
        "dataset": "cub200",
        "num_images": 40,
        "fixed": at(0.2, 0.65, 0.5),
        "tuned": at(0.25, 0.675, 0.525),
        "oracle": at(0.31, 0.7, 0.55),
        "top1_cls": 0.76543,
        "centre": {
            "fixed": 0.41,
            "tuned": 0.57,
            "oracle": 0.58,
            "max_box_acc_v2": 0.597,
        },
        "baselines": {},
    }
    return drawn_report(**(values | changes))


def table_lines(report):
    *lines, empty, note = to_markdown(report).splitlines()
    assert (empty, note) == ("", NOTE)
    return lines


def test_markdown():
    assert table_lines(drawn()) == [
        "cub200, test, view whole, 40 images",
        "",
        "|  | Top-1 Cls | GT-known (fixed) | GT-known (tuned) | GT-known (oracle) "
        "| Top-1 Loc (fixed) | Top-1 Loc (tuned) | Top-1 Loc (oracle) | MaxBoxAccV2 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| adl | 76.5 | 65.0 | 67.5 (52.5-78.5) | 70.0 | 50.0 | 52.5 (39.5-64.5) "
        "| 55.0 | 47.7 |",
        "| centre Gaussian | - | 41.0 | 57.0 | 58.0 | - | - | - | 59.7 |",
    ]
    assert (
        report().to_markdown().splitlines()[0] == "cub200, test, view whole, 5 images"
    )


def test_baselines_and_px_ap():
    baselines = {"whole image": {"gt_known_loc": 0.3, "max_box_acc_v2": 0.31}}
    lines = table_lines(drawn(model="a|b", px_ap=0.7512, baselines=baselines))
    assert lines[4].startswith(r"| a\|b | 76.5 | 65.0 | 67.5 (52.5-78.5) ")
    assert lines[-1] == (
        "| whole image | - | 30.0 | 30.0 | 30.0 | - | - | - | 31.0 | - |"
    )
    assert [line.split(" | ")[-1] for line in lines[2:]] == [
        *("PxAP |", "---: |", "75.1 |", "- |", "- |"),
    ]


def test_without_tuned_thresholds():
    centre = {"fixed": 0.41, "oracle": 0.58, "max_box_acc_v2": 0.597}
    lines = table_lines(drawn(tuned=None, centre=centre))
    assert "tuned" not in lines[2]
    # The intervals are then those of the fixed threshold.
    assert lines[4] == (
        "| adl | 76.5 | 65.0 (50.0-76.0) | 70.0 | 50.0 (37.0-62.0) | 55.0 | 47.7 |"
    )
