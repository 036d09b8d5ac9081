import csv
import dataclasses
import json

import numpy as np
import pytest

from keras_wsol.evaluation import AtThreshold, Report, markdown_table


def at(threshold, gt_known, top1_loc):
    return AtThreshold(
        cam_threshold=threshold,
        gt_known_loc=gt_known,
        top1_loc=top1_loc,
        gt_known_interval=(gt_known - 0.05, gt_known + 0.04),
        top1_interval=(top1_loc - 0.03, top1_loc + 0.02),
    )


NOTE = (
    "Per cent, in brackets bootstrap 95 % intervals. MaxBoxAccV2 takes, at each IoU, "
    "the threshold that is best on this split."
)


def report(**changes):
    return Report(
        **{
            "model": "vgg16_adl",
            "dataset": "cub200",
            "split": "test",
            "view": "whole",
            "num_images": 40,
            "num_skipped": 2,
            "top1_cls": 0.76543,
            "top5_cls": 0.9,
            "fixed": at(0.2, 0.65, 0.5),
            "tuned": at(0.25, 0.675, 0.525),
            "oracle": at(0.31, 0.7, 0.55),
            "max_box_acc_v2": 0.61234,
            "centre": {
                "fixed": 0.41,
                "tuned": 0.57,
                "oracle": 0.58,
                "max_box_acc_v2": 0.597,
            },
            "thresholds": np.linspace(0, 1, 5, endpoint=False),
            "gt_known_curve": np.linspace(0.3, 0.7, 5),
            "iou": np.array([0.5, np.nan, 0.25]),
            "notes": {"train-fullsup": "5 images a class, drawn with seed 0"},
            **changes,
        }
    )


ROW = {
    "model": "vgg16_adl",
    "dataset": "cub200",
    "split": "test",
    "view": "whole",
    "num_images": 40,
    "num_skipped": 2,
    "top1_cls": 0.7654,
    "top5_cls": 0.9,
    "fixed_threshold": 0.2,
    "fixed_gt_known_loc": 0.65,
    "fixed_top1_loc": 0.5,
    "tuned_threshold": 0.25,
    "tuned_gt_known_loc": 0.675,
    "tuned_top1_loc": 0.525,
    "oracle_threshold": 0.31,
    "oracle_gt_known_loc": 0.7,
    "oracle_top1_loc": 0.55,
    "gt_known_interval": "0.6250-0.7150",
    "top1_interval": "0.4950-0.5450",
    "max_box_acc_v2": 0.6123,
    "centre_fixed": 0.41,
    "centre_tuned": 0.57,
    "centre_oracle": 0.58,
    "centre_max_box_acc_v2": 0.597,
}


def test_json_holds_every_figure_and_how_it_came_about(tmp_path):
    path = tmp_path / "new" / "report.json"
    text = report().to_json(path)
    assert path.read_text() == text
    values = json.loads(text)
    assert values == report().to_dict()
    assert values["fixed"] == {
        "cam_threshold": 0.2,
        "gt_known_loc": 0.65,
        "top1_loc": 0.5,
        "gt_known_interval": [0.65 - 0.05, 0.65 + 0.04],
        "top1_interval": [0.5 - 0.03, 0.5 + 0.02],
        "top5_loc": None,
        "mean_iou": None,
    }
    assert values["tuned"]["cam_threshold"] == 0.25
    assert values["oracle"]["top1_loc"] == 0.55
    assert values["centre"]["tuned"] == 0.57
    assert values["notes"] == report().notes
    for name in ("top1_cls", "top5_cls", "max_box_acc_v2", "view", "num_skipped"):
        assert values[name] == getattr(report(), name)
    assert not {"thresholds", "gt_known_curve", "iou"} & set(values)


def test_the_row():
    assert report().to_row() == ROW
    assert list(report().to_row()) == list(ROW)


def test_the_row_without_a_tuned_threshold():
    row = report(tuned=None).to_row()
    assert [row[f"tuned_{x}"] for x in ("threshold", "gt_known_loc", "top1_loc")] == [
        ""
    ] * 3
    # Intervals are then those of the fixed threshold.
    assert row["gt_known_interval"] == "0.6000-0.6900"
    assert row["top1_interval"] == "0.4700-0.5200"
    assert report(tuned=None).to_dict()["tuned"] is None


