"""From images to the foreground map, by DDT's first guess."""

import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from keras_wsol import data
from keras_wsol.cam import DDT, Foreground
from tests.models.painted import CELL, blob_images, painted_classifier
from tests.reference import score_map_numpy

SIZE = (24, 36)


def features_of(images):
    cells = images.reshape(len(images), 6, CELL, 9, CELL, 3)
    return cells.astype("float64").mean(axis=(2, 4))


@pytest.mark.parametrize(("rounds", "root"), [(1, False), (3, False), (3, True)])
def test_equals_the_loops(rounds, root):
    images = blob_images(5, SIZE, seed=2)
    features = features_of(images)
    features = np.sqrt(features) if root else features
    expected = score_map_numpy.foreground(features, rounds, 0.1)
    batches = [images[:2], (images[2:4], [0, 1]), {"images": images[4:]}]
    found = Foreground.fit(painted_classifier(), batches, rounds=rounds, root=root)
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-3)
    np.testing.assert_allclose(found.bias, expected[1], rtol=1e-3)
    assert found.share == expected[2]
    other = score_map_numpy.foreground(features, 4 - rounds, 0.1)
    assert other[2] != expected[2]  # rounds count


def images_with_a_sky(count, everywhere=False):
    """Blobs in blue, and above them a red band whose brightness varies more."""
    images = blob_images(count, SIZE, seed=3)
    images[..., :2] //= 8
    bright = np.linspace(60, 255, count).astype("uint8")[:, None, None]
    images[:, : 2 * CELL, :, 0] = bright
    if everywhere:
        images[..., 1] = 0
        images[:, -2 * CELL :, :, 1] = bright
        images[..., 2] = 0
        images[:, :, : 2 * CELL, 2] = bright
    return images


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_lies_along_the_edge_is_not_the_object(rounds):
    model, images = painted_classifier(), images_with_a_sky(6)
    features = features_of(images)
    assert DDT.fit(model, [images]).direction[0] > 0.9  # the band
    expected = score_map_numpy.foreground(features, rounds, 0.1)
    found = Foreground.fit(model, [images[:2], images[2:]], rounds=rounds, root=False)
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-3)
    np.testing.assert_allclose(found.bias, expected[1], rtol=1e-3)
    assert found.share == expected[2]
    assert found.weights[2] > 3 * abs(found.weights[0])  # blue, not red


def test_an_object_along_the_edge_is_said_to_be_so():
    images = images_with_a_sky(6, everywhere=True)
    expected = score_map_numpy.foreground(features_of(images), 2, 0.1)
    with pytest.warns(UserWarning, match=r"edge") as warned:
        found = Foreground.fit(painted_classifier(), [images], "features", root=False)
    [edge] = [each for each in warned if each.category is UserWarning]
    assert "(3 tried, layer='features')" in str(edge.message)
    assert edge.filename == __file__
    np.testing.assert_allclose(found.weights, expected[0], rtol=1e-3)


def test_components_that_part_nothing_are_not_tried():
    images = images_with_a_sky(6)
    images[..., 1:] = 0  # the band alone
    with pytest.warns(UserWarning, match=r"\(1 tried"):
        found = Foreground.fit(painted_classifier(), [images], rounds=1)
    assert found.weights[0] > 0


@pytest.mark.parametrize(("outermost", "warned"), [(9, False), (10, True)])
def test_how_much_of_the_edge_the_object_may_have(outermost, warned):
    # Of 6 x 9 cells 26 are outermost and 28 inside, of which the object has 14:
    # it has 0.69 or 0.77 times as large a part of the outermost cells.
    cells = np.zeros((6, 9), bool)
    cells[:, 1:4] = True  # 6 outermost, 12 inside
    cells[1:3, 4] = True
    cells[1 : 1 + outermost - 6, 0] = True
    assert cells[1:-1, 1:-1].sum() == 14
    assert cells.sum() == 14 + outermost
    image = np.zeros((6, CELL, 9, CELL, 3), "uint8")
    noise = np.random.default_rng(0).integers(0, 9, (6, 1, 9, 1))
    image[..., 0] = 200 * cells[:, None, :, None] + noise
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        found = Foreground.fit(
            painted_classifier(), [image.reshape(1, *SIZE, 3)], rounds=1, root=False
        )
    assert found.share == cells.mean()
    assert any("along their edge" in str(each.message) for each in seen) == warned


