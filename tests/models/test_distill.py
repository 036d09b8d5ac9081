"""A localizer distilled to classes and boxes: what it learns, gives, and leaves be."""

import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam, metrics
from keras_wsol.boxes.iou import pairwise_iou
from keras_wsol.cam.score_map import resize_to_input
from keras_wsol.cam.split import node_of
from keras_wsol.data.numpy_pipeline import random_crop_and_flip
from keras_wsol.models import Localizer, class_names_of, distill
from tests.contracts.saved_graph import operations, random_operations
from tests.models.creatures import (
    CENTRE,
    LAYER,
    creatures,
    mean_iou,
    trained_classifier,
)
from tests.models.painted import blob_images, painted_classifier
from tests.models.patches import drawn
from tests.models.small import (
    draw_weights,
    dtype_policy,
    outputs,
    random_images,
    tiny_classifier,
)

own = sys.modules["keras_wsol.models.distill"]  # `models.distill` is the function
TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow's own"
)


@pytest.fixture(scope="module")
def teacher():
    found = cam.Foreground.fit(trained_classifier(), creatures(), LAYER)
    return Localizer(trained_classifier(), 0.1, score_map=found)


@pytest.fixture(scope="module")
def student(teacher):
    return distill(teacher, creatures(), epochs=20)


def painted(**arguments):
    """A localizer that needs no training, of 24 x 36 pixels."""
    return Localizer(painted_classifier(**arguments), 0.4, score_map="channel_mean")


def arrays(found):
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


def test_it_finds_the_creatures_without_a_map(teacher, student):
    test = creatures("train-fullsup", 60)
    boxes = student.predict(test.images, verbose=0)["boxes"][:, 0]
    found = teacher.predict(test.images, verbose=0)["boxes"][:, 0]
    assert mean_iou(boxes, test) > mean_iou(CENTRE, test) + 0.1
    # What it learned are the boxes of the localizer.
    assert np.diag(pairwise_iou(boxes, found, np)).mean() > 0.6


def test_the_boxes_that_it_learns_are_those_of_the_localizer():
    train = drawn(9, boxes="part")  # those of the data set are never read
    found = own._boxes_found(painted(), train)
    expected = painted().predict(train.images, verbose=0)["boxes"][:, 0]
    np.testing.assert_allclose(found, expected / [36, 24, 36, 24], atol=1e-4)


def test_classes_are_those_of_the_localizer(teacher, student):
    for images in (
        creatures("train-fullsup", 60).images,
        random_images(3, (40, 90)),
        np.zeros((1, 64, 64, 3), "uint8"),
    ):
        expected = arrays(teacher(images))
        found = arrays(student(images))
        assert set(found) == {"class_ids", "scores", "boxes", "logits"}
        np.testing.assert_array_equal(found["class_ids"], expected["class_ids"])
        for name in ("scores", "logits"):
            np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
        assert found["boxes"].shape == (len(images), 1, 4)


def test_boxes_are_in_pixels_of_the_images_given(student):
    images = random_images(4, (50, 140))
    boxes = arrays(student(images))["boxes"]
    predicted = student.predict(images, verbose=0)["boxes"]
    np.testing.assert_allclose(predicted, boxes, atol=1e-3)
    sized = arrays(student(resize_to_input(images, (64, 64))))["boxes"]
    scale = np.array([140, 50, 140, 50]) / 64
    np.testing.assert_allclose(boxes, sized * scale, atol=0.05)
    near, far = np.split(boxes, 2, axis=-1)
    assert (near >= 0).all()
    assert (far <= [140, 50]).all()
    assert (far > near).all()


def test_boxes_by_hand():
    shares = np.array([[0.25, 0.5, 0.5, 0.25], [0.5, 0.0, 0.75, 1.0]], "float32")
    logits = np.log(np.array([[1, 2, 1], [5, 4, 1]], "float32"))
    layer = own.ClassesAndBoxes(["a", "b", "c"])
    found = arrays(layer([np.zeros((2, 20, 40, 3)), logits, shares]))
    # What goes beyond the image is cut off.
    assert found["boxes"].tolist() == [[[10, 10, 30, 15]], [[20, 0, 40, 20]]]
    assert found["class_ids"].tolist() == [[1], [0]]
    np.testing.assert_allclose(found["scores"], [[0.5], [0.5]], rtol=1e-6)


