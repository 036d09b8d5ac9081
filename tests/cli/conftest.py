"""A folder of drawn images, a model of its classes, and a run of `train` on it."""

import pytest

from keras_wsol import training
from tests.cli.calling import call
from tests.cli.drawn_pets import write_pets
from tests.labels.rectangles import localizer


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """See `write_pets`."""
    return write_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="session")
def model(pets):
    """File of a localizer that sees each class in a channel, at once."""
    path = pets.root / "painted.keras"
    localizer(class_names=tuple(pets.train.class_names)).save(path)
    return path


@pytest.fixture(scope="session")
def train(pets):
    """Runs `train` on the folder, with other options in place of some."""

    def run(out, words=(), **changes):
        options = {
            "data": pets.images,
            "out": out,
            "weights": "none",
            "method": "cam",
            "alpha": 0.25,
            "image-size": 32,
            "batch-size": 8,
            "epochs": 2,
            "freeze": "conv_pw_1_relu",
            **changes,
        }
        given = [word for k, v in options.items() if v for word in (f"--{k}", v)]
        return call("train", *given, *words)

    return run


@pytest.fixture(scope="session")
def trained(pets, train):
    """The folder of a run, and what was said."""
    out = pets.root / "run"
    compile = training.Recipe.compile

    def eagerly(self, *args, jit_compile):
        compile(self, *args, jit_compile=False, run_eagerly=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Recipe, "compile", eagerly)
        shown = train(out)
    assert shown.status == 0, shown.err
    shown.folder, shown.model = out, out / "localizer.keras"
    return shown
