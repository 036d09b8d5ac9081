"""The batches that an evaluation reads."""

import keras
import numpy as np
import pytest

from keras_wsol.evaluation.reading import view_batches
from tests.data.small_datasets import as_files, noise, renamed

NEEDS_TF_DATA = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data"
)


# A data set is read without TensorFlow, too.
@pytest.mark.parametrize("given", [False, pytest.param(True, marks=NEEDS_TF_DATA)])
def test_paths_are_those_of_the_data_set_though_not_utf8(given, tmp_path):
    boxes = np.tile(np.array([4, 6, 20, 18], "float32"), (3, 1, 1))
    dataset = renamed(as_files(tmp_path, noise(3), boxes=boxes), 1, b"\xff \xfe.png")
    size = (14, 21)
    source = dataset
    if given:
        source = dataset.batches(2, with_boxes=True, image_size=size)
    batches = view_batches(source, "whole", size, 2)
    paths = np.concatenate([batch["paths"] for batch in batches])
    assert paths.tolist() == dataset.paths.tolist()
