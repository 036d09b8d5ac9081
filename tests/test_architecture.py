"""Reads the source: its size, who imports whom, what is loaded when, what is said."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import keras
import pytest

import keras_wsol
from keras_wsol import cam, layers, models

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "keras_wsol"
# In the order in which data flows: a room imports only from rooms before it. `boxes`
# stands before `cam`, since maps that are fitted need connected components.
ROOMS = (
    *("arguments", "files", "masks", "data", "boxes", "cam", "layers", "models"),
    *("metrics", "viz", "evaluation", "training", "export"),
    *("label_formats", "labels", "cli"),
)
FOLDERS = tuple(room for room in ROOMS if (PACKAGE / room).is_dir())
ANY_BACKEND = {"masks", "cam", "boxes", "layers", "models", "metrics"}
HEAVY = {"tensorflow", "numba", "PIL", "cv2", "matplotlib", "scipy", "jax", "torch"}
HEAVY |= {"keras_cv", "keras_hub", "tensorflow_datasets", "jinja2"}
# These import TensorFlow or Numba as they load, and are themselves loaded by functions.
LOADED_LATE = {
    "boxes/numba_loops.py",
    "boxes/components_runs.py",
    "data/tf_pipeline.py",
    "export/endpoints.py",
}
MOST_FILES, MOST_LINES, MOST_NAMES = 104, 22_023, 123
LINES_OF_A_FILE, FILES_OF_A_ROOM, LINES_OF_A_LAYER, LINES_OF_README = 400, 18, 45, 150
LEAST_LINES = 60
# Private names of Keras and TensorFlow, each in one file, for want of a public way.
PRIVATE = {
    "_keras_history": "cam/split.py",  # the operation that made a symbolic tensor
    "_inbound_nodes": "cam/split.py",  # and what it was made of
    # Calls the layers of a model that is a layer; `clone_model` cuts its tensors off.
    "_run_through_graph": "cam/split.py",
    # How an optimizer of Keras finds the state of a variable.
    "_get_variable_index": "training/sgd.py",
    "_trainable_variables": "training/sgd.py",
}
REACHES_IN = re.compile(
    r"\b(_keras_history|_inbound_nodes|_flatten_layers|_run_through_graph|_noinline|"
    r"_initial_epoch|_trainable_variables|_get_variable_index|keras\.src\b|"
    r"tensorflow\.python\b)"
)
# What a study found belongs into examples/results, where its rows are.
STUDY = re.compile(
    r"examples/|\(?95 % interval -|points of (?:Top-1|GT)|(?:three|one) seeds?\b"
)


def sources():
    """Path in the package to text."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text()
        for path in sorted(PACKAGE.rglob("*.py"))
    }


SOURCES = sources()
TREES = {file: ast.parse(source) for file, source in SOURCES.items()}


def room_of(file):
    return file.removesuffix(".py").split("/")[0]


def order(name):
    # The package itself comes last: no room may import it.
    return ROOMS.index(name) if name in ROOMS else len(ROOMS)


def imports(tree, late=None):
    """Dotted names that are imported, `from a import b` as `a.b`.

    `late=False` leaves out functions and `TYPE_CHECKING`, `late=True` all else.
    """

    def walk(node, inside):
        for child in ast.iter_child_nodes(node):
            here = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            here = here or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            if late is None or late == here:
                if isinstance(child, ast.Import):
                    yield from (alias.name for alias in child.names)
                elif isinstance(child, ast.ImportFrom):
                    assert child.level == 0, "relative import: write the whole name"
                    yield from (f"{child.module}.{alias.name}" for alias in child.names)
            yield from walk(child, here)

    return list(walk(tree, inside=False))


def ours(names):
    """Of imported names the rooms of the package they come from, and the names."""
    return [(name.split(".")[1], name) for name in names if "keras_wsol." in name]


def upward_imports(file, tree):
    own = order(room_of(file))
    return [name for room, name in ours(imports(tree)) if order(room) > own]


def late_imports_of_own_room(file, tree):
    late = {"keras_wsol." + name[:-3].replace("/", ".") for name in LOADED_LATE}
    return [
        name
        for room, name in ours(imports(tree, late=True))
        if room == room_of(file) and not any(name.startswith(each) for each in late)
    ]


def loaded_early(tree):
    """Heavy packages, and our files that need them, loaded as a file is."""
    late = tuple("keras_wsol." + name[:-3].replace("/", ".") for name in LOADED_LATE)
    found = imports(tree, late=False)
    heavy = [name for name in found if name.split(".")[0] in HEAVY]
    return heavy + [name for name in found if name.startswith(late)]


def options_arguments(tree):
    """Arguments and annotated fields that are dictionaries of options."""
    names = [
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for argument in (*node.args.args, *node.args.kwonlyargs)
    ]
    names += [
        entry.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for entry in node.body
        if isinstance(entry, ast.AnnAssign)
    ]
    return [n for n in names if n.endswith("_options") and n != "backbone_options"]


