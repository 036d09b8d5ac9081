"""A map for each class: its sum, its fit to each class, and what is refused."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam, data
from keras_wsol.cam import by_class
from keras_wsol.cam.score_map import Evidence
from keras_wsol.models import Localizer
from tests.models.painted import CELL, blob_images, painted_classifier
from tests.reference import score_map_numpy

SIZE = (24, 36)
NAMES = ("ape", "bee", "cat", "dog")


def images_of_kinds(counts):
    """Blobs in one channel for each class, shuffled, and their class ids."""
    ids = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(1).shuffle(ids)
    images = blob_images(len(ids), SIZE, seed=5)
    images //= np.where(np.arange(3) == ids[:, None] % 3, 1, 6)[:, None, None].astype(
        "uint8"
    )
    return images, ids.astype("int32")


def features_of(images):
    cells = images.reshape(len(images), 6, CELL, 9, CELL, 3)
    return cells.astype("float64").mean(axis=(2, 4))


def as_data_set(images, ids):
    paths = np.array([f"{number}.png" for number in range(len(ids))])
    return data.ImageDataset(
        name="kinds",
        split="train",
        class_names=NAMES,
        class_ids=ids,
        paths=paths,
        images=images,
    )


def assert_foregrounds(found, features, ids):
    weights, biases, *rest = score_map_numpy.foreground_by_class(
        np.sqrt(features), ids, len(NAMES), 2, 0.1
    )
    for class_id, of_class in enumerate(found.score_maps):
        expected = weights[class_id]
        np.testing.assert_allclose(of_class.weights, expected, rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(of_class.bias, biases[class_id], rtol=2e-3)
    return rest


def test_foregrounds_have_one_background_and_each_class_its_object():
    images, ids = images_of_kinds((7, 4, 9, 0))
    model = painted_classifier(SIZE, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = cam.ByClass.fit(model, as_data_set(images, ids))
    trusts, share = assert_foregrounds(found, features_of(images), ids)
    assert 0 < trusts[1] < trusts[0] < trusts[2] < 1
    assert trusts[3] == 0  # drawn all the way
    assert found.score_maps[0].share == pytest.approx(share)
    batches = [(images[:10], ids[:10]), {"images": images[10:], "class_ids": ids[10:]}]
    again = cam.ByClass.fit(model, batches)
    for one, other in zip(found.score_maps, again.score_maps, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kinds", ["one class", "one image a class", "all alike"])
def test_where_classes_tell_nothing_all_have_the_same_foreground(kinds):
    images, ids = images_of_kinds((6, 6, 6, 6))
    if kinds == "one class":
        ids = np.zeros_like(ids)
    elif kinds == "one image a class":
        images, ids = images[:4], np.arange(4)
    else:  # each image in each class
        images, ids = np.repeat(images[:6], 4, axis=0), np.tile(np.arange(4), 6)
    model = painted_classifier(SIZE, 4)
    found = cam.ByClass.fit(model, [(images, ids.astype("int32"))])
    # Four rounds, of which the last two are by class.
    expected = cam.Foreground.fit(model, [images], rounds=4)
    for each in found.score_maps:
        np.testing.assert_allclose(each.weights, expected.weights, rtol=1e-4)
        assert each.bias == pytest.approx(expected.bias, rel=1e-4)


def test_classes_whose_images_are_all_the_same():
    """Nothing varies within them, so they are trusted; the empty ones are not."""
    images, _ = images_of_kinds((1, 1))
    images = np.repeat(images, 3, axis=0)
    ids = np.repeat(np.array([0, 1], "uint8"), 3)
    model = painted_classifier(SIZE, 4)
    batches = [(images, ids), (images[:0], ids[:0])]
    first, second, *empty = cam.ByClass.fit(model, batches).score_maps
    assert not np.allclose(first.weights, second.weights)
    assert np.isfinite(empty[0].weights).all()
    assert empty[0].weights == empty[1].weights


def test_classes_without_an_object_are_named():
    images, ids = images_of_kinds((6, 6, 6))
    images[ids == 2] = 0
    model = painted_classifier(SIZE, 4)
    with pytest.warns(UserWarning, match=r"images of 1 classes.*\[2\]") as warned:
        found = cam.ByClass.fit(model, [(images, ids)])
    assert [x.filename for x in warned if x.category is UserWarning] == [__file__]
    assert found.score_maps[2].weights == found.score_maps[3].weights


@pytest.mark.filterwarnings("ignore:No object was found")
def test_options_are_those_of_foreground():
    images, ids = images_of_kinds((6, 5, 8, 6))
    model = painted_classifier(SIZE, 4)
    options = {"rounds": 1, "shrinkage": 0.3, "relu": False, "root": False}
    found = cam.ByClass.fit(model, [(images, ids)], "features", **options)
    weights, biases, *_ = score_map_numpy.foreground_by_class(
        features_of(images), ids, 4, 1, 0.3
    )
    for class_id, of_class in enumerate(found.score_maps):
        np.testing.assert_allclose(of_class.weights, weights[class_id], rtol=2e-3)
        np.testing.assert_allclose(of_class.bias, biases[class_id], rtol=2e-3)
    assert repr(found) == (
        "ByClass(4 x Foreground(layer='features', relu=False, root=False, share=None))"
    )


def test_foregrounds_along_the_edge_are_said():
    images, ids = images_of_kinds((6, 6))
    images[:] = 0
    images[:, : 2 * CELL, :, 0] = np.linspace(60, 255, len(ids))[:, None, None]
    with pytest.warns(UserWarning, match="lies along their edge") as warned:
        cam.ByClass.fit(painted_classifier(SIZE, 4), [(images, ids)])
    assert [x.filename for x in warned if x.category is UserWarning] == [__file__]


@pytest.mark.parametrize(("relu", "root"), [(True, False), (False, True)])
def test_the_map_of_a_class_is_that_of_its_number(relu, root):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    options = {"relu": relu, "root": root}
    mixed = [
        (
            cam.DDT(tuple(rng.normal(size=4)), tuple(rng.normal(size=4)), **options),
            cam.Foreground(tuple(rng.normal(size=4)), rng.normal(), **options),
        )
        for _ in range(3)
    ]
    class_ids = np.array([[2, 0], [1, 1]])
    for maps in zip(*mixed, strict=True):
        evidence = Evidence(
            split=None,
            images=None,
            features=features,
            logits=None,
            around=[],
            class_ids=class_ids,
        )
        found = ops.convert_to_numpy(cam.ByClass(maps).maps(evidence))
        for b, k in np.ndindex(2, 2):
            expected = maps[class_ids[b, k]].project(features[b : b + 1])[0, 0]
            expected = ops.convert_to_numpy(expected)
            np.testing.assert_allclose(found[b, k], expected, atol=1e-5)


def test_a_localizer_with_it_survives_saving(tmp_path):
    images, ids = images_of_kinds((6, 5, 8, 6))
    model = painted_classifier(SIZE, 4)
    fitted = cam.ByClass.fit(model, [(images, ids)])
    localizer = Localizer(model, score_map=cam.Guided(fitted), top_k=2)
    localizer.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    of_all = zip(again.score_map.score_map.score_maps, fitted.score_maps, strict=True)
    assert all(vars(one) == vars(other) for one, other in of_all)
    expected = localizer.predict_on_batch(images[:3])
    found = again.predict_on_batch(images[:3])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert np.ptp(expected["score_maps"], axis=1).max() > 0.1


def test_what_is_refused():
    images, ids = images_of_kinds((6, 5, 8, 6))
    model = painted_classifier(SIZE, 4)
    fit = cam.ByClass.fit
    for batch in (images, (images, ids[:3]), (images, ids.astype("float32"))):
        with pytest.raises(ValueError, match="must come with integer class ids"):
            fit(model, [batch])
    for bad, message in (
        ([(images, ids)], r"in \[0, 3\), the classes.*\[3\]"),
        (as_data_set(images, ids), r"It has 3 \(\[\] \.\.\.\), the split 4"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(painted_classifier(SIZE, 3), bad)
    with pytest.raises(ValueError, match=r"the classes.*\[-1\]"):
        fit(model, [(images, ids - 1)])
    with pytest.raises(ValueError, match="`shrinkage` must be"):
        fit(model, [(images, ids)], shrinkage=0)
    with pytest.raises(TypeError, match="can be read several times"):
        fit(model, iter([(images, ids)]))
    with pytest.raises(ValueError, match="`rounds` must be an integer"):
        fit(model, [(images, ids)], rounds=0)
    with pytest.raises(ValueError, match="must hold images"):
        fit(model, [])
    one = cam.Foreground((1.0, 2.0, 3.0), 0.0)
    others = ("cam", replace(one, relu=False), replace(one, root=False), cam.CAM())
    for maps in ((), *[(one, other) for other in others]):
        with pytest.raises(ValueError, match="a DDT or a Foreground for each class"):
            cam.ByClass(maps)
    with pytest.raises(ValueError, match=r"each of the 4 classes.*Received: 2"):
        Localizer(model, score_map=cam.ByClass((one, one)))


def test_images_of_other_classes_are_refused():
    images, ids = images_of_kinds([4, 4, 4, 4])
    model = painted_classifier(SIZE, 4, class_names=NAMES)
    whole = as_data_set(images, ids)
    for names in (NAMES[::-1], (*NAMES, "eel")):
        other = replace(whole, class_names=names)
        with pytest.raises(ValueError, match="must know the classes of 'kinds'"):
            cam.ByClass.fit(model, other, "features")
    # A layer of one's own may carry the names as a list.
    listed = painted_classifier(SIZE, 4)
    listed.layers[-1].class_names = list(NAMES)
    assert by_class.has_classes_of(whole, listed, 4)
    fewer = replace(whole, class_names=NAMES[:3], class_ids=ids % 3)
    with pytest.raises(ValueError, match=r"It has 4 \(\['ape', .*, the split 3"):
        cam.ByClass.fit(model, fewer, "features")
