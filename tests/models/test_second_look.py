"""Classes of two looks, against NumPy and OpenCV."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam
from keras_wsol.boxes import largest_boxes
from keras_wsol.models import Localizer, SecondLook, second_look
from keras_wsol.models.second_look import crop_to_boxes, with_margin
from tests.boxes.opencv_components import components
from tests.evaluation.painted_split import split_of
from tests.models.crops import crop_pixel_by_pixel
from tests.models.painted import CELL, blob_images, expected_maps, painted_classifier
from tests.reference import cam_numpy

SIZE = (24, 36)  # of the classifier
# The blobs are wide: at 0.2 their box is the whole image.
NARROW = {"crop_threshold": 0.7, "margin": 0.05}


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def expected_probabilities(model, images, crop_threshold, margin):
    """Mean of both softmaxes, image by image, in NumPy and OpenCV."""
    _, logits, maps = expected_maps(model, images)
    kernel, bias = model.layers[-1].get_weights()
    found = []
    for image, one, of_classes in zip(images, logits, maps, strict=True):
        if image.shape[:2] != SIZE:
            image = cam_numpy.resize(image, SIZE, antialias=True)
        score_map = of_classes[one.argmax()]
        cut = np.float32(crop_threshold) * score_map.max()
        box = np.array(components(score_map > cut)[0].box, float)
        extra = margin * np.array([box[2] - box[0], box[3] - box[1]])
        far = np.minimum(box[2:] + extra, SIZE[::-1])
        box = np.concatenate([np.maximum(box[:2] - extra, 0), far])
        crop = crop_pixel_by_pixel(image.astype("float64"), box)
        cells = crop.reshape(SIZE[0] // CELL, CELL, SIZE[1] // CELL, CELL, 3)
        other = cells.mean(axis=(0, 1, 2, 3)) @ kernel + bias
        found.append((softmax(one) + softmax(other)) / 2)
    return np.array(found)


@pytest.fixture(scope="module")
def model():
    """Logits near one another, so that no softmax is all 0 and 1."""
    model = painted_classifier()
    kernel, bias = model.layers[-1].get_weights()
    kernel = kernel - kernel.mean(axis=0)  # the brightness of all channels is no class
    model.layers[-1].set_weights([kernel / 10, bias / 10])
    return model


def looked(model, options=NARROW, **arguments):
    return SecondLook(Localizer(model, **arguments), **options)


def to_numpy(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (SIZE, {"crop_threshold": 0.7}),
        ((30, 40), NARROW),
        ((30, 40), {"crop_threshold": 0.8, "margin": 0.2}),
    ],
)
def test_equals_numpy_and_opencv(size, options, model):
    images = blob_images(6, size)
    found = to_numpy(looked(model, options, top_k=7)(images))
    expected = expected_probabilities(model, images, **{"margin": 0.1, **options})
    of_all = np.take_along_axis(expected, found["class_ids"], axis=1)
    np.testing.assert_allclose(found["scores"], of_all, atol=1e-5)
    np.testing.assert_allclose(np.exp(found["logits"]), expected, atol=1e-5)
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    once = expected_maps(model, images)[1]  # the crop's softmax is another
    assert np.abs(expected - softmax(once)).max() > 0.02


def test_maps_and_boxes_are_of_the_image(model):
    images, given = blob_images(4, SIZE), np.array([[1], [3], [0], [-1]])
    once = to_numpy(Localizer(model)(images, class_ids=given))
    twice = to_numpy(looked(model)({"images": images, "class_ids": given}))
    for name in ("boxes", "score_maps", "class_ids", "valid"):
        np.testing.assert_array_equal(twice[name], once[name])
    assert (twice["scores"] != once["scores"])[:3].all()
    assert twice["scores"][3] == 0


def test_the_crop_does_not_depend_on_the_threshold_of_the_boxes(model):
    images = blob_images(3, SIZE)
    localizer = SecondLook(Localizer(model, cam_threshold=0.1))
    low = to_numpy(localizer(images))
    localizer.cam_threshold = 0.7
    high = localizer.predict_on_batch(images)
    np.testing.assert_allclose(low["scores"], high["scores"], atol=1e-6)
    assert (low["boxes"] != high["boxes"]).any()


def test_maps_and_boxes_of_a_class_that_the_second_look_made_the_first(model):
    images = blob_images(20, SIZE)
    found = to_numpy(looked(model)(images))
    once = to_numpy(Localizer(model)(images))
    assert (found["class_ids"] != once["class_ids"]).any()
    expected = to_numpy(Localizer(model)(images, class_ids=found["class_ids"]))
    for name in ("boxes", "score_maps"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("static", [False, True])
def test_static_shapes_are_handed_on(static, monkeypatch, model):
    seen = []

    def boxes_of(maps, threshold, *, static_shapes):
        seen.append(static_shapes)
        return largest_boxes(maps, threshold, static_shapes=static_shapes)

    monkeypatch.setattr(second_look, "largest_boxes", boxes_of)
    looked(model)(blob_images(2, SIZE), static_shapes=static)
    assert seen == [static]


def test_it_crops_the_box_of_a_filtered_map_too(model):
    images = blob_images(8, SIZE)
    guided = cam.Guided("cam", strength=1.0)
    scores = to_numpy(looked(model, score_map=guided)(images))["scores"]
    others = to_numpy(looked(model)(images))["scores"]
    assert not np.allclose(scores, others)


def test_it_is_saved_with_the_localizer(tmp_path, model):
    arguments = {"score_map": cam.GradCAM(relu=False), "cam_threshold": 0.3, "top_k": 2}
    arguments["notes"] = {"layer": "the last"}
    localizer = looked(model, **arguments, max_boxes=3, min_share=0.05)
    localizer.save(tmp_path / "localizer.keras")
    loaded = keras.saving.load_model(tmp_path / "localizer.keras")
    assert type(loaded) is SecondLook
    assert loaded.get_config()["crop_threshold"] == 0.7
    assert loaded.get_config()["localizer"]["cam_threshold"] == 0.3
    assert (loaded.max_boxes, loaded.min_share) == (3, 0.05)
    assert loaded.notes == arguments["notes"]
    images = blob_images(3, SIZE)
    found, expected = to_numpy(loaded(images)), to_numpy(localizer(images))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"margin": 2}, ValueError, "`margin` must be a number in"),
        ({"margin": "a"}, TypeError, "margin='a'"),
        ({"crop_threshold": 1}, ValueError, r"must be a number in \[0, 1\)"),
    ],
)
def test_bad_arguments(options, error, message, model):
    with pytest.raises(error, match=message):
        looked(model, options)


def test_what_is_set_after_a_prediction_is_checked_and_used(model):
    images = blob_images(3, SIZE)
    localizer = looked(model)
    before = localizer.predict_on_batch(images)
    localizer.crop_threshold = 0.9
    localizer.margin = 0.2
    found = localizer.predict_on_batch(images)
    options = {"crop_threshold": 0.9, "margin": 0.2}
    expected = to_numpy(looked(model, options)(images))
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-6)
    assert np.abs(found["scores"] - before["scores"]).max() > 1e-4
    for name in options:
        with pytest.raises(ValueError, match=f"`{name}` must be a number in"):
            setattr(localizer, name, -1)
        assert getattr(localizer, name) == options[name]
    with pytest.raises(ValueError, match="`cam_threshold` must be a number in"):
        localizer.cam_threshold = 1


def test_a_threshold_is_tuned_by_one_look(model, monkeypatch):
    # Maps and boxes are those of a single look, and so is the threshold.
    split = split_of("held-out", 5)
    options = {"num_thresholds": 20, "draws": 5}
    expected = Localizer(model).tune(split, **options)
    monkeypatch.setattr(second_look, "crop_to_boxes", None)  # fails if called
    localizer = looked(model)
    found = localizer.tune(split, "mean_iou", **options)
    assert localizer.cam_threshold == found.cam_threshold == expected.cam_threshold
    assert localizer.notes == {
        "threshold": "tuned on 5 images of 'held-out' by mean_iou"
    }
    np.testing.assert_array_equal(found.mean_iou_curve, expected.mean_iou_curve)


def test_crops_equal_those_made_pixel_by_pixel():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (5, 9, 14, 3)).astype("float32")
    near = rng.uniform(0, 4, (5, 2))
    boxes = np.concatenate([near, near + rng.uniform(1, 5, (5, 2))], axis=1)
    boxes[0] = [0, 0, 14, 9]  # the whole image
    found = ops.convert_to_numpy(crop_to_boxes(images, boxes.astype("float32")))
    expected = [
        crop_pixel_by_pixel(image, box)
        for image, box in zip(images, boxes, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found[0], images[0], atol=1e-3)


def test_a_margin_ends_at_the_edge_and_no_box_is_the_whole_image():
    boxes = np.array([[10, 2, 20, 4], [0, 1, 5, 9], [3, 3, 3, 3]], "float32")
    found = ops.convert_to_numpy(with_margin(boxes, (9, 24), 0.5))
    assert found.tolist() == [[5, 1, 24, 5], [0, 0, 7.5, 9], [0, 0, 24, 9]]


def test_the_crop_is_cut_where_the_boxes_are_by_default(model):
    assert SecondLook(Localizer(model, 0.35)).crop_threshold == 0.35
    localizer = looked(model)
    assert localizer.crop_threshold == 0.7
    localizer.crop_threshold = None
    assert localizer.crop_threshold == localizer.cam_threshold


def test_large_logits_stay_finite(model):
    kernel, bias = model.layers[-1].get_weights()
    large = painted_classifier()
    large.layers[-1].set_weights([kernel * 1e4, bias])
    found = to_numpy(looked(large)(blob_images(8, SIZE)))
    assert np.isfinite(found["logits"]).all()
    np.testing.assert_allclose(np.exp(found["logits"]).sum(axis=1), 1, rtol=1e-5)
