"""What ResNet18 and 34 say where their extra is missing; with it: `tests/extras`."""

import sys

import pytest

from keras_wsol.models import BACKBONES, build_classifier

ROWS = {"resnet18": ("KerasHub", "keras_hub"), "resnet34": ("KerasCV", "keras_cv")}


@pytest.mark.parametrize("backbone", list(ROWS))
def test_the_extra_is_named_where_it_is_missing(backbone, monkeypatch):
    package, module = ROWS[backbone]
    for name in (module, f"{module}.models"):
        monkeypatch.setitem(sys.modules, name, None)
    message = (
        rf"The backbone '{backbone}' needs {package}: pip install "
        rf'"keras-wsol\[{module.replace("_", "-")}\]"\. '
        rf"\(Importing it failed: .*{module}.*\)"
    )
    with pytest.raises(ImportError, match=message):
        build_classifier(backbone, weights=None, input_shape=(64, 96, 3))


def test_there_are_no_weights_of_imagenet_for_resnet34():
    # The default of `build_classifier`; said without KerasCV, too.
    message = r"`weights` of 'resnet34' must be None \(random\) or the path of a file"
    with pytest.raises(ValueError, match=message):
        build_classifier("resnet34", input_shape=(64, 96, 3))


def test_the_rows_that_need_an_extra():
    needs = {name: row.extra for name, row in BACKBONES.items() if "resnet" in name}
    needs = {name: extra for name, extra in needs.items() if extra}
    assert needs == {"resnet18": "keras-hub", "resnet34": "keras-cv"}


@pytest.mark.parametrize("backbone", list(ROWS))
def test_a_top_is_refused(backbone):
    with pytest.raises(ValueError, match=rf"{backbone} has no top"):
        BACKBONES[backbone].build(include_top=True)
