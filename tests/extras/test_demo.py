"""The page of examples/demo in headless Chromium, driven by Selenium.

Needs Debian's packages `chromium` and `chromium-driver`, and `selenium` and `gradio`
from PyPI.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import uploads
from app import label
from app import page as page_of
from creatures import of_creatures
from creatures import pictures as drawn_pictures
from PIL import Image
from seen import look
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from keras_wsol import cam, data
from keras_wsol.boxes import largest_boxes
from keras_wsol.labels import write_pseudo_labels
from keras_wsol.models import class_names_of
from tests.extras.saved_birds import small_localizer

PROJECT = Path(__file__).parents[2]
DEMO = PROJECT / "examples" / "demo"
SIZE = (210, 320)  # of the images; the localizer's input is another
SECONDS = 120  # for what may load or trace something first, beside other tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def localizer(folder):
    keras.utils.set_random_seed(0)
    score_map = cam.ChannelMean("conv_pw_3_relu")
    localizer = small_localizer(cam_threshold=0.3, score_map=score_map)
    localizer.save(folder / "birds.keras")
    return localizer


@pytest.fixture(scope="module")
def pictures(folder):
    """Paths of two images, and of a zip of the third and a broken one."""
    drawn = data.synthetic("test", num_images=3, image_size=SIZE).images
    paths = [folder / f"bird {index}.png" for index in range(3)]
    for path, pixels in zip(paths, drawn, strict=True):
        Image.fromarray(pixels).save(path)
    with zipfile.ZipFile(folder / "more.zip", "w") as packed:
        packed.write(paths[2], "deep/../../bird 2.png")
        packed.writestr("broken.png", paths[2].read_bytes()[:999])
        packed.writestr("notes.txt", "no image")
    return [*paths[:2], folder / "more.zip"]


@pytest.fixture(scope="module")
def address(folder, localizer):
    """Address of the page, which another process serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": str(port),
        "PYTHONPATH": str(PROJECT),
        "WSOL_MODEL": str(folder / "birds.keras"),
    }
    environment.pop("GRADIO_SERVER_NAME", None)  # this machine alone
    command = [sys.executable, str(DEMO / "app.py")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(2 * SECONDS):
            try:
                urllib.request.urlopen(address, timeout=SECONDS).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        server.terminate()
        server.wait(SECONDS)


@pytest.fixture(scope="module")
def browser(folder):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    # Off: what the browser itself would load in the background.
    options.add_argument("--disable-background-networking")
    options.add_argument("--force-prefers-color-scheme=light")
    options.add_argument("--window-size=1200,1300")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder / "downloads")}
    )
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    """The page, anew; it may ask nobody but its server while a test uses it."""
    browser.get_log("performance")
    browser.get(address)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#cut input"))
    # While it loads, something lies over it.
    cover = ".translucent[data-testid=status-tracker]"
    until(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, cover))
    yield browser
    urls = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert address in urls, "not even the page itself was seen"
    own = (address, "data:", f"blob:{address}")
    assert [url for url in urls if not url.startswith(own)] == []


def until(browser, condition):
    return WebDriverWait(browser, SECONDS).until(lambda _: condition())


def upload(page, name, paths):
    field = until(
        page, lambda: page.find_elements(By.CSS_SELECTOR, f"#{name} input[type=file]")
    )[0]
    field.send_keys("\n".join(map(str, paths)))


def value(page, name):
    return page.find_element(By.CSS_SELECTOR, f"#{name} textarea").get_attribute(
        "value"
    )


def move_threshold(page, steps):
    handle = page.find_element(By.CSS_SELECTOR, "#cut input[type=range]")
    handle.send_keys(*[Keys.ARROW_RIGHT if steps > 0 else Keys.ARROW_LEFT] * abs(steps))
    return float(handle.get_attribute("value"))


def screenshot(page, tmp_path, name):
    picture = Path(os.environ.get("PAGE_SCREENSHOTS", tmp_path)) / f"demo_{name}.png"
    assert page.save_screenshot(str(picture))
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def boxes_of(score_map, threshold):
    """What the page has to say of a map `(h, w)`."""
    box = keras.ops.convert_to_numpy(largest_boxes(score_map[None], threshold))[0]
    sides = box * np.tile(np.divide(SIZE, score_map.shape)[::-1], 2)
    return ", ".join(f"{side:.0f}" for side in sides)


