import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import evaluation
from keras_wsol.models import Localizer
from keras_wsol.models.second_look import (
    ObjectCrop,
    crop_to_boxes,
    mean_of_two_looks,
    with_margin,
)
from tests.boxes.opencv_components import components
from tests.models.painted import CELL, blob_images, expected_maps, painted_classifier
from tests.reference import cam_numpy

SIZE = (24, 36)  # of the classifier
# The blobs are wide: at 0.2 their box is the whole image.
NARROW = {"cam_threshold": 0.7, "margin": 0.05}


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def crop_pixel_by_pixel(image, box):
    """Bilinear with half-pixel centres; the edge's pixels go on outside."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    crop = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            y = np.clip(y0 + (row + 0.5) * (y1 - y0) / height - 0.5, 0, height - 1)
            x = np.clip(x0 + (column + 0.5) * (x1 - x0) / width - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            down, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = image[top, left] * (1 - x % 1) + image[top, right] * (x % 1)
            below = image[down, left] * (1 - x % 1) + image[down, right] * (x % 1)
            crop[row, column] = above * (1 - y % 1) + below * (y % 1)
    return crop


def expected_probabilities(model, images, cam_threshold, margin):
    """Mean of both softmaxes, image by image, in NumPy and OpenCV."""
    _, logits, maps = expected_maps(model, images)
    kernel, bias = model.layers[-1].get_weights()
    found = []
    for image, one, of_classes in zip(images, logits, maps, strict=True):
        if image.shape[:2] != SIZE:
            image = cam_numpy.resize(image, SIZE, antialias=True)
        score_map = of_classes[one.argmax()]
        cut = np.float32(cam_threshold) * score_map.max()
        box = np.array(components(score_map > cut)[0].box, float)
        extra = margin * np.array([box[2] - box[0], box[3] - box[1]])
        far = np.minimum(box[2:] + extra, SIZE[::-1])
        box = np.concatenate([np.maximum(box[:2] - extra, 0), far])
        crop = crop_pixel_by_pixel(image.astype("float64"), box)
        cells = crop.reshape(SIZE[0] // CELL, CELL, SIZE[1] // CELL, CELL, 3)
        other = cells.mean(axis=(0, 1, 2, 3)) @ kernel + bias
        found.append((softmax(one) + softmax(other)) / 2)
    return np.array(found)


def small_weights(model):
    """Logits near one another, so that no softmax is all 0 and 1."""
    kernel, bias = model.layers[-1].get_weights()
    kernel = kernel - kernel.mean(axis=0)  # the brightness of all channels is no class
    model.layers[-1].set_weights([kernel / 10, bias / 10])
    return model


@pytest.mark.parametrize("size", [SIZE, (30, 40)])
@pytest.mark.parametrize("options", [{}, {"margin": 0.3}, NARROW])
def test_equals_numpy_and_opencv(size, options):
    model, images = small_weights(painted_classifier()), blob_images(6, size)
    localizer = Localizer(model, top_k=7, second_look=True, second_look_options=options)
    found = {name: ops.convert_to_numpy(it) for name, it in localizer(images).items()}
    settings = {"cam_threshold": 0.2, "margin": 0.1, **options}
    expected = expected_probabilities(model, images, **settings)
    of_all = np.take_along_axis(expected, found["class_ids"], axis=1)
    np.testing.assert_allclose(found["scores"], of_all, atol=1e-5)
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    if options == NARROW:  # the crop's softmax is another
        once = expected_maps(model, images)[1]
        assert np.abs(expected - softmax(once)).max() > 0.05


def test_maps_and_boxes_are_of_the_image():
    model, images = small_weights(painted_classifier()), blob_images(4, SIZE)
    given = np.array([[1], [3], [0], [6]])
    once, twice = (
        Localizer(model, second_look=look, second_look_options=NARROW)(
            images, class_ids=given
        )
        for look in (False, True)
    )
    for name in ("boxes", "score_maps", "class_ids", "valid"):
        found, expected = (ops.convert_to_numpy(it[name]) for it in (twice, once))
        np.testing.assert_array_equal(found, expected)
    assert (ops.convert_to_numpy(twice["scores"] != once["scores"])).all()


def test_the_crop_does_not_depend_on_the_threshold_of_the_boxes():
    model, images = small_weights(painted_classifier()), blob_images(3, SIZE)
    low, high = (
        Localizer(model, cam_threshold=threshold, second_look=True)(images)
        for threshold in (0.1, 0.7)
    )
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(it["scores"]) for it in (low, high))
    )
    assert ops.convert_to_numpy(low["boxes"] != high["boxes"]).any()


def test_an_empty_map_has_the_whole_image_for_a_crop():
    images = np.full((2, *SIZE, 3), 90, "uint8")  # no cell is above another
    model = small_weights(painted_classifier())
    once, twice = (
        Localizer(model, second_look=second_look)(images)
        for second_look in (False, True)
    )
    assert not ops.convert_to_numpy(twice["valid"]).any()
    np.testing.assert_allclose(
        *(ops.convert_to_numpy(it["scores"]) for it in (twice, once)), atol=1e-5
    )


def test_static_shapes_give_the_same():
    model, images = small_weights(painted_classifier()), blob_images(4, SIZE)
    localizer = Localizer(model, second_look=True)
    found, expected = (
        localizer(images, static_shapes=static)["scores"] for static in (True, False)
    )
    np.testing.assert_allclose(
        *(ops.convert_to_numpy(it) for it in (found, expected)), atol=1e-6
    )


def test_it_is_saved_with_the_localizer(tmp_path):
    localizer = Localizer(
        small_weights(painted_classifier()),
        second_look=True,
        second_look_options={"margin": 0.25},
    )
    images = blob_images(3, SIZE)
    localizer.save(tmp_path / "localizer.keras")
    loaded = keras.saving.load_model(tmp_path / "localizer.keras")
    assert loaded.second_look is True
    assert loaded.second_look_options == {"cam_threshold": 0.2, "margin": 0.25}
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(it(images)["scores"]) for it in (localizer, loaded))
    )


def test_evaluation_counts_the_classes_of_both_looks():
    model, images = small_weights(painted_classifier()), blob_images(20, SIZE)
    expected = expected_probabilities(model, images, **NARROW).argmax(axis=1)
    once = expected_maps(model, images)[1].argmax(axis=1)
    assert (expected != once).any()
    boxes = np.tile(np.array([[[4.0, 4.0, 20.0, 20.0]]]), (20, 1, 1))
    split = [{"images": images, "class_ids": expected, "boxes": boxes}]
    localizer = Localizer(model, second_look=True, second_look_options=NARROW)
    report = evaluation.evaluate(localizer, split)
    assert report.top1_cls == 1
    report = evaluation.evaluate(Localizer(model), split)
    assert report.top1_cls == pytest.approx((expected == once).mean())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"second_look": 1}, TypeError, "`second_look` must be"),
        ({"second_look_options": {"margin": 2}}, ValueError, "`margin` must be"),
        ({"second_look_options": {"margin": "a"}}, TypeError, "margin='a'"),
        (
            {"second_look_options": {"scale": 1}},
            ValueError,
            r"may hold \['cam_threshold', 'margin'\]. Received: \['scale'\]",
        ),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Localizer(painted_classifier(), **arguments)


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


def test_a_margin_ends_at_the_edge():
    boxes = np.array([[10, 2, 20, 4], [0, 1, 5, 9], [3, 3, 3, 3]], "float32")
    found = ops.convert_to_numpy(with_margin(boxes, (9, 24), 0.5))
    assert found.tolist() == [[5, 1, 24, 5], [0, 0, 7.5, 9], [0, 0, 24, 9]]


def test_the_crop_keeps_its_shape_in_a_symbolic_call():
    images, maps = keras.Input((*SIZE, 3)), keras.Input(SIZE)
    assert ObjectCrop()(images, maps).shape == (None, *SIZE, 3)


def test_large_logits_stay_finite():
    one, other = np.array([[1000.0, 0]], "float32"), np.array([[0, 1000.0]], "float32")
    found = ops.convert_to_numpy(mean_of_two_looks(one, other))
    np.testing.assert_allclose(found, np.log([[0.5, 0.5]]), atol=1e-6)
