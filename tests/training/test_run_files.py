"""Files of a run that are damaged, or that another job is writing."""

import fcntl
import json

import numpy as np
import pytest

from keras_wsol.cli import train_command
from keras_wsol.training import Checkpoint, EpochLog
from tests.training.small_run import fit, make_model

DAMAGES = {
    "nothing": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "the end lacks": lambda whole: whole[:-30],
    "other bytes within": lambda whole: whole[:200] + bytes(40) + whole[240:],
    "text": lambda whole: b"epochs: 3\n",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "a.npz"
    fit(make_model(), 1, Checkpoint(path))
    return path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_with_the_way_out(damage, saved, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(DAMAGES[damage](saved))
    message = f"Cannot read {path}: .*. If it is damaged, delete it to begin anew, or"
    with pytest.raises(ValueError, match=message):
        Checkpoint(path).restore(make_model())


def test_other_arrays_are_no_checkpoint(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"Cannot read .*a\.npz: .*names"):
        Checkpoint(tmp_path / "a.npz").restore(make_model())


@pytest.mark.parametrize(
    "log", [b"\xff\xfe\r\n0\r\n", b"loss\r\n0.5\r\n", b"epoch,loss\r\nx,1\r\n"]
)
def test_a_damaged_log_is_named_with_the_way_out(log, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(log)
    for read in (EpochLog(path, 1).on_train_begin, lambda: EpochLog(path, 1).best("x")):
        with pytest.raises(ValueError, match=f"Cannot read {path}: .*damaged, delete"):
            read()
    assert path.read_bytes() == log


def test_a_damaged_figure_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,val_accuracy\n0,0.x5\n")
    with pytest.raises(ValueError, match=f"Cannot read {path}: .*0.x5"):
        EpochLog(path, 1).best("val_accuracy")


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", "\ud8ff"])
def test_a_damaged_configuration_is_named_with_the_way_out(text, tmp_path):
    path = tmp_path / "config.json"
    (tmp_path / "checkpoint.npz").touch()
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=f"{path}: .*damaged, choose another --out"):
        train_command._claim(tmp_path, {"seed": 1})


@pytest.mark.parametrize("text", [b"", b"a\n/b\n"])
def test_a_damaged_list_of_images_is_named_with_the_way_out(text, tmp_path):
    path = tmp_path / "trained_on.txt"
    (tmp_path / "checkpoint.npz").touch()
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"{path}: .*damaged, choose another --out"):
        train_command._keep_list(path, ["/a/b.png", "/a/c.png"])


def test_the_localizer_of_another_run_is_not_replaced(tmp_path):
    train_command._claim(tmp_path, {"seed": 1})
    (tmp_path / "localizer.keras").touch()  # the checkpoint was deleted
    with pytest.raises(ValueError, match=r"seed.? was 1, not 2"):
        train_command._claim(tmp_path, {"seed": 2})
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 1}


@pytest.mark.parametrize(("make", "name"), [(Checkpoint, "a.npz"), (EpochLog, "a.csv")])
def test_two_jobs_do_not_train_to_one_file(make, name, tmp_path):
    path = tmp_path / name
    path.write_text("precious")
    with (tmp_path / f".{name}.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FileExistsError, match=f"Another job is writing {path}"):
            fit(make_model(), 1, make(path))
        assert path.read_text() == "precious"
    fit(make_model(), 1, make(path))
    assert [each.name for each in tmp_path.iterdir()] == [name]