def test_csv(tmp_path):
    path = tmp_path / "new" / "report.csv"
    text = report().to_csv(path)
    assert path.read_text() == text
    header, row = csv.reader(text.splitlines())
    assert dict(zip(header, row, strict=True)) == {k: str(v) for k, v in ROW.items()}


def test_markdown():
    assert report().to_markdown().splitlines() == [
        "cub200, test, view whole, 40 images",
        "",
        "|  | Top-1 Cls | GT-known (fixed) | GT-known (tuned) | GT-known (oracle) "
        "| Top-1 Loc (fixed) | Top-1 Loc (tuned) | Top-1 Loc (oracle) | MaxBoxAccV2 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| vgg16_adl | 76.5 | 65.0 | 67.5 (62.5-71.5) | 70.0 | 50.0 | 52.5 (49.5-54.5) "
        "| 55.0 | 61.2 |",
        "| centre Gaussian | - | 41.0 | 57.0 | 58.0 | - | - | - | 59.7 |",
        "",
        NOTE,
    ]


def table_lines(reports):
    *lines, empty, note = markdown_table(reports).splitlines()
    assert (empty, note) == ("", NOTE)
    return lines


def test_a_table_of_several_reports():
    other = report(model="vgg16_cam", top1_cls=0.5, tuned=at(0.1, 0.6, 0.4))
    lines = table_lines([report(), other])
    names = [line.split(" | ")[0] for line in lines[2:]]
    assert names == ["| ", "| ---", "| vgg16_adl", "| vgg16_cam", "| centre Gaussian"]
    assert "| vgg16_cam | 50.0 | 65.0 | 60.0 (55.0-64.0) | 70.0 | 50.0 " in lines[5]


def test_a_table_without_tuned_thresholds():
    centre = {"fixed": 0.41, "oracle": 0.58, "max_box_acc_v2": 0.597}
    lines = report(tuned=None, centre=centre).to_markdown().splitlines()
    assert "tuned" not in lines[2]
    # The intervals are then those of the fixed threshold.
    assert lines[4] == (
        "| vgg16_adl | 76.5 | 65.0 (60.0-69.0) | 70.0 | 50.0 (47.0-52.0) | 55.0 "
        "| 61.2 |"
    )
    assert lines[5] == "| centre Gaussian | - | 41.0 | 58.0 | - | - | 59.7 |"


@pytest.mark.parametrize("order", [1, -1])
def test_a_table_in_which_one_report_has_no_tuned_threshold(order):
    lines = markdown_table([report(), report(tuned=None)][::order]).splitlines()
    # No figure is lost and none made up.
    assert "GT-known (tuned)" in lines[2]
    assert sorted(line.split(" | ")[3] for line in lines[4:6]) == [
        "-",
        "67.5 (62.5-71.5)",
    ]


@pytest.mark.parametrize("name", ["split", "view", "dataset"])
def test_reports_that_must_not_be_compared_are_refused(name):
    message = "One table holds reports on one split in one view.*'other'"
    with pytest.raises(ValueError, match=message):
        markdown_table([report(), report(**{name: "other"})])


def test_no_report_is_refused():
    with pytest.raises(ValueError, match="One table holds reports"):
        markdown_table([])


# What is known beyond the main figures

BASELINES = {
    "whole image": {"gt_known_loc": 0.3, "max_box_acc_v2": 0.31},
    "random box": {"gt_known_loc": 0.12, "max_box_acc_v2": 0.1234},
}


