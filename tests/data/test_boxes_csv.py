import dataclasses
import re
import unicodedata

import numpy as np
import pytest

from keras_wsol.data import ImageDataset, boxes_from, boxes_from_csv, image_files

NAMES = ("cat", 'dog, "old"')
PATHS = (
    *("/pets/cat/1.jpg", "/pets/cat/2.jpg", "/pets/dog/1.jpg"),
    *("/pets/dog/zoë 3.jpg", "/pets/extra/pets/cat/2.jpg"),
)


@pytest.fixture
def pets():
    return ImageDataset(
        name="pets",
        split="all",
        class_names=NAMES,
        class_ids=np.array([0, 0, 1, 1, 0], "int32"),
        paths=np.array(PATHS),
        notes={"by": "hand"},
    )


@pytest.fixture
def read(pets, tmp_path):
    def read(text, encoding="utf-8"):
        path = tmp_path / "boxes.csv"
        path.write_text(text, encoding)
        return boxes_from_csv(pets, path)

    return read


def test_boxes_join_their_images(read):
    found = read(
        "path,x0,y0,x1,y1\n"
        "dog/zoë 3.jpg,1,2,3.5,4\n"
        "cat/1.jpg,5,6,70,80\n"
        "dog/zoë 3.jpg,9,10,11,12\n"
    )
    assert found.paths.tolist() == [PATHS[0], PATHS[3]]
    assert found.class_ids.tolist() == [0, 1]
    assert found.boxes.dtype == "float32"
    assert found.boxes.tolist() == [
        [[5, 6, 70, 80], [-1, -1, -1, -1]],
        [[1, 2, 3.5, 4], [9, 10, 11, 12]],
    ]
    assert found.split == "all-boxes"
    assert found.notes == {"by": "hand", "boxes": "boxes.csv"}


def test_boxes_that_were_there_are_not_kept(pets, tmp_path):
    old = np.zeros((5, 3, 4), "float32")
    (tmp_path / "x.csv").write_text("path,x0,y0,x1,y1\ncat/1.jpg,0,1,2,3\n")
    found = boxes_from_csv(dataclasses.replace(pets, boxes=old), tmp_path / "x.csv")
    assert found.boxes.tolist() == [[[0, 1, 2, 3]]]


def test_columns_come_in_any_order_and_number(read):
    found = read(
        'class,score,y1,x1,y0,x0,path\n"dog, ""old""",0.5,40,30,20,10,dog/1.jpg\n'
        ",,4,3,2,1,cat/1.jpg\n"
    )
    assert found.boxes[:, 0].tolist() == [[1, 2, 3, 4], [10, 20, 30, 40]]


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("zoë 3.jpg", 3),
        (unicodedata.normalize("NFD", "dog/zoë 3.jpg"), 3),
        ("./cat/1.jpg", 0),
        ("cat\\1.jpg", 0),
        (" cat/1.jpg ", 0),
        ("/pets/cat/2.jpg", 1),
        ("extra/pets/cat/2.jpg", 4),
    ],
)
def test_a_path_is_the_end_of_one(path, index, read):
    assert read(f"path,x0,y0,x1,y1\n{path},1,2,3,4\n").paths.tolist() == [PATHS[index]]


def test_a_whole_path_may_be_the_end_of_another(pets, tmp_path):
    paths = np.array(["more/cat/1.jpg", "cat/1.jpg", "a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "x.csv").write_text("path,x0,y0,x1,y1\ncat/1.jpg,1,2,3,4\n")
    relative = dataclasses.replace(pets, paths=paths)
    found = boxes_from_csv(relative, tmp_path / "x.csv")
    assert found.paths.tolist() == ["cat/1.jpg"]


def test_a_spreadsheet_puts_a_mark_in_front(read):
    found = read("path,x0,y0,x1,y1\r\ncat/1.jpg,1,2,3,4\r\n", "utf-8-sig")
    assert len(found) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3.jpg,1,2,3,4", "but no image fits '3.jpg'"),
        (",1,2,3,4", "but no image fits ''"),
        ("cat/2.jpg,1,2,3,4", "but 2 images fit 'cat/2.jpg'"),
        ("at/1.jpg,1,2,3,4", "but no image fits 'at/1.jpg'"),
        ("/cat/1.jpg,1,2,3,4", "but no image fits '/cat/1.jpg'"),
        ("dog/1.jpg,1,2,x,4", "must be four numbers"),
        ("dog/1.jpg,1,2,3", "must be four numbers"),
        ("dog/1.jpg,1,2,nan,4", "must have x0 < x1 and y0 < y1"),
        ("dog/1.jpg,3,2,3,4", "must have x0 < x1 and y0 < y1"),
        ("dog/1.jpg,1,5,3,4", "must have x0 < x1 and y0 < y1"),
        ("dog/1.jpg,-1,-1,-1,-1", "must have x0 < x1 and y0 < y1"),
        ("dog/1.jpg,-9,2,-1,4", "and a part in the image"),
        ("dog/1.jpg,0.1,0.2,0.9,1", "in pixels, not in shares"),
        ("dog/1.jpg,1,2,3,4,cat", "an object must be of the class of its image"),
    ],
)
def test_a_wrong_line_is_named(line, message, read):
    text = f"path,x0,y0,x1,y1,class\ncat/1.jpg,1,2,3,4,cat\n{line}\n"
    with pytest.raises(ValueError, match=f"boxes.csv, line 3: .*{message}"):
        read(text)


