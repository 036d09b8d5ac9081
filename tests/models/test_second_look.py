import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import evaluation
from keras_wsol.boxes import largest_boxes
from keras_wsol.evaluation import protocol
from keras_wsol.evaluation.measure import MapReader
from keras_wsol.models import Localizer, second_look
from keras_wsol.models.second_look import ObjectCrop
from tests.boxes.opencv_components import components
from tests.models.crops import crop_pixel_by_pixel
from tests.models.painted import CELL, blob_images, expected_maps, painted_classifier
from tests.reference import cam_numpy

SIZE = (24, 36)  # of the classifier
# The blobs are wide: at 0.2 their box is the whole image.
NARROW = {"cam_threshold": 0.7, "margin": 0.05}


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


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
@pytest.mark.parametrize(
    "options", [NARROW, {"cam_threshold": 0.7}, {"cam_threshold": 0.8, "margin": 0.2}]
)
def test_equals_numpy_and_opencv(size, options):
    model, images = small_weights(painted_classifier()), blob_images(6, size)
    localizer = Localizer(model, top_k=7, second_look=True, second_look_options=options)
    found = {name: ops.convert_to_numpy(it) for name, it in localizer(images).items()}
    settings = {"cam_threshold": 0.2, "margin": 0.1, **options}
    expected = expected_probabilities(model, images, **settings)
    of_all = np.take_along_axis(expected, found["class_ids"], axis=1)
    np.testing.assert_allclose(found["scores"], of_all, atol=1e-5)
    assert (np.diff(found["scores"], axis=1) <= 0).all()
    once = expected_maps(model, images)[1]  # the crop's softmax is another
    assert np.abs(expected - softmax(once)).max() > 0.02


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
    images = blob_images(2, SIZE).astype("float32")
    crops = ObjectCrop()(images, np.zeros((2, *SIZE), "float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(crops), images, atol=1e-3)


def test_maps_and_boxes_of_a_class_that_the_second_look_made_the_first():
    model, images = small_weights(painted_classifier()), blob_images(20, SIZE)
    localizer = Localizer(model, second_look=True, second_look_options=NARROW)
    found = {name: ops.convert_to_numpy(it) for name, it in localizer(images).items()}
    once = ops.convert_to_numpy(Localizer(model)(images)["class_ids"])
    assert (found["class_ids"] != once).any()
    expected = Localizer(model)(images, class_ids=found["class_ids"])
    for name in ("boxes", "score_maps"):
        of_class = ops.convert_to_numpy(expected[name])
        np.testing.assert_array_equal(found[name], of_class)


def test_a_class_that_does_not_exist_has_no_score():
    localizer = Localizer(painted_classifier(), second_look=True)
    found = localizer(blob_images(2, SIZE), class_ids=np.array([-1, 3]))
    assert ops.convert_to_numpy(found["scores"])[0, 0] == 0
    assert ops.convert_to_numpy(found["valid"]).ravel().tolist() == [False, True]


@pytest.mark.parametrize("static", [False, True])
def test_static_shapes_are_handed_on(static, monkeypatch):
    seen = []

    def boxes_of(maps, threshold, *, static_shapes):
        seen.append(static_shapes)
        return largest_boxes(maps, threshold, static_shapes=static_shapes)

    monkeypatch.setattr(second_look, "largest_boxes", boxes_of)
    localizer = Localizer(painted_classifier(), second_look=True)
    localizer(blob_images(2, SIZE), static_shapes=static)
    assert seen == [static]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="elsewhere the boxes have static shapes, which XLA compiles",
)
@pytest.mark.parametrize("look", [False, True])
def test_xla_is_left_out_for_a_second_look_alone(look):
    model = MapReader(Localizer(painted_classifier(), second_look=look))._model
    model.jit_compile = True  # as Keras does by itself on a GPU
    assert model.jit_compile is not look


def test_the_maps_of_given_classes_need_none(monkeypatch):
    def crop(*_, **__):
        raise AssertionError("a second look was taken")

    localizer = Localizer(small_weights(painted_classifier()), second_look=True)
    monkeypatch.setattr(ObjectCrop, "call", crop)
    with pytest.raises(AssertionError, match="a second look"):
        localizer.find_maps(blob_images(2, SIZE))
    found = localizer.find_maps(blob_images(2, SIZE), second_look=False)
    plain = Localizer(localizer.model).find_maps(blob_images(2, SIZE))
    for name, value in plain.items():
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found[name], value)))
    batch = {
        "images": blob_images(2, SIZE),
        "class_ids": np.array([0, 1]),
        "boxes": np.array([[[4.0, 4.0, 20.0, 20.0]]] * 2),
    }
    tuned = evaluation.tune_threshold(localizer, [batch], num_thresholds=10, draws=2)
    assert tuned.num_images == 2


