"""Ultralytics trains on the folder of YOLO, from random weights and offline."""

import csv
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from tests.label_readers.photographs import PHOTOGRAPHS, WITH_TRAILER, is_upright
from tests.labels.rectangles import CLASSES


@pytest.fixture(scope="module")
def trainer(written, tmp_path_factory):
    """What is left of an epoch."""
    folder = tmp_path_factory.mktemp("ultralytics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_CONFIG_DIR", str(folder))
        from ultralytics import YOLO, settings
        from ultralytics.utils import USER_CONFIG_DIR

        # It would load these down, the second for names that are not ASCII.
        font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        for name in ("Arial.ttf", "Arial.Unicode.ttf"):
            shutil.copyfile(font, USER_CONFIG_DIR / name)
        settings.update({"sync": False})
        model = YOLO("yolov8n.yaml")
        model.train(
            data=str(written["yolo"].path / "data.yaml"),
            epochs=1,
            imgsz=64,
            batch=4,
            workers=0,
            device="cpu",
            plots=False,
            project=str(folder / "runs ü"),
        )
    return model.trainer


def test_every_image_is_found_with_its_label(trainer, written):
    found, folder = {}, written["yolo"].path
    for loader, split in (
        (trainer.train_loader, "train"),
        (trainer.test_loader, "val"),
    ):
        dataset = loader.dataset  # of images that are not "corrupt"
        listed = (folder / f"{split}.txt").read_text("utf-8").splitlines()
        assert len(dataset.labels) == len(listed) > 0
        for index, label in enumerate(dataset.labels):
            name = Path(label["im_file"]).relative_to(folder / "images").as_posix()
            size = dataset.load_image(index)[1]
            (class_id,), ((x, y, width, height),) = label["cls"][0], label["bboxes"]
            shares = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            box = tuple((np.array(shares) * (size[::-1] * 2)).round(2).tolist())
            found[name] = (CLASSES[int(class_id)], size, box)
    assert found == PHOTOGRAPHS


def test_images_are_read_upright(trainer, written):
    from ultralytics.utils.patches import imread

    folder = written["yolo"].path / "images"
    assert all(is_upright(imread(folder / name), name) for name in PHOTOGRAPHS)


def test_what_it_repairs_is_a_copy_in_place_of_the_link(trainer, photographs, written):
    folder = written["yolo"].path / "images"
    links = {name for name in PHOTOGRAPHS if (folder / name).is_symlink()}
    assert PHOTOGRAPHS.keys() - links == {WITH_TRAILER}
    assert (photographs / WITH_TRAILER).read_bytes().endswith(b"SEFT")


def test_the_epoch_ends_with_weights_of_all_classes(trainer):
    assert trainer.model.names == dict(enumerate(CLASSES))
    assert trainer.last.is_file()
    with trainer.csv.open(encoding="utf-8", newline="") as file:
        (epoch,) = csv.DictReader(file)
    losses = [float(value) for key, value in epoch.items() if "loss" in key]
    assert len(losses) == 6  # of boxes, classes and edges; of training and validation
    assert np.isfinite(losses).all()
    assert trainer.validator.seen == len(trainer.test_loader.dataset)
