"""The notebooks are made of their sources, run, and show small pictures."""

import base64
import re
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
MADE = runpy.run_path(str(FOLDER / "generate.py"))
SOURCES, text_of = MADE["SOURCES"], MADE["text_of"]
SECONDS = 900  # of a cell
LARGEST = 100_000  # bytes of a picture
DATA = re.compile(r"data:image/[\w+]+;base64,([\w+/=]+)")


def test_there_are_notebooks():
    names = {path.stem for path in FOLDER.glob("*.ipynb")}
    assert names == {source.stem for source in SOURCES}
    assert len(names) == 5


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_that_of_its_source(source):
    told = "Call: python examples/notebooks/generate.py"
    assert source.with_suffix(".ipynb").read_text("utf-8") == text_of(source), told


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_small_pictures(source, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_WSOL_SMALL", "1")
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=SECONDS, resources=where).execute()
    sizes = [len(picture) for picture in pictures(notebook)]
    assert sizes
    assert max(sizes) < LARGEST, sizes


def pictures(notebook):
    """Bytes of each picture that the cells show, those in pages included."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind, value in output.get("data", {}).items():
                if kind.startswith("image/"):
                    yield base64.b64decode(value)
                for found in DATA.findall(str(value)):
                    yield base64.b64decode(found)


def test_pictures_in_pages_are_found():
    page = f'<img src="data:image/png;base64,{base64.b64encode(b"abc").decode()}">'
    output = nbformat.v4.new_output("display_data", {"text/html": page})
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    assert [*pictures(nbformat.v4.new_notebook(cells=[cell]))] == [b"abc"]
