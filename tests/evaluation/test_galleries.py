import dataclasses

import numpy as np
import pytest
from keras import ops

from keras_wsol import viz
from keras_wsol.evaluation import compare_models
from keras_wsol.models import Localizer
from tests.evaluation.painted_split import NAMES, split_of
from tests.models.painted import painted_classifier
from tests.reference import max_box_acc_numpy


@pytest.mark.parametrize("with_boxes", [True, False])
def test_each_cell_shows_what_the_model_says(with_boxes):
    split = split_of("test", 6)
    if not with_boxes:
        split = dataclasses.replace(split, boxes=None)
    localizers = {
        name: Localizer(painted_classifier(class_names=NAMES, seed=seed))
        for name, seed in (("one", 0), ("other", 1))
    }
    indices = [4, 1]
    found = compare_models(localizers, split, indices, cell_size=90)

    columns = {name: [] for name in localizers}
    for name, localizer in localizers.items():
        for index in indices:
            image = split.images[index : index + 1]
            out = {k: ops.convert_to_numpy(v) for k, v in localizer(image).items()}
            box, iou = out["boxes"][0, 0], None
            if with_boxes:
                iou = max_box_acc_numpy.best_iou([box], split.boxes[index])
            columns[name].append(
                viz.GalleryCell(
                    score_map=out["score_maps"][0, 0],
                    box=box,
                    iou=iou,
                    class_name=NAMES[out["class_ids"][0, 0]],
                    score=float(out["scores"][0, 0]),
                )
            )
    expected = viz.gallery(
        [split.images[index] for index in indices],
        columns,
        [split.boxes[index] for index in indices] if with_boxes else None,
        [NAMES[split.class_ids[index]] for index in indices],
        cell_size=90,
    )
    assert found.dtype == "uint8"
    np.testing.assert_array_equal(found, expected)


SEVEN = tuple(f"bird {number}" for number in range(7))


@pytest.mark.parametrize(
    ("of_model", "of_split", "shown"),
    [
        (SEVEN, NAMES[:3], SEVEN),
        (SEVEN, NAMES, SEVEN),
        (None, NAMES, NAMES),
        (None, (*NAMES, "one more"), NAMES),
        (None, NAMES[:3], tuple("0123456")),
    ],
)
@pytest.mark.parametrize("top", [1, 5])
def test_predictions_have_the_names_of_the_model(
    of_model, of_split, shown, top, monkeypatch
):
    split = split_of("test", 4)
    split = dataclasses.replace(
        split, class_names=of_split, class_ids=np.minimum(split.class_ids, 2)
    )
    model = painted_classifier(class_names=of_model)
    kernel, bias = model.layers[-1].get_weights()
    bias[:] = 1e6 * (np.arange(7) == top)
    model.layers[-1].set_weights([kernel, bias])
    drawn = []

    def gallery(images, columns, boxes, captions, **options):
        drawn.extend([columns["one"], captions])

    monkeypatch.setattr(viz, "gallery", gallery)
    compare_models({"one": Localizer(model)}, split, [0, 3])
    cells, captions = drawn
    assert [cell.class_name for cell in cells] == [shown[top]] * 2
    assert captions == [of_split[split.class_ids[index]] for index in (0, 3)]