def test_the_loss_by_hand():
    true = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]], "float32")
    found = true + np.array([[0.1, 0.0, 0.0, -0.1], [0.0, 0.2, 0.0, 0.0]], "float32")
    loss = own.box_loss(*map(ops.convert_to_tensor, (true, found)))
    loss = ops.convert_to_numpy(loss)
    np.testing.assert_allclose(loss, [50 * 0.02 / 4, 50 * 0.04 / 4], rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_go_with_crops_and_flips(seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((120, 200, 3), "uint8")
    left, top = rng.integers((0, 0), (100, 60))
    right, bottom = left + rng.integers(40, 100), top + rng.integers(30, 60)
    image[top:bottom, left:right] = 255
    draws = rng.random(3)
    crop = random_crop_and_flip(image, (96, 144), draws)[..., 0] > 127
    share = np.array([left / 200, top / 120, right / 200, bottom / 120])
    x, y, width, height = own.cropped_and_flipped(share, (96, 144), draws)
    columns, rows = np.flatnonzero(crop.any(0)), np.flatnonzero(crop.any(1))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    found = np.array([x, y, x + width, y + height]) * [144, 96, 144, 96]
    np.testing.assert_allclose(found, expected, atol=1)


def test_an_image_without_a_box_is_left_out():
    # Where an image is one colour, there is no map.
    images = blob_images(5, (24, 36))
    images[[1, 3]] = 50
    dataset = own._as_dataset(list(images[:, None]))
    boxes = own._boxes_found(painted(), dataset)
    assert np.isnan(boxes).all(axis=1).tolist() == [False, True, False, True, False]
    examples = own._Examples(dataset, boxes, (24, 36), seed=0)
    pixels, found = examples[0]
    assert len(examples) == 1
    assert pixels.shape == (3, 24, 36, 3)
    assert np.isfinite(found).all()
    again = examples[0]
    np.testing.assert_array_equal(again[0], pixels)
    examples.on_epoch_end()
    assert np.abs(examples[0][0] - pixels).max() > 0
    with pytest.raises(ValueError, match=r"box in some of the images.*2 images"):
        distill(painted(), images[None, [1, 3]], epochs=1)


@pytest.mark.slow
def test_the_seed_fixes_it_and_forms_of_images_do_not_matter():
    dataset = drawn(9)
    images = dataset.images
    forms = [
        dataset,
        [images[:4], images[4:]],
        [(images.astype("float32"), dataset.class_ids)],
        iter([{"images": images, "paths": None}]),
    ]
    shown = images[:2]
    made = [distill(painted(), form, epochs=2) for form in forms]
    first, *others = [arrays(each(shown))["boxes"] for each in made]
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-2)
    seeded = arrays(distill(painted(), dataset, epochs=2, seed=1)(shown))["boxes"]
    assert np.abs(seeded - first).max() > 0.1


@pytest.mark.parametrize("freeze", [True, False])
def test_what_is_trained(freeze):
    model = tiny_classifier(freeze="backbone")
    before, images = model.get_weights(), random_images(8, (16, 24))
    trainable = [layer.trainable for layer in model.layers]
    localizer = Localizer(model, 0.3, score_map="channel_mean")
    expected = arrays(localizer(images))["logits"]
    student = distill(localizer, [images], freeze=freeze, epochs=2)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [layer.trainable for layer in model.layers] == trainable
    found = arrays(student(np.rint(images)))["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-2)
    # One pass, or a second network beside the classifier that has learned.
    assert ("box_trunk" in [each.name for each in student.layers]) != freeze
    if not freeze:
        weights = [
            student.get_layer(name).get_layer("conv1").get_weights()[0]
            for name in ("classifier", "box_trunk")
        ]
        assert np.abs(weights[0] - weights[1]).max() > 1e-5


def test_a_frozen_network_hides_nothing_while_the_head_trains():
    model = tiny_classifier(method="dropblock")
    draw_weights(model)
    localizer = Localizer(model, 0.3, score_map="channel_mean")
    images = random_images(8, (16, 24))
    features = []
    for freeze in (True, False):
        _, trained = own._with_box_head(localizer, freeze, seed=0)
        (read,) = node_of(trained.outputs[0]).parents
        part = keras.Model(trained.inputs[0], read)
        features.append([outputs(part, images, training=x) for x in (True, False)])
    np.testing.assert_array_equal(*features[0])
    assert np.abs(features[1][0] - features[1][1]).max() > 0.01


def test_it_is_measured_by_the_metrics(student):
    test = creatures("train-fullsup", 60)
    batch = {"boxes": test.boxes, "class_ids": test.class_ids}
    out = student.predict(test.images, verbose=0)
    metric = metrics.Top1Loc(iou_threshold=0.5)
    metric.update_state(batch, out)
    ious = pairwise_iou(out["boxes"], test.boxes, np)[:, 0, 0]
    right = (out["class_ids"][:, 0] == test.class_ids) & (ious >= 0.5)
    assert float(ops.convert_to_numpy(metric.result())) == pytest.approx(right.mean())


def test_saved_and_loaded_it_is_the_same(student, tmp_path):
    images = random_images(3, (50, 70))
    student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras")
    expected = arrays(student(images))
    for name, value in arrays(again(images)).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4, err_msg=name)
    assert class_names_of(again) == creatures().class_names


@TENSORFLOW
@pytest.mark.export
@pytest.mark.slow
def test_exported_it_takes_any_size_and_gives_the_same(student, tmp_path):
    import tensorflow as tf

    student.export(tmp_path / "1", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "1")
    for count, size in ((2, (50, 70)), (1, (64, 64))):
        images = random_images(count, size)
        expected = arrays(student(images))
        for name, value in loaded.serve(tf.constant(images)).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=name)
    assert not {name for name in operations(tmp_path / "1") if "PyFunc" in name}
    assert random_operations(tmp_path / "1") == []