def constants(tree):
    """Names in capitals that a file defines."""
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if re.fullmatch(r"[A-Z][A-Z0-9_]+", name)]


def public_names():
    """Room to `__all__`, the package's own left out: it repeats the main names."""
    return {
        room: list(
            getattr(importlib.import_module(f"keras_wsol.{room}"), "__all__", ())
        )
        for room in ROOMS
    }


def wordy_docstrings(tree, public):
    """Functions and classes that nobody outside is promised, documented as if so."""

    def walk(node, known):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.ClassDef):
                continue
            inside = isinstance(node, ast.ClassDef)
            told = not child.name.startswith("_") if inside else child.name in public
            text = ast.get_docstring(child) or ""
            if not (known and told) and re.search(
                r"^(Args|Returns|Raises):", text, re.M
            ):
                yield child.name
            yield from walk(child, known and told)

    return list(walk(tree, known=True))


def offenders(check):
    """File to what `check` finds in it, where it finds something."""
    found = {file: check(file, tree) for file, tree in TREES.items()}
    return {file: each for file, each in found.items() if each}


def repeated(names):
    return {name: count for name, count in Counter(names).items() if count > 1}


def test_size_of_the_package():
    lines = {file: source.count("\n") for file, source in SOURCES.items()}
    assert len(lines) <= MOST_FILES
    assert sum(lines.values()) <= MOST_LINES
    assert {f: n for f, n in lines.items() if n > LINES_OF_A_FILE} == {}
    short = {f: n for f, n in lines.items() if n < LEAST_LINES}
    assert [file for file in short if not file.endswith("__.py")] == []


def test_size_of_the_rooms():
    files = Counter(
        file.rpartition("/")[0] for file in SOURCES if not file.endswith("__.py")
    )
    files.pop("")
    assert {room: n for room, n in files.items() if n > FILES_OF_A_ROOM} == {}


def test_every_file_is_a_room_or_in_one():
    assert {room_of(file) for file in SOURCES} - {"__init__", "__main__"} == set(ROOMS)
    assert [room for room in FOLDERS if f"{room}/__init__.py" not in SOURCES] == []


def test_number_of_public_names():
    names = public_names()
    assert sum(map(len, names.values())) <= MOST_NAMES, names


def test_names_are_there_once():
    files = [Path(file).name for file in SOURCES if not file.endswith("__init__.py")]
    words = [name for names in public_names().values() for name in names]
    assert repeated(files) == {}
    assert repeated(words) == {}
    assert repeated(n for tree in TREES.values() for n in constants(tree)) == {}


def test_a_room_imports_only_from_rooms_above_it():
    assert offenders(upward_imports) == {}


def test_no_file_imports_its_own_room_late():
    assert offenders(late_imports_of_own_room) == {}


def files_imported(tree):
    """Files of the package that a file imports, at once or late."""
    for _, name in ours(imports(tree)):
        parts = name.split(".")[1:]
        for count in range(len(parts), 0, -1):
            file = "/".join(parts[:count]) + ".py"
            if file in SOURCES:
                yield file
                break


def circles(graph):
    """Files from which a way over imports leads back to themselves."""
    graph = {file: set(each) for file, each in graph.items()}
    while ends := [file for file, each in graph.items() if not each]:
        for file in ends:
            del graph[file]
        graph = {file: each - set(ends) for file, each in graph.items()}
    return sorted(graph)


def test_no_files_import_each_other_in_a_circle():
    graph = {file: set(files_imported(tree)) for file, tree in TREES.items()}
    assert circles({file: each & graph.keys() for file, each in graph.items()}) == []


def test_heavy_packages_are_imported_inside_functions():
    found = offenders(lambda file, tree: loaded_early(tree))
    assert {f: names for f, names in found.items() if f not in LOADED_LATE} == {}
    assert set(found) == LOADED_LATE  # a file is loaded late only if it has to be


def test_rooms_for_any_backend_use_tensorflow_in_three_files():
    users = [
        file
        for file, tree in TREES.items()
        if room_of(file) in ANY_BACKEND
        and any(name.split(".")[0] == "tensorflow" for name in imports(tree))
    ]
    fast = ["boxes/components_runs.py", "models/parts.py"]  # others have another way
    assert sorted(users) == sorted(["cam/gradient.py", *fast])


def test_options_are_objects():
    assert offenders(lambda file, tree: options_arguments(tree)) == {}


def test_nothing_private_of_keras_or_tensorflow():
    found = {file: set(REACHES_IN.findall(text)) for file, text in SOURCES.items()}
    allowed = {file: {n for n, f in PRIVATE.items() if f == file} for file in SOURCES}
    assert {f: n - allowed[f] for f, n in found.items() if n - allowed[f]} == {}
    assert {name for names in found.values() for name in names} == set(PRIVATE)


def test_no_figure_of_a_study_and_no_example_in_the_package():
    found = {file: STUDY.findall(text) for file, text in SOURCES.items()}
    assert {file: words for file, words in found.items() if words} == {}


