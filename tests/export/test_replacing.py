"""Files and folders that are there as a whole or not at all."""

import pytest

from keras_wsol.export import saved_model
from keras_wsol.files import replacing, restore_replaced


def fill(path, kind, text):
    if kind == "folder":
        path.mkdir(parents=True)
        path = path / "content"
    path.write_text(text)


def content(path):
    return (path / "content" if path.is_dir() else path).read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


@kinds
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_seen_before_all_is_written(kind, overwrite, tmp_path):
    path = tmp_path / "deep" / "birds.json"
    with replacing(path, overwrite) as temporary:
        assert not temporary.exists()
        assert temporary.name == path.name
        fill(temporary, kind, "new")
        assert not path.exists()
    assert content(path) == "new"
    assert names(path.parent) == ["birds.json"]


@kinds
def test_what_is_there_is_replaced_unless_told_not_to(kind, tmp_path):
    path = tmp_path / "x"
    fill(path, kind, "old")
    with pytest.raises(FileExistsError, match="x exists"), replacing(path, False):
        raise AssertionError("It must not begin.")
    with replacing(path) as temporary:
        fill(temporary, kind, "new")
        assert content(path) == "old"
    assert (content(path), names(tmp_path)) == ("new", ["x"])


@kinds
def test_what_fails_leaves_the_old(kind, tmp_path):
    path = tmp_path / "x"
    fill(path, kind, "old")

    def fail():
        with replacing(path) as temporary:
            fill(temporary, kind, "half")
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fail()
    assert (content(path), names(tmp_path)) == ("old", ["x"])


@kinds
@pytest.mark.parametrize("other", ["file", "folder"])
def test_another_job_that_was_first_is_not_overwritten(kind, other, tmp_path):
    path = tmp_path / "x"

    def late():
        with replacing(path, overwrite=False) as temporary:
            fill(temporary, kind, "late")
            fill(path, other, "first")

    with pytest.raises(FileExistsError, match="x"):
        late()
    assert (content(path), names(tmp_path)) == ("first", ["x"])


@kinds
def test_two_jobs_at_once_do_not_meet(kind, tmp_path):
    path = tmp_path / "x"
    with replacing(path) as one:
        fill(one, kind, "one")
        with replacing(path) as other:
            assert content(one) == "one"
            fill(other, kind, "other")
        assert content(path) == "other"
        assert content(one) == "one"
    assert (content(path), names(tmp_path)) == ("one", ["x"])


def test_others_may_read_the_folder(tmp_path):
    with replacing(tmp_path / "x") as temporary:
        fill(temporary, "folder", "new")
    (tmp_path / "usual").mkdir()
    modes = [(tmp_path / name).stat().st_mode for name in ("x", "usual")]
    assert modes[0] == modes[1]


def test_a_folder_lost_between_two_renames_comes_back(tmp_path):
    # As a kill between the renames leaves it: the old folder under its other name.
    fill(tmp_path / ".model.old", "folder", "precious")
    restore_replaced(tmp_path / "model")
    assert content(tmp_path / "model") == "precious"
    assert names(tmp_path) == ["model"]
    # Behind the second rename, it has been replaced.
    fill(tmp_path / ".model.old", "folder", "done with")
    restore_replaced(tmp_path / "model")
    assert content(tmp_path / "model") == "precious"
    with replacing(tmp_path / "model") as temporary:
        fill(temporary, "folder", "new")
    assert (content(tmp_path / "model"), names(tmp_path)) == ("new", ["model"])


@kinds
def test_a_lost_folder_counts_as_there(kind, tmp_path):
    fill(tmp_path / ".x.old", kind, "precious")
    with pytest.raises(FileExistsError), replacing(tmp_path / "x", overwrite=False):
        raise AssertionError("It must not begin.")
    assert content(tmp_path / "x") == "precious"


def test_the_check_of_an_export(tmp_path):
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
