import numpy as np
import pytest
from PIL import Image

from keras_wsol.viz.captions import Lettering
from keras_wsol.viz.legend import draw_legend


def legend(width, has_true_boxes):
    canvas = Image.new("RGB", (width, 30), (255, 255, 255))
    draw_legend(canvas, 5, 6, Lettering(14), has_true_boxes)
    return np.array(canvas)


def has(picture, color):
    return bool((picture == color).all(axis=-1).any())


@pytest.mark.parametrize("has_true_boxes", [True, False])
def test_true_boxes_are_named_only_if_there_are_any(has_true_boxes):
    got = legend(500, has_true_boxes)
    assert has(got, (255, 0, 0)) == has_true_boxes
    assert has(got, (0, 255, 0))
    assert has(got, (48, 18, 59))  # the heat map's colour of 0
    assert has(got, (122, 4, 3))  # and of 1


def test_what_does_not_fit_is_left_out_as_a_whole():
    got = legend(160, False)
    assert has(got, (0, 255, 0))
    assert not has(got, (48, 18, 59))
    assert (legend(40, False) == 255).all()
