import dataclasses

import numpy as np
import pytest
from keras import ops

from keras_wsol import viz
from keras_wsol.models import Localizer
from keras_wsol.viz.side_by_side import evenly, show_found
from tests.evaluation.painted_split import NAMES, split_of
from tests.models.painted import painted_classifier
from tests.reference import max_box_acc_numpy

SEVEN = tuple(f"bird {number}" for number in range(7))
RED, GREEN = (1, 0, 0), (0, 1, 0)


def lines(axes):
    return [text.get_text() for text in axes.texts]


def boxes_of(axes, color):
    return [
        patch.get_bbox().extents
        for patch in axes.patches
        if patch.get_edgecolor()[:3] == color
    ]


def answers(localizer, image, class_ids=None):
    out = localizer(image[None], class_ids)
    names = ("class_ids", "scores", "boxes", "score_maps")
    return [ops.convert_to_numpy(out[name])[0, 0] for name in names]


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
    figure = viz.compare_models(localizers, split, indices, cell_size=90)

    assert len(figure.axes) == 6
    assert [a.get_title() for a in figure.axes[:3]] == ["image", "one", "other"]
    for row, index in enumerate(indices):
        image = split.images[index]
        plain, *models = figure.axes[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(plain.images[0].get_array(), image)
        assert lines(plain) == [NAMES[split.class_ids[index]]]
        for axes, localizer in zip(models, localizers.values(), strict=True):
            class_id, score, box, score_map = answers(localizer, image)
            shown = viz.overlay(image, score_map)
            np.testing.assert_array_equal(axes.images[0].get_array(), shown)
            np.testing.assert_allclose(boxes_of(axes, GREEN), [box], atol=1e-3)
            assert lines(axes)[-1] == f"{NAMES[class_id]} ({score:.2f})"
            if not with_boxes:
                assert len(lines(axes)) == 1
                continue
            true = split.boxes[index]
            iou = max_box_acc_numpy.best_iou([box], true)
            mark, _, number = lines(axes)[0].split()
            assert mark == ("\u2714" if iou >= 0.5 else "\u2718")
            assert 0 <= iou - float(number) < 0.0101
            true = true[(true >= 0).all(axis=1)].clip(max=(50, 31, 50, 31))
            np.testing.assert_allclose(boxes_of(axes, RED), true, atol=1e-3)


def test_models_come_in_a_dictionary_of_localizers():
    model, split = painted_classifier(class_names=NAMES), split_of("test", 2)
    for wrong in (Localizer(model), [Localizer(model)], {"one": model}):
        with pytest.raises(TypeError, match="`models` must be a dictionary of titles"):
            viz.compare_models(wrong, split, [0])


@pytest.mark.parametrize(
    ("of_model", "of_split", "shown"),
    [
        (SEVEN, NAMES[:3], SEVEN),
        (None, (*NAMES, "one more"), NAMES),
        (None, NAMES[:3], tuple("0123456")),
    ],
)
def test_predictions_have_the_names_of_the_model(of_model, of_split, shown):
    split = split_of("test", 4)
    split = dataclasses.replace(
        split, class_names=of_split, class_ids=np.minimum(split.class_ids, 2)
    )
    model = painted_classifier(class_names=of_model)
    kernel, bias = model.layers[-1].get_weights()
    bias[:] = 1e6 * (np.arange(7) == 5)
    model.layers[-1].set_weights([kernel, bias])
    figure = viz.compare_models({"one": Localizer(model)}, split, [0, 3])
    for row, index in enumerate((0, 3)):
        plain, predicted = figure.axes[2 * row : 2 * row + 2]
        assert lines(plain) == [of_split[split.class_ids[index]]]
        assert lines(predicted)[-1] == f"{shown[5]} (1.00)"


@pytest.mark.parametrize("true_classes", [False, True])
def test_a_column_shows_the_box_of_its_threshold(true_classes):
    split = split_of("test", 6)
    model = painted_classifier()
    figure = viz.show_thresholds(
        Localizer(model, cam_threshold=0.35),
        split,
        [5, 2],
        (0.15, 0.35, 0.7),
        true_classes=true_classes,
    )
    assert [a.get_title() for a in figure.axes[:3]] == ["0.15", "0.35 *", "0.7"]
    top_ids = []
    for row, index in enumerate((5, 2)):
        image = split.images[index]
        class_ids = split.class_ids[[index]] if true_classes else None
        top_ids.append(answers(Localizer(model), image)[0])
        for column, threshold in enumerate((0.15, 0.35, 0.7)):
            localizer = Localizer(model, cam_threshold=threshold)
            _, _, box, score_map = answers(localizer, image, class_ids)
            axes = figure.axes[3 * row + column]
            np.testing.assert_allclose(boxes_of(axes, GREEN), [box], atol=1e-3)
            shown = viz.overlay(image, score_map, alpha=0.4)
            np.testing.assert_array_equal(axes.images[0].get_array(), shown)
    # Else the two ways could not be told apart.
    assert (top_ids != split.class_ids[[5, 2]]).any()


def test_a_threshold_that_tune_has_chosen_is_marked():
    localizer = Localizer(painted_classifier(), cam_threshold=float(np.float32(0.2)))
    figure = viz.show_thresholds(localizer, split_of("test", 1), [0], (0.1, 0.2))
    assert [a.get_title() for a in figure.axes[:2]] == ["0.1", "0.2 *"]


def test_true_classes_are_those_of_the_model():
    split = dataclasses.replace(split_of("test", 2), class_names=NAMES[::-1])
    localizer = Localizer(painted_classifier(class_names=NAMES))
    viz.show_thresholds(localizer, split, [0])
    with pytest.raises(ValueError, match="must know the classes of 'painted'"):
        viz.show_thresholds(localizer, split, [0], true_classes=True)


def test_thresholds_have_to_ascend():
    localizer = Localizer(painted_classifier())
    with pytest.raises(ValueError, match="ascend"):
        viz.show_thresholds(localizer, split_of("test", 2), [0], (0.5, 0.3))


@pytest.mark.parametrize("true_class", [False, True])
def test_one_image_with_all_that_was_found(true_class):
    split = dataclasses.replace(split_of("test", 6), boxes=None)
    options = {"cam_threshold": 0.55, "max_boxes": 3, "min_share": 0.0}
    localizer = Localizer(painted_classifier(class_names=NAMES), **options)
    for index in range(6):
        class_ids = split.class_ids[[index]] if true_class else None
        out = localizer(split.images[index][None], class_ids)
        out = {
            k: ops.convert_to_numpy(v)[0, 0] for k, v in out.items() if k != "logits"
        }
        (axes,) = show_found(localizer, split, index, true_class=true_class).axes
        assert axes.get_title() == "threshold 0.55"
        assert lines(axes) == [f"{NAMES[out['class_ids']]} ({out['scores']:.2f})"]
        expected = out["component_boxes"][: out["num_components"]]
        np.testing.assert_allclose(boxes_of(axes, GREEN), expected, atol=1e-3)
        options = {"true_class": true_class, "min_score": 0.5}
        (axes,) = show_found(localizer, split, index, **options).axes
        assert ("no box" in lines(axes)[0]) == (out["scores"] < 0.5)


def test_classes_are_shown_evenly():
    class_ids = np.repeat([-1, 3, 8], [1, 40, 4])
    chosen = evenly(class_ids, 9)
    assert class_ids[chosen].tolist() == [-1] + 4 * [3] + 4 * [8]
    assert chosen[1:5].tolist() == [6, 16, 26, 36]  # 1 + 5, 15, 25, 35 of 40
    assert evenly(class_ids, 99).tolist() == list(range(45))
    # Fewer than classes: of classes as far apart as can be.
    assert evenly(np.arange(10), 2).tolist() == [2, 7]
    assert evenly(np.zeros(0, int), 3).tolist() == []
