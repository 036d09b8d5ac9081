"""What the pages of the documentation and the README show: it runs as it stands there.

A block of Python runs, those of a page in order, in a folder of drawn images under the
names that the pages use. A command line is read by the parser of the commands.
"""

import argparse
import csv
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import keras_wsol
from keras_wsol import data, models
from keras_wsol.cli.command_line import COMMANDS, build_parser
from keras_wsol.models import weights

PROJECT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(PROJECT).as_posix(): path.read_text("utf-8")
    for path in (PROJECT / "README.md", *sorted((PROJECT / "examples").rglob("*.md")))
}
PYTHON = [page for page, text in PAGES.items() if "```python\n" in text]


def blocks(text, language):
    """Line before each block of a language, and the block."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return [(text.count("\n", 0, each.start(1)), each[1]) for each in found]


def calls(text):
    """The words of each call in the blocks of shell lines."""
    for _, block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


COMMAND_LINES = [
    (page, words)
    for page, text in PAGES.items()
    for words in calls(text)
    if words[0] == "keras-wsol"
]
SCRIPTS = [
    (page, words)
    for page, text in PAGES.items()
    for words in calls(text)
    if words[0] == "python" and words[1].endswith(".py")
]


def test_there_is_code_on_the_pages():
    assert "README.md" in PYTHON
    assert len(PYTHON) >= 6
    assert {words[1] for _, words in COMMAND_LINES} == set(COMMANDS)
    assert SCRIPTS


@pytest.mark.parametrize(
    ("page", "words"), COMMAND_LINES, ids=lambda x: x if isinstance(x, str) else x[1]
)
def test_command_lines_are_understood(page, words, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert build_parser().parse_args(words[1:]).command == words[1]


def test_options_in_the_text_are_those_of_the_command():
    actions = build_parser()._actions
    [commands] = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    said = [
        (page, command, option)
        for page, text in PAGES.items()
        for command, rest in re.findall(r"`keras-wsol ([a-z]+)([^`]*)`", text)
        for option in re.findall(r"--[a-z-]+", rest)
    ]
    assert said
    for page, command, option in said:
        assert option in commands.choices[command]._option_string_actions, page


@pytest.mark.parametrize(("page", "words"), SCRIPTS)
def test_scripts_are_there_and_know_their_options(page, words):
    script = PROJECT / words[1]
    assert script.is_file(), page
    options = [word for word in words if word.startswith("--")]
    assert [o for o in options if f'"{o}"' not in script.read_text("utf-8")] == []


def test_the_reference_has_every_room():
    shown = re.findall(r"^::: keras_wsol\.(\S+)$", PAGES["examples/docs/api.md"], re.M)
    values = {name: getattr(keras_wsol, name) for name in keras_wsol.__all__}
    rooms = {name for name, value in values.items() if isinstance(value, ModuleType)}
    assert sorted(shown) == sorted({*rooms, "models.methods"})


@pytest.fixture
def small(monkeypatch):
    """Narrow networks with random weights, in place of those that are downloaded."""
    built = weights._built

    def narrow(name, spec, weights, shape, options):
        return built(name, spec, None, shape, {**options, "alpha": 0.25})

    monkeypatch.setattr(weights, "_built", narrow)


@pytest.fixture
def folder(tmp_path, monkeypatch, small):
    """The current folder, with what the pages name."""
    drawn = data.synthetic(num_images=60, num_classes=3, image_size=96)
    boxes = {}
    for index, class_id in enumerate(drawn.class_ids):
        path = tmp_path / "birds" / drawn.class_names[class_id] / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[index]).save(path)
        boxes[path.name] = drawn.boxes[index, 0].tolist()
    (tmp_path / "photos").mkdir()
    for path in ("photo.jpg", "photos/1.jpg", "photos/2.jpg"):
        Image.fromarray(drawn.images[len(path)]).save(tmp_path / path)
    val = data.image_folder(tmp_path / "birds", "val")
    for name, paths in {"test": val.paths[::2], "thirty": val.paths[1::2]}.items():
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path", "x0", "y0", "x1", "y1"])
            files = [Path(path).name for path in paths]
            rows.writerows([file, *boxes[file]] for file in files)
    model = models.build_classifier(
        "mobilenet", "cam", 3, class_names=drawn.class_names
    )
    (tmp_path / "runs" / "birds").mkdir(parents=True)
    models.Localizer(model).save(tmp_path / "runs" / "birds" / "localizer.keras")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
# Of Keras: batches of tf.data want `fit(shuffle=False)`.
@pytest.mark.filterwarnings("error:`shuffle=True` was passed")
@pytest.mark.parametrize("page", PYTHON)
def test_code_runs(page, folder):
    names = {"__name__": "page"}
    for line, block in blocks(PAGES[page], "python"):
        # As many empty lines in front as make an error name the line of the page.
        exec(compile("\n" * line + block, PROJECT / page, "exec"), names)
