"""What KerasCV's ResNets say where KerasCV is missing; with it: `tests/extras`."""

import sys

import pytest

from keras_wsol.models import BACKBONES, build_classifier

ROWS = ["resnet18", "resnet34"]


@pytest.mark.parametrize("backbone", ROWS)
def test_the_extra_is_named_where_keras_cv_is_missing(backbone, monkeypatch):
    for module in ("keras_cv", "keras_cv.models"):
        monkeypatch.setitem(sys.modules, module, None)
    message = (
        rf"The backbone '{backbone}' needs KerasCV: pip install "
        r'"keras-wsol\[keras-cv\]"\. \(Importing it failed: .*keras_cv.*\)'
    )
    with pytest.raises(ImportError, match=message):
        build_classifier(backbone, weights=None, input_shape=(64, 96, 3))


@pytest.mark.parametrize("backbone", ROWS)
def test_there_are_no_weights_of_imagenet(backbone):
    # The default of `build_classifier`; said without KerasCV, too.
    message = rf"`weights` of '{backbone}' must be None \(random\) or the path of a fi"
    with pytest.raises(ValueError, match=message):
        build_classifier(backbone, input_shape=(64, 96, 3))


def test_the_rows_that_need_an_extra():
    needs = [name for name, spec in BACKBONES.items() if spec.extra == "keras-cv"]
    assert needs == ROWS


@pytest.mark.parametrize("backbone", ROWS)
def test_a_top_is_refused(backbone):
    with pytest.raises(ValueError, match=rf"{backbone} has no top"):
        BACKBONES[backbone].build(include_top=True)
