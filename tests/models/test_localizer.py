import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import metrics
from keras_wsol.models import Localizer, build_classifier
from tests.boxes.opencv_components import components
from tests.models.painted import blob_images, expected_maps, painted_classifier
from tests.models.small import draw_weights, dtype_policy, tiny_classifier

SIZE = (24, 36)  # of the classifier


def to_numpy(outputs):
    return {name: ops.convert_to_numpy(value) for name, value in outputs.items()}


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def expected_outputs(
    model, images, class_ids, cam_threshold, max_boxes=1, min_share=0.3
):
    """The whole way in NumPy and OpenCV; `class_ids` (B, K)."""
    _, logits, every_map = expected_maps(model, images)
    rows = np.arange(len(images))[:, None]
    scale = np.array(images.shape[1:3][::-1] * 2) / np.array(SIZE[::-1] * 2)
    maps = every_map[rows, class_ids]
    shape = class_ids.shape
    boxes = np.zeros((*shape, max_boxes, 4))
    scores = softmax(logits)[rows, class_ids]
    component_scores = np.zeros((*shape, max_boxes))
    counts = np.zeros(shape, int)
    for b, k in itertools.product(*map(range, shape)):
        cut = np.float32(cam_threshold) * maps[b, k].max()
        found = components(maps[b, k] > cut, min_share)[:max_boxes]
        counts[b, k] = len(found)
        for n, component in enumerate(found):
            boxes[b, k, n] = component.box * scale
            share = component.area / found[0].area
            component_scores[b, k, n] = scores[b, k] * share
    return {
        "class_ids": class_ids,
        "scores": scores,
        "boxes": boxes[:, :, 0],
        "score_maps": maps,
        "valid": counts > 0,
        "component_boxes": boxes,
        "component_scores": component_scores,
        "num_components": counts,
        "logits": logits,
    }


def check(found, expected):
    for name, value in found.items():
        tolerance = 5e-3 if "boxes" in name else 5e-5
        np.testing.assert_allclose(
            value, expected[name], atol=tolerance, rtol=1e-4, err_msg=name
        )


def ranked(model, images, top_k):
    """The `top_k` classes of each image, best first."""
    _, logits, _ = expected_maps(model, images)
    return np.argsort(-logits, axis=1)[:, :top_k]


BASIC = ["boxes", "class_ids", "logits", "score_maps", "scores", "valid"]


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(SIZE, "uint8"), ((48, 36), "float32"), ((17, 23), "uint8"), ((24, 37), "uint8")],
)
def test_equals_numpy_and_opencv_on_images_of_any_size(size, dtype):
    model = painted_classifier()
    images = blob_images(4, size).astype(dtype)
    found = to_numpy(Localizer(model)(images))
    expected = expected_outputs(model, images, ranked(model, images, 1), 0.2)
    assert sorted(found) == BASIC
    check(found, expected)
    dtypes = {name: str(value.dtype) for name, value in found.items()}
    assert dtypes == {
        "boxes": "float32",
        "class_ids": "int32",
        "logits": "float32",
        "score_maps": "float32",
        "scores": "float32",
        "valid": "bool",
    }


@pytest.mark.parametrize("dtype", ["uint16", "int64", "bool"])
@pytest.mark.parametrize("way", ["__call__", "predict", "predict_on_batch"])
def test_images_of_a_dtype_that_pixels_do_not_have_are_refused(way, dtype):
    images = blob_images(2, SIZE).astype(dtype)
    localize = getattr(Localizer(painted_classifier()), way)
    for batch in (images, {"images": images, "class_ids": np.zeros(2, int)}):
        with pytest.raises(TypeError, match=rf"floats in \[0, 255\].*dtype {dtype}"):
            localize(batch)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1)])
@pytest.mark.parametrize("way", ["__call__", "predict", "predict_on_batch"])
def test_of_images_that_are_normalized_already_it_warns(way, low, high):
    images = blob_images(2, SIZE) / 255 * (high - low) + low
    images[0, 0, 0], images[0, 0, 1] = low, high
    message = rf"in \[0, 255\], .*Received: pixels in \[{low}, {high}\]"
    with pytest.warns(UserWarning, match=message):
        getattr(Localizer(painted_classifier()), way)(images.astype("float32"))


