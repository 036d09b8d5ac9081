import numpy as np
import pytest

from keras_wsol import data
from keras_wsol.data.synthetic import CLASS_NAMES, draw_creatures


@pytest.mark.parametrize(
    ("split", "drawn"),
    [("train-weaksup", "train"), ("train-fullsup", "val"), ("test", "test")],
)
def test_a_split_is_the_drawings_of_that_name(split, drawn):
    arguments = {"num_classes": 3, "image_size": (32, 48), "seed": 5}
    creatures = data.synthetic(split, num_images=4, **arguments)
    images, class_ids, boxes = draw_creatures(4, split=drawn, **arguments)
    np.testing.assert_array_equal(creatures.images, images)
    np.testing.assert_array_equal(creatures.class_ids, class_ids)
    np.testing.assert_array_equal(creatures.boxes, boxes)
    assert creatures.class_names == CLASS_NAMES[:3]
    assert creatures.split == split
    assert creatures.paths[3] == f"{split}/000003"
    np.testing.assert_array_equal(creatures.image(2), images[2])


def test_unknown_split():
    with pytest.raises(ValueError, match=r"`split` must be one of \['train-weaksup', "):
        data.synthetic("val")