def test_an_image_is_localized(page, localizer, pictures, tmp_path):
    one = data.ImageDataset(
        name="one",
        split="all",
        class_names=("unknown",),
        class_ids=np.zeros(1, "int32"),
        paths=np.array([str(pictures[0])]),
    )
    (batch,) = one.evaluation_batches(1, image_size=localizer.input_size)
    out = localizer.predict_on_batch(batch["images"])
    score_map = out["score_maps"][0, 0]

    upload(page, "image", pictures[:1])
    until(page, lambda: value(page, "box"))
    assert value(page, "box") == boxes_of(score_map, 0.3)
    shown = page.find_element(By.ID, "classes").text
    name = ("ape", "bee", "cat")[out["class_ids"][0, 0]]
    assert name in shown.splitlines()
    assert f"{out['scores'][0, 0]:.0%}" in shown

    # The threshold moves the box, and asks no network: the same map is cut.
    before = value(page, "box")
    threshold = move_threshold(page, 25)
    assert threshold == pytest.approx(0.55)
    until(page, lambda: value(page, "box") != before)
    expected = boxes_of(score_map, threshold)
    assert expected != before
    until(page, lambda: value(page, "box") == expected)
    pixels = screenshot(page, tmp_path, "image")
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((green > 230) & (red < 30) & (blue < 30)).sum() > 200, "no box"

    # Another map brings its own threshold.
    page.find_element(By.CSS_SELECTOR, "#map input").click()
    choices = page.find_elements(By.CSS_SELECTOR, "#map [role=option]")
    assert [choice.text.split("\n")[-1] for choice in choices][1:] == [
        "Class activation map",
        "CAM without negative weights",
        "Grad-CAM",
    ]
    choices[2].click()
    plain = type(localizer)(localizer.model, score_map=cam.CAM(negative_weights=False))
    score_map = plain.predict_on_batch(batch["images"])["score_maps"][0, 0]
    expected = boxes_of(score_map, 0.2)
    until(page, lambda: value(page, "box") == expected)
    assert move_threshold(page, 1) == pytest.approx(0.21)


def test_a_file_that_is_no_image_is_told(page, tmp_path):
    broken = tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    upload(page, "image", [broken])
    until(page, lambda: "cannot be read" in page.find_element(By.TAG_NAME, "body").text)
    assert value(page, "box") == ""


@pytest.mark.parametrize("form", ["COCO", "YOLO"])
def test_many_images_are_labelled(page, localizer, pictures, folder, tmp_path, form):
    open_many(page)
    upload(page, "files", pictures)
    move_threshold(page, 10)
    page.find_element(By.CSS_SELECTOR, f"#form input[value={form}]").click()
    find = page.find_element(By.ID, "find")
    until(page, lambda: "more\n.zip" in page.find_element(By.ID, "files").text)
    find.click()
    link = until(
        page, lambda: page.find_elements(By.CSS_SELECTOR, "#labels a[download]")
    )[0]
    told = "3 boxes in 3 images; 1 file could not be read: more/broken.png"
    assert value(page, "words") == told
    left_out = page.find_element(By.ID, "left").text
    assert "notes.txt" in left_out
    assert "not an image" in left_out
    assert "more/broken.png" in left_out
    screenshot(page, tmp_path, form)
    link.click()
    name = {"COCO": "labels.json", "YOLO": "labels.zip"}[form]
    written = folder / "downloads" / name
    until(page, written.is_file)

    # As the package writes them for the same files at the same threshold.
    images, out = tmp_path / "images", tmp_path / {"COCO": "a.json"}.get(form, "a")
    assert uploads.collected(pictures, images_made(images)) == [
        ("notes.txt", "not an image")
    ]
    localizer.cam_threshold = 0.4
    write_pseudo_labels(localizer, images, out, form.lower(), images_root=images)
    if form == "COCO":
        assert json.loads(written.read_text()) == json.loads(out.read_text())
    else:
        shutil.unpack_archive(written, tmp_path / "unpacked")
        texts = [
            {
                str(path.relative_to(root)): path.read_bytes()
                for path in root.rglob("*")
                # Its lines are in no order.
                if path.is_file() and path.name != ".keras_wsol.json"
            }
            for root in (tmp_path / "unpacked", out)
        ]
        assert texts[0] == texts[1]
        assert len([name for name in texts[0] if name.startswith("images/")]) == 3


@pytest.mark.parametrize("how", ["chosen", "dropped"])
def test_a_folder_is_labelled(page, pictures, tmp_path, how):
    birds = tmp_path / "birds"
    for number, path in enumerate(pictures[:2]):
        shutil.copy(path, images_made(birds / f"kind {number}"))
    (birds / "notes.txt").write_text("no image")
    open_many(page)
    if how == "chosen":
        upload(page, "folder", [birds])
    else:
        drop(page, "folder", birds)
    area = page.find_element(By.ID, "folder")
    until(page, lambda: all(f"bird {number}" in area.text for number in range(2)))
    page.find_element(By.ID, "find").click()
    until(page, lambda: value(page, "words") == "2 boxes in 2 images")
    screenshot(page, tmp_path, f"folder_{how}")


def test_one_image_is_no_images(localizer, pictures):
    ask = partial(label, {"own": localizer}, form="COCO", name="own", threshold=0.5)
    for files, told in (
        (pictures[:1], "1 box in 1 image"),
        (pictures[:2], "2 boxes in 2 images"),
    ):
        assert [words for _, words, _ in ask([*map(str, files)], None)] == [told]


def test_all_maps_are_of_the_class_that_is_shown(localizer, pictures):
    """A second look may find another than the classifier, which the others ask."""
    plain = type(localizer)(localizer.model)
    alone = look({"plain": plain}, pictures[0])
    least = min(range(3), key=list(alone.classes.values()).__getitem__)
    second = SimpleNamespace(
        find_maps=lambda pixels: plain.find_maps(pixels, np.array([[least]])),
        input_size=plain.input_size,
        model=plain.model,
    )
    maps = look({"second": second, "plain": plain}, pictures[0]).maps
    np.testing.assert_array_equal(maps["plain"], maps["second"])
    assert (maps["plain"] != alone.maps["plain"]).any()