def test_maps_without_an_inside_are_taken_as_they_are():
    flat = blob_images(4, (8, 36), seed=1)
    model = painted_classifier((8, 36))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = Foreground.fit(model, [flat], rounds=1)
    component = DDT.fit(model, [flat])
    assert np.dot(found.weights, component.direction) > 0


def test_the_largest_part_alone_is_taken():
    # A large blob and a small one apart from it, on noise.
    images = np.random.default_rng(0).integers(0, 20, (1, *SIZE, 3), "uint8")
    images[0, 4:16, 4:20] += 200
    images[0, 16:20, 28:32] += 200
    found = Foreground.fit(painted_classifier(), [images], rounds=1, root=False)
    assert found.share == 3 * 4 / 54
    component = DDT.fit(painted_classifier(), [images])
    mean, vector = np.array(component.mean), np.array(component.direction)
    assert (features_of(images) @ vector > mean @ vector).sum() == 3 * 4 + 1


def test_a_further_component():
    model, images = painted_classifier(), blob_images(3, SIZE, seed=2)
    for number in (1, 3):
        _, vector, _ = score_map_numpy.principal_component(
            features_of(images), number - 1
        )
        found = DDT.fit(model, [images], number=number)
        np.testing.assert_allclose(found.direction, vector, atol=1e-4)
    with pytest.raises(ValueError, match=r"`number` must be an integer in \[1, 3\]"):
        DDT.fit(model, [images], number=4)


def test_a_layer_that_is_added_to_another():
    images = keras.Input((*SIZE, 3))
    x = keras.layers.AveragePooling2D(CELL)(images)
    branch = keras.layers.Identity(name="branch")(x)
    x = keras.layers.Add()([x, branch])
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    model, batch = keras.Model(images, x), blob_images(3, SIZE, seed=2)
    for fit in (DDT.fit, Foreground.fit):
        expected = fit(painted_classifier(), [batch])
        assert fit(model, [batch], "branch").share == pytest.approx(expected.share)


def test_a_data_set_is_read_as_its_images(tmp_path):
    model, images = painted_classifier(), blob_images(35, SIZE, seed=2)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    expected = DDT.fit(model, [images])
    found = DDT.fit(model, data.image_files(tmp_path, verify=False))
    np.testing.assert_allclose(found.direction, expected.direction, rtol=1e-4)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)


def test_batches_of_any_kind():
    model, images = painted_classifier(), blob_images(3, SIZE, seed=2)
    expected = DDT.fit(model, [images])
    for batch in ({"images": images, "paths": 0}, (images, [0, 1, 2]), list(images)):
        again = DDT.fit(model, iter([batch]))
        np.testing.assert_allclose(again.direction, expected.direction, atol=1e-6)
    # Larger images are resized; the cells of these are the same.
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)
    again = DDT.fit(model, [doubled])
    np.testing.assert_allclose(again.direction, expected.direction, atol=0.02)


def test_progress_is_shown_if_asked_for(capsys):
    model, images = painted_classifier(), blob_images(2, SIZE)
    DDT.fit(model, [images, images])
    assert not capsys.readouterr().out
    DDT.fit(model, [images, images], verbose=True)
    assert "2/2" in capsys.readouterr().out


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return np.zeros((1, *SIZE, 3))


def test_what_is_no_batches_is_refused():
    model = painted_classifier()
    for fit in (DDT.fit, Foreground.fit):
        with pytest.raises(ValueError, match=r"`images` must end.*type Endless"):
            fit(model, Endless())
        with pytest.raises(TypeError, match="must be an `ImageDataset` or batches"):
            fit(model, 3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data")
def test_tf_data_that_repeats_is_refused():
    import tensorflow as tf

    once = tf.data.Dataset.from_tensors(blob_images(2, SIZE))
    with pytest.raises(ValueError, match="`images` must end"):
        DDT.fit(painted_classifier(), once.repeat())
    assert DDT.fit(painted_classifier(), once.repeat(2))


def test_bad_arguments():
    model, images = painted_classifier(), blob_images(2, SIZE)
    with pytest.raises(TypeError, match=r"read several times.*iterator"):
        Foreground.fit(model, iter([images]))
    with pytest.raises(ValueError, match="`rounds` must be an integer"):
        Foreground.fit(model, [images], rounds=0)
    with pytest.raises(ValueError, match="`shrinkage` must be above 0"):
        Foreground.fit(model, [images], shrinkage=0.0)
    with pytest.raises(ValueError, match="must hold images"):
        Foreground.fit(model, [])
    with pytest.raises(ValueError, match="functional"):
        Foreground.fit(keras.Model(), [images])
