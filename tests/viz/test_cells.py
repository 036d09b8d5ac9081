import dataclasses

import numpy as np
import pytest

from keras_wsol.viz import GalleryCell

BOX = (1, 2, 5, 4)


@pytest.mark.parametrize(
    ("iou", "text"), [(0.4999, "0.49"), (0.5, "0.50"), (0.57, "0.57"), (1, "1.00")]
)
def test_overlap_is_cut_off_so_that_a_miss_never_reads_like_a_hit(iou, text):
    cell = GalleryCell(score_map=[[0.5]], box=BOX, iou=iou)
    assert cell.verdict() == f"IoU {text}"
    assert cell.is_hit(0.5) is (iou >= 0.5)


@pytest.mark.parametrize("box", [None, (0, 0, 0, 0), (-1, -1, -1, -1), np.zeros(4)])
def test_a_missing_box_is_a_miss(box):
    cell = GalleryCell(score_map=[[0.5]], box=box, iou=0.0)
    assert not cell.has_box()
    assert cell.verdict() == "no box"
    assert cell.is_hit(0.5) is False


def test_unknown_overlap_is_neither_hit_nor_miss():
    cell = GalleryCell(score_map=[[0.5]], box=BOX)
    assert cell.has_box()
    assert cell.verdict() == ""
    assert cell.is_hit(0.5) is None


@pytest.mark.parametrize(
    ("name", "score", "label"),
    [
        ("Painted Bunting", 0.917, "Painted Bunting (0.92)"),
        ("Painted Bunting", None, "Painted Bunting"),
        (None, 0.917, "(0.92)"),
        (None, None, ""),
    ],
)
def test_label(name, score, label):
    cell = GalleryCell(score_map=[[0.5]], class_name=name, score=score)
    assert cell.label() == label


@pytest.mark.parametrize("field", ["iou", "score"])
@pytest.mark.parametrize("value", [-0.1, 63.0, float("nan")])
def test_shares_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"`{field}` must be a number in \[0, 1\]"):
        GalleryCell(score_map=[[0.5]], **{field: value})


def test_the_last_digit_of_a_float32_is_forgiven():
    cell = GalleryCell(
        score_map=[[0.5]], class_name="Gull", score=np.float32(1.0000001)
    )
    assert cell.label() == "Gull (1.00)"


def test_boxes_of_another_shape_or_inverted_are_refused():
    with pytest.raises(ValueError, match=r"`box` must have shape \(4,\), or be None"):
        GalleryCell(score_map=[[0.5]], box=[BOX])
    with pytest.raises(ValueError, match="x0 <= x1 and y0 <= y1"):
        GalleryCell(score_map=[[0.5]], box=(5, 2, 1, 4))


def test_a_cell_is_frozen():
    cell = GalleryCell(score_map=[[0.5]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.iou = 0.3
