import numpy as np
import pytest

from keras_wsol import data
from keras_wsol.data.synthetic import CREATURES, bounds, paint_creatures


@pytest.mark.parametrize("split", ["train-weaksup", "train-fullsup", "test"])
def test_a_split_is_the_pictures_of_that_name(split):
    dataset = data.synthetic(
        split, num_images=4, num_classes=3, image_size=(32, 48), seed=5
    )
    images, class_ids, covered = paint_creatures(4, 3, (32, 48), 5, split)
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.class_ids, class_ids)
    np.testing.assert_array_equal(dataset.boxes, bounds(covered)[:, None])
    assert dataset.class_names == CREATURES[:3]
    assert dataset.split == split
    assert dataset.paths[3] == f"{split}/000003"
    np.testing.assert_array_equal(dataset.image(2), images[2])
