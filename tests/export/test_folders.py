"""What becomes of the folder, and what is refused; without a graph."""

import json
import shutil

import keras
import numpy as np
import pytest

from keras_wsol.export import export_saved_model, saved_model
from tests.models.painted import painted_classifier

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's"
)


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def written(monkeypatch):
    """Puts a file in place of a graph, after what a test does meanwhile."""

    def write_graph(content="new", meanwhile=lambda: None):
        def write(localizer, path, max_pixels, features):
            path.mkdir(parents=True)
            (path / "saved_model.pb").write_text(content)
            meanwhile()

        monkeypatch.setattr(saved_model, "_write", write)

    return write_graph


def write_old(path):
    path.mkdir()
    (path / "saved_model.pb").write_text("old")
    (path / "fingerprint.pb").write_text("old")


def test_a_folder_that_is_there_is_refused_and_kept(tmp_path, written):
    written()
    path = tmp_path / "1"
    path.mkdir()
    (path / "precious").write_text("mine")
    message = r"1 exists. Export to a new version, or pass `overwrite=True`"
    with pytest.raises(FileExistsError, match=message):
        export_saved_model(painted_classifier(), path)
    with pytest.raises(FileExistsError, match="so it is not replaced: it has no saved"):
        export_saved_model(painted_classifier(), path, overwrite=True)
    assert files_in(tmp_path) == {"1/precious": b"mine"}


def test_a_folder_is_replaced_when_asked(tmp_path, written):
    written()
    write_old(tmp_path / "1")
    export_saved_model(painted_classifier(), tmp_path / "1", overwrite=True)
    found = files_in(tmp_path)
    assert found.pop("1/saved_model.pb") == b"new"
    assert json.loads(found.pop("1/model_card.json"))["name"] == "painted"
    assert found == {}


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_export_that_fails_leaves_no_half_of_a_model(overwrite, tmp_path, written):
    def fail():
        raise OSError("the disk is full")

    written("half", fail)
    path = tmp_path / "1"
    if overwrite:
        write_old(path)
    before = files_in(tmp_path)
    with pytest.raises(OSError, match="the disk is full"):
        export_saved_model(painted_classifier(), path, overwrite=overwrite)
    assert files_in(tmp_path) == before
    # What a server polls for versions holds no other number.
    assert not [x for x in tmp_path.iterdir() if x.name.isdigit() and x != path]


def test_a_version_that_another_job_writes_meanwhile_is_kept(tmp_path, written):
    written(meanwhile=lambda: write_old(tmp_path / "1"))
    with pytest.raises(FileExistsError, match="another job has written it meanwhile"):
        export_saved_model(painted_classifier(), tmp_path / "1")
    assert files_in(tmp_path)["1/saved_model.pb"] == b"old"
    assert [x.name for x in tmp_path.iterdir()] == ["1"]


def test_what_is_no_model_is_kept_if_it_comes_meanwhile(tmp_path, written):
    path = tmp_path / "1"
    written(meanwhile=lambda: (path.mkdir(), (path / "precious").write_text("mine")))
    with pytest.raises(FileExistsError, match="so it is not replaced: it has no saved"):
        export_saved_model(painted_classifier(), path, overwrite=True)
    assert files_in(tmp_path) == {"1/precious": b"mine"}


def test_a_model_that_a_kill_left_under_another_name_is_not_overwritten(
    tmp_path, written
):
    written()
    (tmp_path / ".1.old").mkdir()
    (tmp_path / ".1.old" / "saved_model.pb").write_text("precious")
    with pytest.raises(FileExistsError, match="1 exists"):
        export_saved_model(painted_classifier(), tmp_path / "1")
    assert files_in(tmp_path) == {"1/saved_model.pb": b"precious"}


def test_the_old_model_is_there_until_the_new_one_is(tmp_path, written, monkeypatch):
    # At no moment does a reader find a half of either under the name.
    path, seen = tmp_path / "1", []
    written(meanwhile=lambda: seen.append(files_in(path)))
    write_old(path)
    deleted = []
    delete = shutil.rmtree

    def watched(folder, *args, **kwargs):
        deleted.append(str(folder))
        return delete(folder, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", watched)
    export_saved_model(painted_classifier(), path, overwrite=True)
    assert seen == [{"saved_model.pb": b"old", "fingerprint.pb": b"old"}]
    assert deleted
    assert str(path) not in deleted


def test_metrics_that_json_cannot_hold_leave_no_folder(tmp_path, written):
    written()
    with pytest.raises(TypeError, match="JSON"):
        export_saved_model(
            painted_classifier(), tmp_path / "1", metrics={"map": np.zeros(3)}
        )
    assert list(tmp_path.iterdir()) == []


def test_another_backend_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    message = r"written by the TensorFlow backend. Save .* \.keras, .*=jax\."
    with pytest.raises(RuntimeError, match=message):
        export_saved_model(painted_classifier(), tmp_path / "1")
    assert not list(tmp_path.iterdir())


def test_a_model_without_the_head_is_refused_before_anything_is_written(tmp_path):
    inputs = keras.Input((24, 36, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match="ends in GlobalAveragePooling2D and"):
        export_saved_model(model, tmp_path / "1")
    assert not list(tmp_path.iterdir())
