"""What becomes of the folder, and what is refused; on a classifier of two layers."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.export import export_saved_model
from keras_wsol.models import Localizer
from tests.models.painted import blob_images, painted_classifier
from tests.models.small import dtype_policy

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
    ),
]

SIZE = (24, 36)


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def load(path):
    import tensorflow as tf

    return tf.saved_model.load(path).signatures


def test_a_classifier_is_exported_as_its_localizer(tmp_path):
    import tensorflow as tf

    model = painted_classifier()
    signatures = load(export_saved_model(model, str(tmp_path / "deep" / "model" / "7")))
    images = blob_images(2, (31, 50))
    found = signatures["serve_uint8"](images=tf.constant(images))
    # Without names of classes there is none in the outputs.
    assert sorted(found) == ["boxes", "class_ids", "score_maps", "scores", "valid"]
    for name, value in Localizer(model)(images).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-3)


def test_a_model_that_ends_in_a_softmax(tmp_path):
    import tensorflow as tf

    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    signatures = load(export_saved_model(model, tmp_path / "softmax"))
    images = blob_images(2, SIZE).astype("float32")
    found = signatures["serving_default"](images=tf.constant(images))
    for name, value in Localizer(model)(images).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-3)


def test_mixed_precision(tmp_path):
    import tensorflow as tf

    with dtype_policy("mixed_float16"):
        model = painted_classifier()
        localizer = Localizer(model)
        signatures = load(export_saved_model(localizer, tmp_path / "half"))
    images = blob_images(2, SIZE)
    found = signatures["serve_uint8"](images=tf.constant(images))
    assert found["scores"].dtype == found["boxes"].dtype == tf.float32
    for name, value in localizer(images).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-2, atol=1e-2)


def test_a_folder_that_is_there_is_refused_and_kept(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    (path / "precious").write_text("mine")
    message = r"1 exists. Export to a new version, or pass `overwrite=True`"
    with pytest.raises(FileExistsError, match=message):
        export_saved_model(painted_classifier(), path)
    assert files_in(tmp_path) == {"1/precious": b"mine"}


def test_a_folder_is_replaced_when_asked(tmp_path):
    import tensorflow as tf

    path = tmp_path / "1"
    path.mkdir()
    (path / "old").write_text("old")
    (path / "saved_model.pb").write_text("old")
    model = painted_classifier(seed=1)
    export_saved_model(model, path, overwrite=True)
    assert "old" not in files_in(path)
    assert [x.name for x in tmp_path.iterdir()] == ["1"]
    images = blob_images(1, SIZE)
    found = load(path)["serve_uint8"](images=tf.constant(images))
    np.testing.assert_allclose(found["scores"], Localizer(model)(images)["scores"])


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_that_fails_leaves_no_half_of_a_model(
    overwrite, tmp_path, monkeypatch
):
    path = tmp_path / "1"
    if overwrite:
        path.mkdir()
        (path / "saved_model.pb").write_text("old")

    import tensorflow as tf

    def write_half(_, folder, *args, **kwargs):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "saved_model.pb").write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(tf.saved_model, "save", write_half)
    with pytest.raises(OSError, match="the disk is full"):
        export_saved_model(painted_classifier(), path, overwrite=overwrite)
    assert path.exists() == overwrite
    if overwrite:
        assert files_in(path) == {"saved_model.pb": b"old"}
    # What a server polls for versions holds no other number.
    assert not [x for x in tmp_path.iterdir() if x.name.isdigit() and x != path]


def test_a_folder_that_is_no_saved_model_is_kept_even_if_told(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    (path / "precious").write_text("mine")
    with pytest.raises(FileExistsError, match="so it is not replaced: it has no saved"):
        export_saved_model(painted_classifier(), path, overwrite=True)
    assert files_in(tmp_path) == {"photos/precious": b"mine"}


def test_a_version_that_another_job_writes_meanwhile_is_kept(tmp_path, monkeypatch):
    import tensorflow as tf

    path = tmp_path / "1"
    save = tf.saved_model.save

    def save_late(*args, **kwargs):
        save(*args, **kwargs)
        path.mkdir()
        (path / "saved_model.pb").write_text("first")

    monkeypatch.setattr(tf.saved_model, "save", save_late)
    with pytest.raises(FileExistsError, match="another job has written it meanwhile"):
        export_saved_model(painted_classifier(), path)
    assert files_in(tmp_path) == {"1/saved_model.pb": b"first"}
    assert [x.name for x in tmp_path.iterdir()] == ["1"]


def test_a_model_that_a_kill_left_under_another_name_is_not_overwritten(tmp_path):
    (tmp_path / ".1.old").mkdir()
    (tmp_path / ".1.old" / "saved_model.pb").write_text("precious")
    with pytest.raises(FileExistsError, match="1 exists"):
        export_saved_model(painted_classifier(), tmp_path / "1")
    assert files_in(tmp_path) == {"1/saved_model.pb": b"precious"}


def test_the_old_model_is_there_until_the_new_one_is(tmp_path, monkeypatch):
    # At no moment does a reader find a half of either under the name.
    path = tmp_path / "1"
    path.mkdir()
    (path / "saved_model.pb").write_text("old")
    (path / "fingerprint.pb").write_text("old")
    seen = []

    def watched(folder, *args, **kwargs):
        seen.append(str(folder))
        return original(folder, *args, **kwargs)

    original = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", watched)
    export_saved_model(painted_classifier(), path, overwrite=True)
    assert str(path) not in seen


def test_another_backend_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    message = r"written by the TensorFlow backend. Save .* \.keras, .* backend is 'jax'"
    with pytest.raises(RuntimeError, match=message):
        export_saved_model(painted_classifier(), tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_a_model_without_the_head_is_refused_before_anything_is_written(tmp_path):
    inputs = keras.Input((*SIZE, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match="ends in GlobalAveragePooling2D and"):
        export_saved_model(model, tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_class_names_come_along_from_a_saved_localizer(tmp_path):
    import tensorflow as tf

    names = [f"Gjøk № {number}" for number in range(7)]
    Localizer(painted_classifier(class_names=names), top_k=3).save(
        tmp_path / "birds.keras"
    )
    revived = keras.saving.load_model(tmp_path / "birds.keras")
    signatures = load(export_saved_model(revived, tmp_path / "1"))
    images = blob_images(2, SIZE)
    found = signatures["serve_uint8"](images=tf.constant(images))
    expected = [[names[i] for i in row] for row in found["class_ids"].numpy()]
    decoded = [[n.decode() for n in row] for row in found["class_names"].numpy()]
    assert json.dumps(decoded) == json.dumps(expected)


def test_the_check_of_an_export(tmp_path):
    from keras_wsol.export import saved_model

    (tmp_path / "photos").mkdir()
    (tmp_path / "file").touch()
    for name in ("photos", "file"):
        with pytest.raises(FileExistsError, match="is no SavedModel, so it is not rep"):
            saved_model._check_path(tmp_path / name, overwrite=True)
    (tmp_path / "photos" / "saved_model.pb").touch()
    saved_model._check_path(tmp_path / "photos", overwrite=True)
    with pytest.raises(FileExistsError, match="photos exists"):
        saved_model._check_path(tmp_path / "photos", overwrite=False)
    saved_model._check_path(tmp_path / "none", overwrite=False)