def test_boxes_are_in_pixels_of_the_given_images():
    # A bright rectangle whose box one knows, in an image of twice the height.
    kernel = np.eye(3, 7)
    model = painted_classifier(kernel=kernel)
    images = np.zeros((1, 48, 36, 3), "float32")
    images[0, 16:32, 12:24, 1] = 255
    out = to_numpy(Localizer(model, cam_threshold=0.5)(images, class_ids=[1]))
    # Rows 8 to 16 of the map: half its value reaches just to the edge of the cells.
    np.testing.assert_allclose(out["boxes"][0, 0], [12, 16, 24, 32], atol=2.01)
    assert out["score_maps"].shape == (1, 1, *SIZE)


@pytest.mark.parametrize("top_k", [3, 7])
def test_top_k_classes_best_first(top_k):
    model = painted_classifier()
    images = blob_images(5, SIZE, seed=1)
    found = to_numpy(Localizer(model, top_k=top_k)(images))
    expected = expected_outputs(model, images, ranked(model, images, top_k), 0.2)
    check(found, expected)
    assert (np.diff(found["scores"], axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([3, 0, 6, 6], list),
        ([3, 0, 6, 6], ops.convert_to_tensor),
        ([[3, 1], [0, 0], [5, 2], [6, 4]], np.array),
    ],
)
def test_classes_that_are_given(given, kind):
    # Scores stay those of a softmax over all classes, whichever are asked for.
    model = painted_classifier()
    images = blob_images(4, (30, 40), seed=2)
    localizer = Localizer(model, top_k=5)
    class_ids = np.array(given).reshape(4, -1)
    expected = expected_outputs(model, images, class_ids, 0.2)
    check(to_numpy(localizer(images, class_ids=kind(given))), expected)


def test_a_dictionary_of_images_and_classes():
    model = painted_classifier()
    images, class_ids = blob_images(4, (30, 40), seed=2), np.array([3, 0, 6, 6])
    # What else a batch holds is ignored, strings and empty tensors, too.
    batch = {
        "images": images,
        "class_ids": class_ids,
        "paths": np.array(["a", "b", "c", "d"]),
        "boxes": np.zeros((4, 0, 4), "float32"),
        "sizes": [],
    }
    localizer = Localizer(model, top_k=2)
    expected = expected_outputs(model, images, class_ids[:, None], 0.2)
    check(to_numpy(localizer(batch)), expected)
    check(localizer.predict_on_batch(batch), expected)
    del batch["class_ids"]
    ranked_ids = ranked(model, images, 2)
    check(to_numpy(localizer(batch)), expected_outputs(model, images, ranked_ids, 0.2))
    with pytest.raises(ValueError, match=r"must hold 'images'\. Received: \['image'\]"):
        localizer({"image": images})


