"""Writes the notebooks of this folder from their sources: NAME.py to NAME.ipynb.

    pip install jupytext
    python examples/notebooks/generate.py

The sources are in jupytext's percent format; edit these alone. A source always gives
the same bytes: a cell's id is its number, where jupytext would draw one each time.
"""

from pathlib import Path

import jupytext
from nbformat.v4 import new_markdown_cell

FOLDER = Path(__file__).parent
SOURCES = sorted(path for path in FOLDER.glob("*.py") if path.name != "generate.py")
# Where Colab finds this folder. The project has no public address yet: this owner is a
# name that GitHub gives to nobody. Once it has one, NOT_YET and the words on wheels in
# the notebooks go.
ADDRESS = "github/THE_OWNER/keras_wsol/blob/main/examples/notebooks"
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/{}/{}.ipynb)"
)
NOT_YET = (
    "\n\nThe project has no public address yet, and the badge leads nowhere. "
    "Until then upload this file in Colab: *File*, *Upload notebook*."
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def text_of(source: Path) -> str:
    """Returns the text of the notebook that a source makes, without outputs."""
    notebook = jupytext.read(source, fmt="py:percent")
    badge = new_markdown_cell(BADGE.format(ADDRESS, source.stem) + NOT_YET)
    notebook.cells.insert(0, badge)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
    notebook.metadata = METADATA
    return jupytext.writes(notebook, fmt="ipynb") + "\n"


if __name__ == "__main__":
    for path in SOURCES:
        path.with_suffix(".ipynb").write_text(text_of(path), encoding="utf-8")
        print(path.with_suffix(".ipynb"))