def test_public_names_are_documented_and_others_in_a_line():
    names = public_names()
    for room, words in names.items():
        module = importlib.import_module(f"keras_wsol.{room}")
        assert module.__doc__, room
        without = [
            word
            for word in words
            if callable(getattr(module, word)) and not getattr(module, word).__doc__
        ]
        assert without == []
    public = {word for words in names.values() for word in words}
    public |= set(models.methods.__all__)
    assert offenders(lambda file, tree: wordy_docstrings(tree, public)) == {}


def test_docstrings_of_layers_are_short():
    lines = {name: getattr(layers, name).__doc__.count("\n") for name in layers.__all__}
    assert {name: n for name, n in lines.items() if n > LINES_OF_A_LAYER} == {}
    texts = {name: getattr(layers, name).__doc__ for name in layers.__all__}
    assert [n for n, text in texts.items() if "Reference:" not in text] == []
    assert [n for n, text in texts.items() if ">>>" not in text] == []


def test_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= LINES_OF_README


@pytest.mark.parametrize("file", ["README.md", ".ci/backends"])
def test_an_install_without_tensorflow_names_every_other_package(file):
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", x).group() for x in project["dependencies"]}
    names -= {"tensorflow", "tensorflow-datasets"}
    text = (PROJECT / file).read_text()
    # Up to the package itself, the lines that call `pip install` for it.
    told = text[: text.index("--no-deps")].rpartition("jax")
    words = re.findall(r"[\w-]+", told[0][-200:] + told[2])
    assert sorted(names - set(words)) == []


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy_but_keras():
    code = f"import sys, {{}}; print(*[m for m in {sorted(HEAVY)} if m in sys.modules])"
    assert run(code.format("keras, keras_wsol")) == run(code.format("keras"))


@pytest.mark.slow
def test_importing_the_package_registers_every_class():
    code = "import keras, keras_wsol; print(*keras.saving.get_custom_objects())"
    known = run(code).split()
    bases = (
        keras.Layer,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        cam.ScoreMap,
    )
    words = [(room, name) for room, names in public_names().items() for name in names]
    values = [getattr(importlib.import_module(f"keras_wsol.{r}"), n) for r, n in words]
    classes = [v for v in values if isinstance(v, type) and issubclass(v, bases)]
    assert len(classes) > 30
    names = [each.__name__ for each in classes if each is not cam.ScoreMap]
    assert [name for name in names if f"keras_wsol>{name}" not in known] == []


# The checks themselves find what they look for.


@pytest.mark.parametrize(
    "source",
    [
        "from keras_wsol.models import Localizer",
        "from keras_wsol import models",
        "import keras_wsol.models.splice",
        "def f():\n    from keras_wsol.models.splice import insert_after",
        "if TYPE_CHECKING:\n    from keras_wsol.evaluation import Report",
        "from keras_wsol.cli import main",
    ],
)
def test_an_import_from_below_is_found(source):
    assert upward_imports("cam/split.py", ast.parse(source))
    assert not upward_imports("cam/split.py", ast.parse("from keras_wsol import masks"))


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    from keras_wsol.cam import ddt",
        "if TYPE_CHECKING:\n    from keras_wsol.cam.split import SplitModel",
    ],
)
def test_a_late_import_of_the_own_room_is_found(source):
    assert late_imports_of_own_room("cam/gradient.py", ast.parse(source))
    allowed = "def f():\n    from keras_wsol.data import tf_pipeline"
    assert not late_imports_of_own_room("data/dataset.py", ast.parse(allowed))


@pytest.mark.parametrize(
    "source",
    [
        "import numba",
        "from PIL import Image",
        "class A:\n    import scipy.io",
        "from keras_wsol.data import tf_pipeline",
        "from keras_wsol.data.tf_pipeline import training_batches",
    ],
)
def test_a_heavy_import_is_found(source):
    assert loaded_early(ast.parse(source))
    assert not loaded_early(ast.parse("def f():\n    import numba"))


def test_other_checks_find_something():
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["a", "b", "c"]
    assert options_arguments(ast.parse("def f(a, *, map_options=None): pass"))
    assert not options_arguments(ast.parse("def f(backbone_options): pass"))
    assert options_arguments(ast.parse("class A:\n    b: int\n    c_options: dict"))
    assert constants(ast.parse("A_B = 1\nC: int = 2\nd = 3\n_E = 4")) == ["A_B"]
    told = 'def f():\n    """Does.\n\n    Args:\n        a: It.\n    """'
    assert wordy_docstrings(ast.parse(told), set()) == ["f"]
    assert wordy_docstrings(ast.parse(told), {"f"}) == []
    assert REACHES_IN.findall("x = y._keras_history") == ["_keras_history"]
    assert STUDY.findall("2.9 points of Top-1 Loc, examples/results")


def test_the_citation_is_of_this_version():
    citation = (PROJECT / "CITATION.cff").read_text()
    assert f"\nversion: {keras_wsol.__version__}\n" in citation