class PyBatches(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


@pytest.mark.parametrize("kind", [iter, PyBatches, "arrays", "tf.data"])
def test_predict_takes_batches_of_dictionaries(kind):
    model = painted_classifier()
    images, class_ids = blob_images(7, (30, 40)), np.array([3, 0, 6, 6, 1, 2, 5])
    paths = np.array([f"{number}.jpg" for number in range(7)])
    whole = {"images": images, "class_ids": class_ids, "paths": paths}
    batches = [
        {name: value[part] for name, value in whole.items()}
        for part in (slice(3), slice(3, 6), slice(6, 7))
    ]
    if kind == "arrays":
        source = {**whole}
    elif kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        source = tf.data.Dataset.from_tensor_slices(whole).batch(3)
    else:
        source = kind(batches)
    localizer = Localizer(model)
    localizer.compile(run_eagerly=kind != "tf.data")
    found = localizer.predict(source, verbose=0)
    check(found, expected_outputs(model, images, class_ids[:, None], 0.2))


def test_a_threshold_for_one_call():
    model = painted_classifier()
    images = blob_images(4, SIZE, seed=3)
    localizer = Localizer(model, cam_threshold=0.3)
    class_ids = ranked(model, images, 1)
    for threshold, expected in ((None, 0.3), (0.6, 0.6), (0.0, 0.0)):
        found = to_numpy(localizer(images, cam_threshold=threshold))
        check(found, expected_outputs(model, images, class_ids, expected))
    assert localizer.cam_threshold == 0.3


@pytest.mark.parametrize(("min_share", "most"), [(0.1, 3), (0.3, 1)])
def test_more_boxes_than_one(min_share, most):
    max_boxes = 3
    model = painted_classifier()
    images = blob_images(6, (30, 40), seed=4)
    images[:, ::9, ::8] = 255  # specks, so that there are several components
    options = {"max_boxes": max_boxes, "min_share": min_share}
    localizer = Localizer(model, cam_threshold=0.6, top_k=2, **options)
    found = to_numpy(localizer(images))
    class_ids = ranked(model, images, 2)
    expected = expected_outputs(model, images, class_ids, 0.6, **options)
    assert expected["num_components"].min() < max_boxes
    assert expected["num_components"].max() == most
    assert sorted(found) == sorted(expected)
    check(found, expected)
    np.testing.assert_array_equal(found["boxes"], found["component_boxes"][:, :, 0])
    largest = np.where(found["valid"], found["scores"], 0)
    np.testing.assert_array_equal(largest, found["component_scores"][:, :, 0])


def test_an_empty_map_is_not_valid_and_has_no_box():
    model = painted_classifier()
    images = blob_images(3, SIZE)
    images[1] = 77
    found = to_numpy(Localizer(model, max_boxes=2)(images))
    assert found["valid"].ravel().tolist() == [True, False, True]
    assert not found["boxes"][1].any()
    assert not found["score_maps"][1].any()
    assert not found["component_boxes"][1].any()
    assert found["num_components"][1, 0] == 0
    assert found["scores"][1] > 0


def test_a_model_with_a_softmax_gives_the_same():
    model = painted_classifier()
    images = blob_images(3, (30, 40))
    inputs = keras.Input((*SIZE, 3))
    x = model.get_layer("features")(inputs)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    dense = keras.layers.Dense(7, activation="softmax")
    softmaxed = keras.Model(inputs, dense(x))
    dense.set_weights(model.layers[-1].get_weights())
    expected = to_numpy(Localizer(model, top_k=3)(images))
    check(to_numpy(Localizer(softmaxed, top_k=3)(images)), expected)


def test_training_mode_changes_nothing():
    model = tiny_classifier("tiny", "dgdm")
    draw_weights(model)
    images = blob_images(2, (16, 24))
    localizer = Localizer(model)
    expected = to_numpy(localizer(images))
    for name, value in to_numpy(localizer(images, training=True)).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_weights_that_change_after_it_was_made_are_used():
    model = painted_classifier()
    localizer = Localizer(model)
    images = blob_images(2, SIZE)
    localizer(images)
    model.layers[-1].set_weights(painted_classifier(seed=9).layers[-1].get_weights())
    class_ids = ranked(model, images, 1)
    check(to_numpy(localizer(images)), expected_outputs(model, images, class_ids, 0.2))


def test_predict_takes_images():
    images = blob_images(7, (30, 40))
    localizer = Localizer(painted_classifier(), max_boxes=2)
    found = localizer.predict(images, batch_size=3, verbose=0)
    expected = to_numpy(localizer(images))
    assert sorted(found) == sorted(expected)
    check(found, expected)


@pytest.mark.parametrize("policy", [None, "mixed_float16"])
def test_saved_and_loaded_it_is_equal_to_the_bit(policy, tmp_path):
    with dtype_policy(policy or "float32"):
        model = tiny_classifier("tiny", "adl", class_names=list("abcde"))
        draw_weights(model)
        localizer = Localizer(model, cam_threshold=0.35, top_k=2, max_boxes=3)
        localizer.min_share = 0.1
    localizer.save(tmp_path / "localizer.keras")
    revived = keras.saving.load_model(tmp_path / "localizer.keras")
    assert type(revived) is Localizer
    assert repr(revived.score_map) == repr(localizer.score_map)
    arguments = ("cam_threshold", "top_k", "max_boxes", "min_share", "name")
    for name in arguments:
        assert getattr(revived, name) == getattr(localizer, name)
    images = blob_images(2, (50, 70))
    expected = to_numpy(localizer(images))
    for name, value in to_numpy(revived(images)).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_config_names_every_argument():
    arguments = {"cam_threshold": 0.35, "top_k": 2, "max_boxes": 3}
    arguments["min_share"] = 0.1
    config = Localizer(
        painted_classifier(), name="mine", score_map="grad_cam", **arguments
    ).get_config()
    assert {key: config[key] for key in arguments} == arguments
    assert config["name"] == "mine"
    assert config["score_map"]["class_name"] == "GradCAM"


def test_outputs_are_float32_under_mixed_float16():
    with dtype_policy("mixed_float16"):
        model = painted_classifier()
        localizer = Localizer(model)
    images = blob_images(4, (30, 40))
    found = to_numpy(localizer(images))
    for name in ("scores", "boxes", "score_maps"):
        assert found[name].dtype == "float32"
    # Pooled in float16, scaled and boxed in float32.
    expected = expected_outputs(model, images, ranked(model, images, 1), 0.2)
    np.testing.assert_allclose(found["score_maps"], expected["score_maps"], atol=0.01)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1.5)
    np.testing.assert_allclose(
        found["scores"].sum(), expected["scores"].sum(), atol=0.1
    )


