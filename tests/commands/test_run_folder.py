"""What a training run lists beside its model."""

import os

from keras_wsol.commands.run_folder import list_unreadable


def test_names_of_unreadable_files_are_listed_as_the_disk_has_them(tmp_path, capsys):
    names = [b"birds/\xff.png", "birds/ü.png".encode(), b"birds/a.png"]
    list_unreadable(tmp_path, {os.fsdecode(name) for name in names})
    listed = (tmp_path / "unreadable.txt").read_bytes()
    assert sorted(listed.splitlines()) == sorted(names)
    assert listed.endswith(b"\n")
    assert "Left out 3 files" in capsys.readouterr().err


def test_nothing_is_written_where_all_can_be_read(tmp_path):
    list_unreadable(tmp_path, set())
    assert list(tmp_path.iterdir()) == []
