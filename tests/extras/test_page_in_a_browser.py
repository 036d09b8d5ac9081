"""The report's page in headless Chromium, driven by Selenium.

Needs Debian's packages `chromium` and `chromium-driver`, and `selenium` from PyPI.
"""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from keras_wsol.evaluation import Report
from keras_wsol.evaluation.tables import html_of
from tests.evaluation.drawn_report import IMAGES, NAMES, SHOWN, drawn_report

# By IoU, from the worst: the numbers of the images as their files' names begin.
BY_IOU = ["4", "2", "3", "1", "0", "5"]
BY_SCORE = ["4", "2", "1", "3", "0", "5"]
BY_CLASS = ["0", "4", "1", "3", "2", "5"]  # Crow, Élan, Zebra 9, Zebra 10


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    # Off: what the browser itself would load in the background.
    options.add_argument("--disable-background-networking")
    options.add_argument("--force-prefers-color-scheme=light")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, tmp_path):
    """The page, opened from a file; nothing may go wrong while a test uses it."""
    path = tmp_path / "report 1.html"
    path.write_text(html_of(drawn_report()), encoding="utf-8")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert {url.split(":")[0] for url in requested(browser)} <= {"file", "data"}


def requested(browser):
    events = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")
    ]
    sent = [x for x in events if x["method"] == "Network.requestWillBeSent"]
    assert sent, "not even the page itself was seen"
    return [event["params"]["request"]["url"] for event in sent]


def figures(browser):
    shown = browser.find_elements(By.CSS_SELECTOR, "#gallery figure")
    return [figure for figure in shown if figure.is_displayed()]


def order(browser):
    """Numbers of the images shown, in their order."""
    return [x.text.splitlines()[-1].split()[0] for x in figures(browser)]


def sort_by(browser, key):
    browser.find_element(By.CSS_SELECTOR, f"[data-sort={key}]").click()


def test_every_image_is_shown_with_its_names(page):
    assert page.find_element(By.TAG_NAME, "h1").text == "vgg16 <adl>"
    shown = figures(page)
    assert order(page) == [str(index) for index in SHOWN]
    for figure, (true_id, predicted_id, *_) in zip(shown, IMAGES, strict=False):
        lines = figure.text.splitlines()
        assert lines[0] == NAMES[true_id]
        found = "no class" if predicted_id < 0 else NAMES[predicted_id]
        assert found in lines[1]
    # Loaded, not merely there.
    decoded = page.execute_async_script(
        "const done = arguments[0];"
        "const images = [...document.querySelectorAll('#gallery image')];"
        "Promise.all(images.map((image) => image.decode())).then("
        "() => done(images.length), (error) => done(String(error)));"
    )
    assert decoded == 2 * len(SHOWN)


@pytest.mark.parametrize(
    ("key", "expected"), [("iou", BY_IOU), ("score", BY_SCORE), ("class", BY_CLASS)]
)
def test_images_are_sorted(page, key, expected):
    sort_by(page, key)
    assert order(page) == expected
    if key != "class":  # images of one class keep their order
        sort_by(page, key)
        ranked = expected if key == "iou" else expected[:-1]
        # An image without a score comes last in either order.
        assert order(page) == ranked[::-1] + expected[len(ranked) :]


def test_images_are_filtered(page):
    select = Select(page.find_element(By.ID, "filter"))
    count = page.find_element(By.ID, "shown")
    assert count.text == "6 of 6 images"
    for choice, expected in [
        ("right", ["0"]),
        ("wrong, any kind", ["1", "2", "3", "4", "5"]),
        ("too large", ["3"]),
        ("all", [str(index) for index in SHOWN]),
    ]:
        select.select_by_visible_text(choice)
        assert order(page) == expected
        assert count.text == f"{len(expected)} of 6 images"


def test_score_maps_are_shown_and_hidden(page):
    def opacities():
        return [
            float(image.value_of_css_property("opacity"))
            for image in page.find_elements(By.CSS_SELECTOR, "#gallery .overlay")
        ]

    assert opacities() == [0] * 6
    figures(page)[1].find_element(By.TAG_NAME, "button").click()
    assert opacities() == [0, 0.5, 0, 0, 0, 0]
    maps = page.find_element(By.ID, "maps")
    maps.click()
    assert opacities() == [0.5] * 6
    figures(page)[2].find_element(By.TAG_NAME, "button").click()
    assert opacities() == [0.5, 0.5, 0, 0.5, 0.5, 0.5]
    maps.click()
    assert opacities() == [0] * 6


def test_the_table_by_class_is_sorted(page):
    def column(place):
        rows = page.find_elements(By.CSS_SELECTOR, "#classes tbody tr")
        return [row.find_elements(By.XPATH, "*")[place].text for row in rows]

    buttons = page.find_elements(By.CSS_SELECTOR, "#classes thead button")
    buttons[1].click()
    assert column(1) == ["1", "2", "3", "12"]  # as numbers, not as text
    buttons[1].click()
    assert column(1) == ["12", "3", "2", "1"]
    buttons[0].click()
    assert column(0) == [NAMES[0], NAMES[1], NAMES[3], NAMES[2]]
    states = [
        x.find_element(By.XPATH, "..").get_attribute("aria-sort") for x in buttons
    ]
    assert states == ["ascending", None, None, None, None]


@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_the_screen(page, tmp_path, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    # Wide tables scroll by themselves; the page does not scroll sideways.
    assert page.execute_script("return document.body.scrollWidth") <= width
    first, second, *_ = figures(page)
    assert first.rect["y"] == second.rect["y"], "images stand side by side"
    assert first.rect["x"] + first.rect["width"] <= second.rect["x"]
    page.find_element(By.ID, "maps").click()
    height = page.execute_script("return document.documentElement.scrollHeight")
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    folder = Path(os.environ.get("PAGE_SCREENSHOTS", tmp_path))
    picture = folder / f"page_{width}.png"
    assert page.save_screenshot(str(picture))
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape[:2] == (height, width)
    # Red and green frames are seen, and the colours of score maps.
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red > 230) & (green < 30) & (blue < 30)).sum() > 500
    assert ((green > 230) & (red < 30) & (blue < 30)).sum() > 500
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000


def test_no_script_in_a_name_is_run(browser, tmp_path):
    evil = '</script><img src=x onerror="document.title=1"><script>document.title=2//'
    path = tmp_path / "evil.html"
    report = drawn_report(model=evil, class_names=(evil, "'\"><i>", "a`b", evil + "2"))
    path.write_text(html_of(report), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    assert browser.title == f'{evil} on birds & "beasts", test'
    assert figures(browser)[0].text.splitlines()[0] == evil
    assert figures(browser)[1].get_attribute("data-class") == "'\"><i>"
    assert browser.get_log("browser") == []


def test_a_notebook_is_out_of_reach_of_the_page(browser, tmp_path):
    """It runs there, in a frame that may not touch what is around it."""
    path = tmp_path / "notebook.html"
    text = html_of(drawn_report())
    shown = Report._repr_html_(SimpleNamespace(to_html=lambda: text))
    path.write_text(f"<meta charset=utf-8><title>mine</title>{shown}", "utf-8")
    browser.get(path.as_uri())
    browser.switch_to.frame(0)
    sort_by(browser, "iou")
    assert order(browser) == BY_IOU
    touch = "try { parent.document.title = 1 } catch (error) { return error.name }"
    assert browser.execute_script(touch) == "SecurityError"
    touch = "try { top.location = 'about:blank' } catch (error) { return error.name }"
    assert browser.execute_script(touch) == "SecurityError"
    browser.switch_to.default_content()
    assert browser.title == "mine"
