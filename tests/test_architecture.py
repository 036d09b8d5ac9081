"""Reads the source: who imports whom, what is loaded when, what is documented."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keras_wsol"
# In the order in which data flows: a room imports only from rooms before it.
ROOMS = (
    *("data", "boxes", "cam", "layers", "models", "metrics"),
    *("viz", "evaluation", "training", "export"),
)
ANY_BACKEND = {"cam", "boxes", "layers", "models", "metrics"}
HEAVY = {"tensorflow", "numba", "PIL", "cv2", "matplotlib", "scipy", "jax", "torch"}
HEAVY |= {"keras_cv", "tensorflow_datasets"}
# These import TensorFlow as they load, and are themselves loaded by functions.
LOADED_LATE = {
    "data/tf_pipeline.py",
    "export/endpoints.py",
}
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(source, at_load_only=False):
    """Dotted names that `source` imports; `from a import b` is `a.b`."""

    def walk(node):
        for child in ast.iter_child_nodes(node):
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(
                child.test
            )
            if at_load_only and (late or for_types):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative import: write the whole name"
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child)

    return list(walk(ast.parse(source)))


def rooms_below(file, source):
    """Rooms that come after the room of `file`, and that it imports."""
    own = file.split("/")[0]
    used = [name.split(".")[1] for name in imports(source) if "keras_wsol." in name]
    return [name for name in used if order(name) > order(own)]


def order(name):
    # `cli`, `commands` and the package itself come last: no room may import them.
    return ROOMS.index(name) if name in ROOMS else len(ROOMS)


def loaded_early(file, source):
    """Heavy packages, and our files that need them, loaded as `file` is."""
    late = {"keras_wsol." + name[:-3].replace("/", ".") for name in LOADED_LATE}
    found = imports(source, at_load_only=True)
    heavy = [name for name in found if name.split(".")[0] in HEAVY]
    return heavy + [name for name in found if any(name.startswith(x) for x in late)]


def private_keras(source):
    """Uses of `keras.src`, imported or by attribute."""
    attributes = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
    ]
    used = [*attributes, *imports(source)]
    return [name for name in used if f"{name}.".startswith("keras.src.")]


def test_every_folder_is_a_room_or_holds_the_commands():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == {*ROOMS, "commands"}
    assert all(f"{room}/__init__.py" in SOURCES for room in ROOMS)


@pytest.mark.parametrize("file", [file for file in SOURCES if "/" in file])
def test_a_room_imports_only_from_rooms_above_it(file):
    assert rooms_below(file, SOURCES[file]) == []


@pytest.mark.parametrize("file", SOURCES)
def test_nothing_reaches_into_keras_src(file):
    assert private_keras(SOURCES[file]) == []


@pytest.mark.parametrize("file", sorted(set(SOURCES) - LOADED_LATE))
def test_heavy_packages_are_imported_inside_functions(file):
    assert loaded_early(file, SOURCES[file]) == []


@pytest.mark.parametrize("file", sorted(LOADED_LATE))
def test_files_loaded_late_are_those_that_need_it(file):
    assert [n for n in imports(SOURCES[file], True) if n.split(".")[0] in HEAVY]


def test_rooms_for_any_backend_use_tensorflow_in_two_files():
    users = [
        file
        for file, source in SOURCES.items()
        if file.split("/")[0] in ANY_BACKEND
        and any(name.split(".")[0] == "tensorflow" for name in imports(source))
    ]
    assert sorted(users) == ["boxes/components_runs.py", "cam/gradient.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_documented(room):
    module = importlib.import_module(f"keras_wsol.{room}")
    assert module.__doc__
    assert module.__all__
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):  # a constant has no docstring of its own
            assert value.__doc__, f"{room}.{name} has no docstring"


def test_importing_the_package_and_the_data_room_is_cheap():
    heavy = sorted(HEAVY | {"keras"})
    code = (
        "import sys, keras_wsol, keras_wsol.data; keras_wsol.data.cub200; "
        f"found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The checks themselves find what they look for.


@pytest.mark.parametrize(
    "source",
    [
        "from keras_wsol.models import Localizer",
        "from keras_wsol import models",
        "import keras_wsol.cam.split",
        "def f():\n    from keras_wsol.cam.split import find_head",
        "from keras_wsol.cli import main",
    ],
)
def test_an_import_from_a_lower_room_is_found(source):
    assert rooms_below("cam/score_map.py", source)
    assert not rooms_below("cam/score_map.py", "from keras_wsol import masks")


@pytest.mark.parametrize(
    "source",
    [
        "import tensorflow as tf",
        "from PIL import Image",
        "try:\n    import numba\nexcept ImportError:\n    numba = None",
        "class A:\n    import cv2",
        "from keras_wsol.data import tf_pipeline",
        "from keras_wsol.data.tf_pipeline import read_each",
    ],
)
def test_an_early_import_is_found(source):
    assert loaded_early("data/dataset.py", source)
    inside = "def f():\n" + "\n".join(f"    {line}" for line in source.splitlines())
    assert not loaded_early("data/dataset.py", inside)


@pytest.mark.parametrize(
    "source",
    ["import keras.src", "from keras.src.trainers import x", "keras.src.backend.f()"],
)
def test_private_keras_is_found(source):
    assert private_keras(source)
    assert not private_keras("from keras import ops\nkeras.ops.sum(1)")
