import csv

import keras
import numpy as np
import pytest

from keras_wsol.layers import ADL
from keras_wsol.models import drop_shares
from keras_wsol.training import LogDropShares

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 9, 7, 3)).astype("float32")
CLASS_IDS = np.array([0, 1, 0, 1, 1, 0])


def classifier(**arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = ADL(name="adl", seed=3, **arguments)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-4), loss)
    return model


def fit(model, callbacks):
    return model.fit(
        IMAGES, CLASS_IDS, batch_size=3, epochs=2, verbose=0, callbacks=callbacks
    ).history


def test_logs_hold_the_share_after_each_epoch(tmp_path):
    model = classifier()
    log = tmp_path / "log.csv"
    history = fit(model, [LogDropShares(IMAGES[:2]), keras.callbacks.CSVLogger(log)])
    shares = history["adl/cells_dropped"]
    assert len(shares) == 2
    assert 0 < shares[1] == drop_shares(model, IMAGES[:2])["adl"]["cells"]
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["adl/cells_dropped"]) for row in rows] == shares


def test_a_model_without_such_layers_is_refused():
    inputs = keras.Input((9, 7, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x), name="plain")
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="`plain` has no layer that says what it drop"):
        model.fit(IMAGES, CLASS_IDS, callbacks=[LogDropShares(IMAGES)], verbose=0)


def test_training_is_what_it_is_without():
    losses = [
        fit(classifier(drop_rate=0.5), callbacks)["loss"]
        for callbacks in ([], [LogDropShares(IMAGES)])
    ]
    assert losses[0] == losses[1]
