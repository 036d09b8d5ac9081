import numpy as np
import pytest
from PIL import Image

from keras_wsol import viz

PICTURE = np.random.default_rng(0).integers(0, 256, (4, 7, 3)).astype(np.uint8)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_written_pixels_are_read_back(tmp_path):
    path = viz.save_png(tmp_path / "a" / "b" / "bird.png", PICTURE)
    assert path == tmp_path / "a" / "b" / "bird.png"
    np.testing.assert_array_equal(np.array(Image.open(path)), PICTURE)
    assert Image.open(path).format == "PNG"


def test_an_existing_file_is_replaced_and_nothing_else_left(tmp_path):
    viz.save_png(tmp_path / "bird.png", PICTURE)
    viz.save_png(str(tmp_path / "bird.png"), PICTURE[:, ::-1])
    assert names(tmp_path) == ["bird.png"]
    got = np.array(Image.open(tmp_path / "bird.png"))
    np.testing.assert_array_equal(got, PICTURE[:, ::-1])


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    viz.save_png(tmp_path / "bird.png", PICTURE)

    def half(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="no space left"):
        viz.save_png(tmp_path / "bird.png", PICTURE * 0)
    assert names(tmp_path) == ["bird.png"]
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "bird.png")), PICTURE)


def test_the_file_appears_under_its_name_only_when_whole(tmp_path, monkeypatch):
    save, seen = Image.Image.save, []

    def watched(self, path, **kwargs):
        save(self, path, **kwargs)
        seen.append((path.parent, (tmp_path / "bird.png").exists()))

    monkeypatch.setattr(Image.Image, "save", watched)
    viz.save_png(tmp_path / "bird.png", PICTURE)
    # In the same folder, so that the renaming is one step.
    assert seen == [(tmp_path, False)]


def test_the_file_has_the_rights_of_any_other_new_file(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    path = viz.save_png(tmp_path / "bird.png", PICTURE)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_another_type_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"`array` must be of type uint8.*float64"):
        viz.save_png(tmp_path / "bird.png", PICTURE / 255)
    assert names(tmp_path) == []


@pytest.mark.parametrize("shape", [(4, 7), (4, 7, 1), (4, 7, 4), (1, 4, 7, 3)])
def test_another_shape_is_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"`array` must have shape \(H, W, 3\)"):
        viz.save_png(tmp_path / "bird.png", np.zeros(shape, np.uint8))


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in '\.png'"):
        viz.save_png(tmp_path / "bird.jpg", PICTURE)