def test_baselines_have_a_row_each():
    lines = table_lines([report(baselines=BASELINES)])
    assert lines[5:] == [
        "| centre Gaussian | - | 41.0 | 57.0 | 58.0 | - | - | - | 59.7 |",
        "| whole image | - | 30.0 | 30.0 | 30.0 | - | - | - | 31.0 |",
        "| random box | - | 12.0 | 12.0 | 12.0 | - | - | - | 12.3 |",
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_the_centre_is_cut_where_each_report_is(order):
    centre = {"fixed": 0.2, "tuned": 0.57, "oracle": 0.58, "max_box_acc_v2": 0.597}
    other = report(model="other", fixed=at(0.5, 0.3, 0.2), centre=centre)
    lines = table_lines([report(), other][::order])[6:]
    start = "| centre Gaussian, as"
    assert (
        lines
        == [
            f"{start} vgg16_adl | - | 41.0 | 57.0 | 58.0 | - | - | - | 59.7 |",
            f"{start} other | - | 20.0 | 57.0 | 58.0 | - | - | - | 59.7 |",
        ][::order]
    )


def test_numbers_of_images_that_differ_are_said():
    lines = markdown_table([report(), report(num_images=38)]).splitlines()
    assert lines[0] == "cub200, test, view whole, 38 to 40 images"


def test_names_with_bars_do_not_break_the_table():
    lines = report(model="a|b").to_markdown().splitlines()
    assert lines[4].startswith(r"| a\|b | 76.5 |")


def test_px_ap_has_a_column_where_there_are_masks():
    lines = table_lines([report(), report(px_ap=0.7512)])
    assert [line.split(" | ")[-1] for line in lines[2:]] == [
        *("PxAP |", "---: |", "- |", "75.1 |", "- |"),
    ]


def test_the_row_goes_on():
    errors = {"right": 0.525, "wrong class": 0.15, "no box": 0.325}
    row = report(baselines=BASELINES, errors=errors, px_ap=0.75123).to_row()
    assert {name: row[name] for name in row.keys() - ROW.keys()} == {
        "whole_image_gt_known_loc": 0.3,
        "whole_image_max_box_acc_v2": 0.31,
        "random_box_gt_known_loc": 0.12,
        "random_box_max_box_acc_v2": 0.1234,
        "share_right": 0.525,
        "share_wrong_class": 0.15,
        "share_no_box": 0.325,
        "px_ap": 0.7512,
    }


def test_class_and_box():
    shares = report().class_and_box  # at the tuned threshold
    assert shares["right"] == pytest.approx({"right": 0.525, "wrong": 0.76543 - 0.525})
    assert shares["wrong"] == pytest.approx(
        {"right": 0.15, "wrong": 1 - 0.76543 - 0.15}
    )
    assert report(tuned=None).class_and_box["right"]["right"] == 0.5


def test_the_main_threshold():
    assert report().main == report().tuned
    assert report(tuned=None).main == report().fixed


def test_what_else_is_known_has_columns_of_its_own():
    tuned = dataclasses.replace(report().tuned, top5_loc=0.61236, mean_iou=0.5432)
    intervals = {
        "top1_cls_interval": (0.65, 0.87),
        "max_box_acc_v2_interval": (0.5, 0.71236),
    }
    row = report(tuned=tuned, **intervals).to_row()
    assert {name: row[name] for name in row.keys() - ROW.keys()} == {
        "tuned_top5_loc": 0.6124,
        "tuned_mean_iou": 0.5432,
        "top1_cls_interval": "0.6500-0.8700",
        "max_box_acc_v2_interval": "0.5000-0.7124",
    }
    errors = {"too small": {"right": 0.25, "wrong": 0.125}}
    values = report(errors_by_class=errors, **intervals).to_dict()
    assert values["errors_by_class"] == errors
    assert values["max_box_acc_v2_interval"] == [0.5, 0.71236]


def test_the_curves(tmp_path):
    lines = report().curve_csv().splitlines()
    assert lines[:3] == ["cam_threshold,gt_known_loc", "0.0,0.3", "0.2,0.4"]
    path = tmp_path / "new" / "curve.csv"
    both = report(top1_loc_curve=np.linspace(0.1, 0.2, 5))
    assert both.curve_csv(path) == path.read_text()
    header, *rows = csv.reader(path.read_text().splitlines())
    assert header == ["cam_threshold", "gt_known_loc", "top1_loc"]
    expected = [[0, 0.3, 0.1], [0.2, 0.4, 0.125], [0.4, 0.5, 0.15]]
    np.testing.assert_allclose(np.array(rows[:3], float), expected)
    assert len(rows) == 5
    assert "top1_loc_curve" not in both.to_dict()


def test_reports_with_arrays_are_compared_by_identity():
    # Arrays have no single truth value, and a report is a key of sets.
    one, other = report(), report()
    assert one != other
    assert len({one, other, one}) == 2


def test_any_name_can_be_written(tmp_path):
    odd = report(model="\udcff 日本")
    for name in ("to_json", "to_csv", "curve_csv", "class_table_csv"):
        getattr(odd, name)(tmp_path / name)
    assert "? 日本" in (tmp_path / "to_csv").read_text("utf-8")


def test_without_results_there_is_no_table_of_images():
    with pytest.raises(ValueError, match="'vgg16_adl' holds no results by image"):
        report().image_table_csv()
