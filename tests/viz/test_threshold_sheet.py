import numpy as np
import pytest

from keras_wsol.viz import GalleryCell, gallery, threshold_sheet

# 0.2 around it all, 0.5 in the left half, 1 in a cell; one column is 10 pixels wide,
# one row 8 high.
MAP = np.array([[0.5, 0.5, 0.2], [0.5, 1.0, 0.0]])
IMAGE = np.full((16, 30, 3), 90, "uint8")
BOXES = {0.1: (0, 0, 30, 16), 0.3: (0, 0, 20, 16), 0.6: (10, 8, 20, 16)}


@pytest.mark.parametrize("more", [False, True])
def test_each_column_has_the_box_of_its_threshold(more):
    others = {"true_boxes": [[[1, 2, 20, 12]]] * 2, "captions": ["a", "b"]}
    others = others if more else {}
    empty = np.zeros((2, 3))
    found = threshold_sheet([IMAGE] * 2, [MAP, empty], tuple(BOXES), **others)
    columns = {
        str(threshold): [
            GalleryCell(score_map=MAP, box=box),
            GalleryCell(score_map=empty, box=None),
        ]
        for threshold, box in BOXES.items()
    }
    expected = gallery([IMAGE] * 2, columns, **others, cell_size=160, alpha=0.4)
    np.testing.assert_array_equal(found, expected)


def test_arguments():
    with pytest.raises(ValueError, match="must have one entry per image, 2"):
        threshold_sheet([IMAGE] * 2, [MAP])
    with pytest.raises(ValueError, match=r"`thresholds` must ascend in \[0, 1\)"):
        threshold_sheet([IMAGE], [MAP], (0.5, 0.2))
    with pytest.raises(ValueError, match="`score_map` must be in"):
        threshold_sheet([IMAGE], [MAP * 2])
    with pytest.raises(ValueError, match="at least one image and one column"):
        threshold_sheet([], [])