def test_it_is_saved_with_the_localizer(tmp_path):
    localizer = Localizer(
        small_weights(painted_classifier()),
        second_look=True,
        second_look_options={"cam_threshold": 0.7, "margin": 0.25},
    )
    images = blob_images(3, SIZE)
    localizer.save(tmp_path / "localizer.keras")
    loaded = keras.saving.load_model(tmp_path / "localizer.keras")
    assert loaded.second_look is True
    assert loaded.second_look_options == {"cam_threshold": 0.7, "margin": 0.25}
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(it(images)["scores"]) for it in (localizer, loaded))
    )


def test_a_functional_model_with_a_crop_is_saved(tmp_path):
    localizer = Localizer(painted_classifier(), second_look=True)
    images = keras.Input((*SIZE, 3))
    model = keras.Model(images, localizer.find_maps(images)["logits"])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    given = blob_images(2, SIZE).astype("float32")
    np.testing.assert_array_equal(
        *(ops.convert_to_numpy(it(given)) for it in (model, loaded))
    )


def test_it_cannot_be_changed_behind_the_crops_back():
    localizer = Localizer(painted_classifier(), second_look=True)
    with pytest.raises(AttributeError):
        localizer.second_look = False
    localizer.second_look_options["margin"] = 0.5
    assert localizer.second_look_options["margin"] == 0.1


def test_evaluation_counts_the_classes_of_both_looks():
    model, images = small_weights(painted_classifier()), blob_images(20, SIZE)
    expected = expected_probabilities(model, images, **NARROW).argmax(axis=1)
    once = expected_maps(model, images)[1].argmax(axis=1)
    assert (expected != once).any()
    # Grad-CAM without a ReLU is CAM here; it needs a gradient within the evaluation.
    boxes = np.tile(np.array([[[4.0, 4.0, 20.0, 20.0]]]), (20, 1, 1))
    split = [{"images": images, "class_ids": expected, "boxes": boxes}]
    look = {"second_look": True, "second_look_options": NARROW}
    by_weights = Localizer(model, **look)
    options = {"score_map": "grad_cam", "map_options": {"relu": False}}
    by_gradients = Localizer(model, **options, **look)
    for localizer in (by_weights, by_gradients):
        assert evaluation.evaluate(localizer, split).top1_cls == 1
    report = evaluation.evaluate(Localizer(model), split)
    assert report.top1_cls == pytest.approx((expected == once).mean())


def test_evaluation_tunes_without_and_measures_with(monkeypatch):
    looks = []

    def reader(localizer, second_look=True):
        looks.append(second_look)
        return MapReader(localizer, second_look)

    monkeypatch.setattr(protocol, "MapReader", reader)
    test, held_out = (
        [
            {
                "images": blob_images(4, SIZE, seed),
                "class_ids": np.arange(4),
                "boxes": np.tile(np.array([[[4.0, 4.0, 20.0, 20.0]]]), (4, 1, 1)),
            }
        ]
        for seed in (0, 1)
    )
    localizer = Localizer(painted_classifier(), second_look=True)
    evaluation.evaluate(localizer, test, tune_on=held_out)
    assert sorted(looks) == [False, True]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"second_look": 1}, TypeError, "`second_look` must be"),
        (
            {"second_look_options": {"margin": 2}},
            ValueError,
            r'`second_look_options\["margin"\]` must be a number in',
        ),
        ({"second_look_options": {"margin": "a"}}, TypeError, "='a'"),
        ({"second_look_options": 0.3}, TypeError, "must be a dictionary"),
        (
            {"second_look_options": {"cam_threshold": 1}},
            ValueError,
            r"must be a number in \[0, 1\)",
        ),
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