def test_names_on_both_sides_are_shown(read):
    message = "no image fits 'val/7.jpg'. Images of the split 'all' have paths such as "
    with pytest.raises(ValueError, match=re.escape(message + str(list(PATHS[:1])))):
        read("path,x0,y0,x1,y1\nval/7.jpg,1,2,3,4\n")


def test_a_class_that_is_composed_otherwise(pets, tmp_path):
    apart = unicodedata.normalize("NFD", "zo\u00eb")
    some = dataclasses.replace(pets, class_names=("zo\u00eb", "dog"))
    path = tmp_path / "x.csv"
    path.write_text(f"path,x0,y0,x1,y1,class\ncat/1.jpg,1,2,3,4,{apart}\n", "utf-8")
    assert len(boxes_from_csv(some, path)) == 1


def test_a_file_without_columns_boxes_or_itself(read, pets, tmp_path):
    with pytest.raises(ValueError, match=r"Missing: \['x1', 'y1'\]"):
        read("path,x0,y0,w,h\ncat/1.jpg,1,2,3,4\n")
    with pytest.raises(ValueError, match=r"Missing: \['path', 'x0'"):
        read("")
    for twice in ("x0", "class"):
        with pytest.raises(ValueError, match="each once"):
            read(f"path,x0,y0,x1,y1,class,{twice}\ncat/1.jpg,1,2,3,4,cat,dog\n")
    with pytest.raises(ValueError, match="must have at least one box"):
        read("path,x0,y0,x1,y1\n")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        boxes_from_csv(pets, tmp_path / "none.csv")


def test_names_that_repeat_are_not_each_compared(read, pets, tmp_path, monkeypatch):
    count = 300
    paths = np.array([f"/pets/{n}/1.jpg" for n in range(count)])
    many = dataclasses.replace(pets, class_ids=np.zeros(count, int), paths=paths)
    path = tmp_path / "many.csv"
    rows = [f"{n}/1.jpg,1,2,3,4" for n in range(count)]
    path.write_text("\n".join(["path,x0,y0,x1,y1", *rows, ""]))
    looked_at = []
    find = boxes_from._find
    monkeypatch.setattr(
        boxes_from,
        "_find",
        lambda *given: looked_at.append(len(given[-1])) or find(*given),
    )
    assert len(boxes_from_csv(many, path)) == count
    assert looked_at == [1] * count


def test_all_images_below_a_folder(tmp_path):
    for name in ("b.jpg", "a/c.PNG", "a/.d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = image_files(tmp_path, verify=False)
    expected = [str(tmp_path / name) for name in ("a/c.PNG", "b.jpg")]
    assert found.paths.tolist() == expected
    assert found.class_names == ("unknown",)
    assert found.class_ids.tolist() == [0, 0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must hold images"):
        image_files(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        image_files(tmp_path / "none")


def test_lines_of_files_that_cannot_be_read_are_passed_over(pets, tmp_path):
    broken = (("/pets/cat/9.jpg", "no image"),)
    others = (("/pets/cat/8.jpg", "no line"), ("/other/cat/9.jpg/x.jpg", "no line"))
    some = dataclasses.replace(pets, left_out=(*others, *broken))
    path = tmp_path / "x.csv"
    path.write_text("path,x0,y0,x1,y1\ncat/9.jpg,1,2,3,4\ncat/1.jpg,5,6,7,8\n")
    found = boxes_from_csv(some, path)
    assert found.paths.tolist() == [PATHS[0]]
    assert found.left_out == broken
    path.write_text("path,x0,y0,x1,y1\ncat/9.jpg,1,2,3,4\n")
    with pytest.raises(ValueError, match="must have at least one box"):
        boxes_from_csv(some, path)


@pytest.mark.parametrize(
    "content",
    [
        b'path,x0,y0,x1,y1\n"cat/1.jpg,5,6,70,80\ncat/2.jpg,5,6,70,80\n',
        "path,x0,y0,x1,y1\ncat/1.jpg,5,6,70,80\n".encode("utf-16"),
        "path,x0,y0,x1,y1\nzo\u00eb.jpg,5,6,70,80\n".encode("latin-1"),
    ],
    ids=["stray quote", "UTF-16", "Latin-1"],
)
def test_what_is_no_csv_in_utf_8_is_named(content, pets, tmp_path):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"Cannot read the CSV file in UTF-8: .*x\.csv"
    ):
        boxes_from_csv(pets, tmp_path / "x.csv")


def test_a_box_must_have_a_part_in_the_image(pets, tmp_path):
    path = tmp_path / "x.csv"
    sized = dataclasses.replace(pets, sizes=np.tile(np.int32([[24, 40]]), (5, 1)))
    pixels = np.zeros((5, 24, 40, 3), "uint8")
    for box in ("40,2,50,9", "2,24,9,30", "60,60,80,80"):
        path.write_text(f"path,x0,y0,x1,y1\ncat/1.jpg,{box}\n")
        for known in (sized, dataclasses.replace(pets, images=pixels)):
            with pytest.raises(ValueError, match="and a part in the image"):
                boxes_from_csv(known, path)
        assert len(boxes_from_csv(pets, path)) == 1  # its files are not opened
    path.write_text("path,x0,y0,x1,y1\ncat/1.jpg,39,23,50,30\n")
    assert len(boxes_from_csv(sized, path)) == 1
