"""A map for each class: its sum, its fit to each class, and what is refused."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_wsol import cam, data
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


def check_foreground(found, features):
    weights, bias, share = score_map_numpy.foreground(np.sqrt(features), 2, 0.1)
    np.testing.assert_allclose(found.weights, weights, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(found.bias, bias, rtol=2e-3)
    assert found.share == share


@pytest.mark.slow
def test_each_class_has_the_map_of_its_images_and_small_ones_that_of_all():
    images, ids = images_of_kinds((7, 4, 9, 6))
    model = painted_classifier(SIZE, 4)
    with pytest.warns(UserWarning, match=r"1 classes have the map of all.*\['bee'\]"):
        found = cam.ByClass.fit(cam.Foreground, model, as_data_set(images, ids))
    for class_id, of_class in enumerate(found.score_maps):
        chosen = ids == class_id if class_id != 1 else ids >= 0
        check_foreground(of_class, features_of(images[chosen]))
    batches = [(images[:10], ids[:10]), {"images": images[10:], "class_ids": ids[10:]}]
    with pytest.warns(UserWarning, match=r"1 classes.*\[1\]"):
        again = cam.ByClass.fit(cam.Foreground, model, iter(batches))
    for one, other in zip(found.score_maps, again.score_maps, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-3, atol=1e-6)


def test_ddt_of_each_class_by_its_options():
    images, ids = images_of_kinds((6, 5, 8, 6))
    model = painted_classifier(SIZE, 4)
    options = {"number": 2, "relu": False, "root": True}
    fitted = cam.ByClass.fit(cam.DDT, model, [(images, ids)], "features", **options)
    for class_id, found in enumerate(fitted.score_maps):
        features = np.sqrt(features_of(images[ids == class_id]))
        mean, vector, share = score_map_numpy.principal_component(features, 1)
        np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
        np.testing.assert_allclose(found.direction, vector, atol=1e-4)
        assert found.share == pytest.approx(share, rel=1e-4)
        assert (found.layer, found.relu, found.root) == ("features", False, True)
    assert fitted.layer == "features"
    assert repr(fitted) == (
        "ByClass(4 x DDT(layer='features', relu=False, root=True, share=None))"
    )


def test_images_of_a_data_set_are_read_once():
    images, ids = images_of_kinds((6, 5, 8, 6))
    model, read = painted_classifier(SIZE, 4), []

    class Watched(data.ImageDataset):
        def evaluation_batches(self, *args, **kwargs):
            for batch in super().evaluation_batches(*args, **kwargs):
                read.extend(batch["class_ids"].tolist())
                yield batch

    watched = Watched(**vars(as_data_set(images, ids)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        cam.ByClass.fit(cam.Foreground, model, watched)
    assert read == sorted(ids)


def test_classes_without_images_or_without_an_object_are_named():
    images, ids = images_of_kinds((6, 5, 8, 6))
    images, ids = images[ids != 0], ids[ids != 0]
    images[ids == 1] = 7  # nothing varies
    edge = images[ids == 3]
    edge[:] = 0
    edge[:, : 2 * CELL, :, 0] = np.linspace(60, 255, len(edge))[:, None, None]
    images[ids == 3] = edge
    with pytest.warns(UserWarning, match="along the edge") as warned:
        found = cam.ByClass.fit(
            cam.Foreground, painted_classifier(SIZE, 4), as_data_set(images, ids)
        )
    ours = [each for each in warned if "Look at their maps" in str(each.message)]
    said = [str(each.message) for each in ours]
    assert "have the map of all images" in said[0]
    assert "['ape', 'bee']" in said[0]
    assert "along the edge" in said[1]
    assert "dog" in said[1]
    assert [each.filename for each in ours] == [__file__] * 2
    assert found.score_maps[0] is found.score_maps[1]


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
    fitted = cam.ByClass.fit(cam.Foreground, model, [(images, ids)])
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
    with pytest.raises(TypeError, match=r"`kind` must be cam\.DDT or cam\.Foreground"):
        fit(cam.CAM, model, [(images, ids)])
    for batch in (images, (images, ids[:3]), (images, ids.astype("float32"))):
        with pytest.raises(ValueError, match="must come with integer class ids"):
            fit(cam.DDT, model, [batch])
    with pytest.raises(ValueError, match=r"in \[0, 3\), the classes.*Received: 3"):
        fit(cam.DDT, painted_classifier(SIZE, 3), [(images, ids)])
    with pytest.raises(ValueError, match="`rounds` must be an integer"):
        fit(cam.Foreground, model, [(images, ids)], rounds=0)
    with pytest.raises(ValueError, match="must hold images"):
        fit(cam.DDT, model, [])
    one = cam.Foreground((1.0, 2.0, 3.0), 0.0)
    others = ("cam", replace(one, relu=False), replace(one, root=False), cam.CAM())
    for maps in ((), *[(one, other) for other in others]):
        with pytest.raises(ValueError, match="a DDT or a Foreground for each class"):
            cam.ByClass(maps)
    with pytest.raises(ValueError, match=r"each of the 4 classes.*Received: 2"):
        Localizer(model, score_map=cam.ByClass((one, one)))
