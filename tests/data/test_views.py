import numpy as np
import pytest
import tensorflow as tf

from keras_wsol.data.images import (
    boxes_in_view as in_view,
)
from keras_wsol.data.images import (
    check_view,
    resize_before_crop,
    view_geometry,
)


@pytest.mark.parametrize(
    ("size", "resized", "corner"),
    [
        ((14, 21), (16, 24), (1, 1)),  # 3 pixels to spare: 1 goes to the left
        ((224, 112), (256, 128), (16, 8)),
        ((64, 96), (73, 110), (4, 7)),  # 73.1 and 109.7
    ],
)
def test_center_crop_is_the_middle_of_a_larger_image(size, resized, corner):
    assert resize_before_crop(size) == resized
    assert view_geometry("center_crop", size) == (resized, corner)
    assert view_geometry("whole", size) == (size, (0, 0))


def test_unknown_view():
    message = (
        r"`view` must be one of \['whole', 'center_crop'\]. Received: view='middle'."
    )
    with pytest.raises(ValueError, match=message):
        check_view("middle")


def in_numpy(boxes, size, view, image_size):
    return in_view(boxes, size, view, image_size)


def in_a_graph(boxes, size, view, image_size):
    # A batch of two images: the second, of another size, must not matter.
    boxes = tf.constant(np.array([boxes, boxes], "float32"))
    sizes = tf.constant([size, (7, 5)], tf.float32)
    return in_view(boxes, sizes, view, image_size, tf)[0].numpy()


@pytest.fixture(params=[in_numpy, in_a_graph])
def boxes_in_view(request):
    return request.param


# An image of 32 rows and 48 columns. By hand: "whole" of (16, 12) halves y and quarters
# x; "center_crop" of (14, 21) halves both and moves them by 1.
@pytest.mark.parametrize(
    ("view", "image_size", "box", "expected"),
    [
        ("whole", (16, 12), [8, 6, 20, 18], [2, 3, 5, 9]),
        ("whole", (16, 12), [0, 0, 48, 32], [0, 0, 12, 16]),
        ("whole", (16, 12), [8, 6, 50, 33], [2, 3, 12, 16]),  # over the border
        ("center_crop", (14, 21), [10, 8, 30, 20], [4, 3, 14, 9]),
        ("center_crop", (14, 21), [0, 0, 48, 32], [0, 0, 21, 14]),
        ("center_crop", (14, 21), [0, 4, 12, 32], [0, 1, 5, 14]),
    ],
)
def test_boxes_move_with_the_image(boxes_in_view, view, image_size, box, expected):
    moved = boxes_in_view([box, [-1] * 4], (32, 48), view, image_size)
    np.testing.assert_array_equal(moved, [expected, [-1] * 4])
    assert moved.dtype == np.float32


def test_box_over_the_left_border_is_clipped_not_taken_for_padding(boxes_in_view):
    boxes = [[-0.5, 6, 20, 18], [4, -2, 8, 6]]
    moved = boxes_in_view(boxes, (32, 48), "whole", (16, 12))
    np.testing.assert_array_equal(moved, [[0, 3, 5, 9], [1, 0, 2, 3]])


def test_no_boxes(boxes_in_view):
    assert boxes_in_view(np.zeros((0, 4)), (32, 48), "whole", (16, 12)).shape == (0, 4)
