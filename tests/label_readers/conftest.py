"""Labels of twenty images, written once for all readers."""

import pytest

from keras_wsol.label_formats import LABEL_FORMATS
from tests.label_readers.photographs import write_photographs
from tests.labels.rectangles import write


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """The folder of images; folders around it have umlauts and spaces, too."""
    return write_photographs(tmp_path_factory.mktemp("Müller's") / "Fotos über 1")


@pytest.fixture(scope="session")
def written(photographs):
    """What was written of them, by format."""
    return {
        name: write(
            photographs,
            photographs.parent / f"{name} ä{form.suffix or ''}",
            format=name,
        )
        for name, form in LABEL_FORMATS.items()
    }