def test_of_nothing_it_is_told(localizer, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    ask = partial(label, {"own": localizer}, form="COCO", name="own", threshold=0.5)
    for given, told in (
        (None, "What is given must hold images (.jpg"),
        ([str(broken)], "There must be an image. 1 of 1 images cannot be read"),
    ):
        ((file, words, _),) = ask(given, None)
        assert file is None
        assert words.startswith(told)
        assert tempfile.gettempdir() not in words
    assert "such as broken.png (" in words


def open_many(page):
    tabs = page.find_elements(By.CSS_SELECTOR, "[role=tab]")
    next(tab for tab in tabs if tab.text == "Many images").click()


def drop(page, name, path):
    """Drags a file or folder of this machine onto a part of the page."""
    area = until(page, lambda: page.find_elements(By.CSS_SELECTOR, f"#{name} button"))[
        0
    ].rect
    where = {"x": area["x"] + area["width"] / 2, "y": area["y"] + area["height"] / 2}
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.execute_cdp_cmd(
            "Input.dispatchDragEvent", {"type": kind, **where, "data": data}
        )


def images_made(folder):
    folder.mkdir(parents=True)
    return folder


def test_without_a_model_it_learns_once_from_drawn_creatures(tmp_path, monkeypatch):
    localizer = of_creatures(tmp_path, images=48, epochs=1)
    monkeypatch.setattr(keras.Model, "fit", None)
    again = of_creatures(tmp_path)
    shown = drawn_pictures(tmp_path)
    names = class_names_of(again.model)
    assert sorted(Path(each).stem for each in shown) == sorted(names)
    image = data.synthetic("test", num_images=1, image_size=96).images
    found = [each.predict_on_batch(image) for each in (localizer, again)]
    np.testing.assert_array_equal(found[0]["logits"], found[1]["logits"])
    parts = page_of(again, shown).get_config_file()["components"]
    samples = [x for x in parts if x["type"] == "dataset"]
    assert len(samples[0]["props"]["samples"]) == 6


def test_a_zip_stays_in_its_folder(tmp_path):
    encoded = tmp_path / "a.png"
    Image.new("RGB", (8, 9)).save(encoded)
    names = ["../../a.png", "/a.png", "b/a.png", "__MACOSX/._a.png", ".hidden.png"]
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as packed:
        for name in names:
            packed.write(encoded, name)
        packed.write(encoded, "torn.png")
    content = bytearray((tmp_path / "some.zip").read_bytes())
    place = content.rindex(encoded.read_bytes())
    content[place + 20] ^= 1
    (tmp_path / "some.zip").write_bytes(content)
    (tmp_path / "no.zip").write_bytes(b"not a zip")
    images = images_made(tmp_path / "deep" / "er")
    given = [encoded, encoded, tmp_path / "some.zip", tmp_path / "no.zip"]
    left_out = dict(uploads.collected(list(map(str, given)), images))
    assert sorted(left_out) == ["no.zip", "torn.png"]
    assert "CRC" in left_out["torn.png"]
    found = {str(x.relative_to(tmp_path)) for x in tmp_path.rglob("*") if x.is_file()}
    found -= {"a.png", "some.zip", "no.zip"}
    inside = ["a.png", "1 a.png", "some/a.png", "some/b/a.png"]
    assert found == {f"deep/er/{name}" for name in inside}


def test_a_broken_zip_of_any_packing_is_told(tmp_path):
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as packed:
            packed.writestr("a.png", np.random.default_rng(0).bytes(500))
        content = bytearray(path.read_bytes())
        content[60:90] = bytes(30)
        path.write_bytes(content)
        ((name, reason),) = uploads.collected(
            [str(path)], tmp_path / f"images {method}"
        )
        assert name == "a.png"
        assert reason


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES", "MOST_ENTRIES"])
def test_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(uploads, limit, {"MOST_BYTES": 2_000}.get(limit, 2))
    with zipfile.ZipFile(tmp_path / "some.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for index in range(3):
            packed.writestr(f"{index}.png", bytes(900))
    images = images_made(tmp_path / "images")
    with pytest.raises(ValueError, match="At most"):
        uploads.collected([str(tmp_path / "some.zip")], images)
    assert not (images / "some" / "2.png").exists()


def test_the_requirements_of_the_space_are_those_of_the_project():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    pins = (DEMO / "requirements.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", pins, re.M))
    names = {re.match(r"[\w-]+", each).group() for each in project["dependencies"]}
    names |= {"gradio", "tensorflow-cpu"}
    names -= {"tensorflow", "tensorflow-datasets"}
    assert pins.keys() == names
    header = (DEMO / "README.md").read_text().split("---")[1]
    assert f"sdk_version: {pins['gradio']}\n" in header
    assert "sdk: gradio\n" in header
    assert "app_file: app.py\n" in header