def test_one_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"expected shape=\(None, 24, 36, 3\)"):
        Localizer(painted_classifier())(blob_images(1, SIZE)[0])


def test_a_saved_localizer_needs_no_optimizer(tmp_path):
    model = painted_classifier()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    Localizer(model).save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    assert not again.model.compiled
    images = blob_images(2, (30, 40))
    found, expected = to_numpy(again(images)), to_numpy(Localizer(model)(images))
    np.testing.assert_array_equal(found["boxes"], expected["boxes"])


@pytest.mark.parametrize("class_id", [-1, 7])
def test_a_class_that_does_not_exist_is_empty(class_id):
    localizer = Localizer(painted_classifier())
    images = blob_images(2, (30, 40))
    found = to_numpy(localizer(images, class_ids=np.array([[class_id, 3], [0, 1]])))
    alone = to_numpy(localizer(images, class_ids=np.array([[3, 3], [0, 1]])))
    assert found["class_ids"].tolist() == [[class_id, 3], [0, 1]]
    assert found["valid"][0].tolist() == [False, alone["valid"][0, 1]]
    for name in ("scores", "boxes", "score_maps"):
        assert not found[name][0, 0].any()
        np.testing.assert_array_equal(found[name][0, 1], alone[name][0, 1])
        np.testing.assert_array_equal(found[name][1], alone[name][1])


@pytest.mark.parametrize("form", ["tf_saved_model", "onnx", "litert", "openvino"])
def test_keras_export_does_not_write_a_broken_file(form, tmp_path):
    with pytest.raises(NotImplementedError, match="Export by `export_saved_model`"):
        Localizer(painted_classifier(SIZE)).export(tmp_path / "x", format=form)
    assert not any(tmp_path.iterdir())


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(x, marks=SLOW) for x in ("mobilenet", "vgg16", "resnet50")],
)
def test_an_empty_batch_gives_empty_outputs(backbone):
    # Of toy models, kernels take it that refuse it in real ones.
    model = build_classifier(backbone, "cam", 5, weights=None, input_shape=(64, 96, 3))
    localizer = Localizer(model, max_boxes=2, top_k=2)
    localizer.compile([metrics.Top1Loc(), metrics.GTKnownLoc()])
    empty, full = (
        {
            "images": np.full((count, 50, 70, 3), 90, "float32"),
            "class_ids": np.zeros(count, "int32"),
            "boxes": np.full((count, 1, 4), [0, 0, 9, 9], "float32"),
        }
        for count in (0, 2)
    )
    call = {name: shape[1:] for name, shape in shapes(localizer(full)).items()}
    for found in (
        localizer(empty),
        localizer.predict_on_batch(empty),
        localizer.predict(empty, verbose=0),
    ):
        assert shapes(found) == {name: (0, *shape) for name, shape in call.items()}
    found = shapes(localizer.predict(empty["images"], verbose=0))
    assert found["boxes"] == (0, 2, 4)  # of the two best classes
    batches = [full, empty, full]
    assert shapes(localizer.predict(batches, verbose=0))["boxes"] == (4, 1, 4)
    one = localizer.evaluate([full, full], verbose=0)
    assert localizer.evaluate(batches, verbose=0) == one


def shapes(outputs):
    return {name: tuple(value.shape) for name, value in outputs.items()}
