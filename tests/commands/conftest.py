"""A folder of drawn images, and a run of `train` on it."""

from types import SimpleNamespace

import pytest

from keras_wsol import training
from tests.commands.calling import call
from tests.commands.drawn_pets import write_pets


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """See `write_pets`."""
    return write_pets(tmp_path_factory.mktemp("pets"))


@pytest.fixture(scope="session")
def train(pets):
    """Runs `train` on the folder, with other options in place of some."""

    def run(out, **changes):
        options = {
            "data": pets.images,
            "out": out,
            "weights": "none",
            "alpha": 0.25,
            "image-size": 64,
            "batch-size": 9,
            "epochs": 2,
            "freeze": "conv1_relu",
            **changes,
        }
        words = [word for k, v in options.items() for word in (f"--{k}", v)]
        return call("train", *words)

    return run


@pytest.fixture(scope="session")
def trained(pets, train):
    """The folder of a run that was interrupted in its second epoch and resumed."""

    class Interrupted(training.Checkpoint):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    out = pets.root / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Checkpoint", Interrupted)
        first = train(out)
    log = (out / "log.csv").read_text()
    return SimpleNamespace(out=out, first=first, first_log=log, second=train(out))