def test_in_mixed_precision():
    with dtype_policy("mixed_float16"):
        localizer = Localizer(tiny_classifier(), 0.3, score_map="channel_mean")
        student = distill(localizer, [random_images(6, (16, 24))], epochs=1)
    found = arrays(student(random_images(2, (90, 80))))
    assert {name: value.dtype.name for name, value in found.items()} == {
        "class_ids": "int32",
        "scores": "float32",
        "boxes": "float32",
        "logits": "float32",
    }
    assert np.isfinite(found["boxes"]).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: distill(painted_classifier(), x),
            TypeError,
            "must be a `Localizer`",
        ),
        (lambda x: distill(painted(), x, freeze=1), TypeError, "`freeze` must be"),
        (lambda x: distill(painted(), x, epochs=0), ValueError, "`epochs` must be"),
        (lambda x: distill(painted(), x, seed=-1), ValueError, "`seed` must be"),
        (lambda _: distill(painted(), 3), TypeError, "an `ImageDataset` or batches"),
        (lambda _: distill(painted(), []), ValueError, r"of one size.*shapes \[\]"),
        (
            lambda x: distill(painted(), [*x, x[0][:, 1:]]),
            ValueError,
            r"of one size.*\(23, 36, 3\), \(24, 36, 3\)",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call([blob_images(2, (24, 36))])


def test_pixels_outside_are_cut_off():
    pixels = np.array([-1.0, 255.6, 256.0, 254.6, 0.4, 7.0], "float32")
    found = own._as_dataset([np.resize(pixels, (2, 2, 3, 3))])
    expected = np.resize([0, 255, 255, 255, 0, 7], (2, 2, 3, 3))
    np.testing.assert_array_equal(found.images, expected)
