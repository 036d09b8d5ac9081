"""Localization while a classifier trains: one training, watched by all callbacks."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.evaluation import LocalizationEvaluation, evaluate
from keras_wsol.layers import ADL
from keras_wsol.models import Localizer
from keras_wsol.models.parts import Logits
from tests.evaluation.painted_split import NAMES, split_of
from tests.models.painted import CELL, blob_images

SIZE = (24, 36)
FIGURES = ("gt_known_loc", "top1_loc", "max_box_acc_v2", "top1_cls", "cam_threshold")
LOGGED = {f"val_{name}" for name in FIGURES}


@pytest.fixture(scope="module")
def held_out():
    return split_of("train-fullsup", 13, seed=1)


def trainable_model(seed=3):
    """Learns and draws at each step: normalization, ADL and dropout have a state."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((*SIZE, 3), name="images")
    x = keras.layers.AveragePooling2D(CELL)(images)
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.BatchNormalization()(x)
    x = ADL(0.5, 0.6, seed=1)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, Logits(7, class_names=NAMES, dtype="float32")(x))
    model.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def fit(model, *callbacks, epochs=2, **arguments):
    images = blob_images(8, SIZE, seed=5).astype("float32")
    class_ids = np.arange(8) % 7
    return model.fit(
        images,
        class_ids,
        batch_size=4,
        epochs=epochs,
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
        **arguments,
    )


def callback_of(dataset, **arguments):
    return LocalizationEvaluation(
        dataset, **{"batch_size": 8, "num_thresholds": 50, **arguments}
    )


class Seen(keras.callbacks.Callback):
    """Keeps what a callback that comes later sees: logs and weights of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.logs = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        self.logs.append(dict(logs))


def state(model):
    # Seed generators are among the variables, though not among the weights.
    variables = [*model.variables, *model.optimizer.variables]
    assert any("seed_generator" in variable.path for variable in variables)
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def expected_logs(model, dataset, **arguments):
    report = evaluate(model, dataset, batch_size=8, num_thresholds=50, **arguments)
    return {
        "val_gt_known_loc": report.oracle.gt_known_loc,
        "val_top1_loc": report.oracle.top1_loc,
        "val_max_box_acc_v2": report.max_box_acc_v2,
        "val_top1_cls": report.top1_cls,
        "val_cam_threshold": report.oracle.cam_threshold,
    }


@pytest.fixture(scope="module")
def training(held_out, tmp_path_factory):
    """One training of two epochs: the model, its history, and what was seen."""
    folder, model, seen = tmp_path_factory.mktemp("run"), trainable_model(), Seen()
    callbacks = [
        callback_of(held_out),
        seen,
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        keras.callbacks.ModelCheckpoint(
            str(folder / "best.keras"),
            monitor="val_gt_known_loc",
            mode="max",
            save_best_only=True,
        ),
    ]
    history = fit(model, *callbacks).history
    return model, history, seen, folder


def test_the_logs_are_what_evaluate_says_after_each_epoch(training, held_out):
    model, history, seen, _ = training
    assert set(history) == {"loss", "accuracy", *LOGGED}
    final, by_epoch = model.get_weights(), []
    for epoch, weights in enumerate(seen.weights):
        model.set_weights(weights)
        expected = expected_logs(model, held_out)
        assert {name: history[name][epoch] for name in LOGGED} == expected
        by_epoch.append(tuple(expected.values()))
    model.set_weights(final)
    assert len(set(by_epoch)) == 2, "epochs must differ for this to mean something"


def test_callbacks_that_come_after_it_see_its_figures(training):
    _, history, seen, folder = training
    for epoch, logs in enumerate(seen.logs):
        assert set(logs) == {"loss", "accuracy", *LOGGED}
        assert all(logs[name] == history[name][epoch] for name in LOGGED)
    header, row, *_ = (folder / "log.csv").read_text().splitlines()
    logged = dict(zip(header.split(","), row.split(","), strict=True))
    for name in LOGGED:
        assert float(logged[name]) == history[name][0]


def test_keras_keeps_the_best_model_by_its_figure(training):
    _, history, seen, folder = training
    best = int(np.argmax(history["val_gt_known_loc"]))
    saved = keras.saving.load_model(folder / "best.keras")
    for found, expected in zip(saved.get_weights(), seen.weights[best], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_training_goes_on_as_without_it(training):
    plain = trainable_model()
    fit(plain)
    for before, after in zip(state(plain), state(training[0]), strict=True):
        np.testing.assert_array_equal(before, after)


def test_view_and_score_map_are_used_and_nothing_changes(training, held_out):
    model = training[0]
    before = state(model)
    options = {"view": "center_crop", "score_map": "channel_mean"}
    callback = callback_of(held_out, **options)
    callback.set_model(model)
    localizer = Localizer(model, score_map="channel_mean")
    found = callback.figures()
    assert found == expected_logs(localizer, held_out, view="center_crop")
    assert found != {name: training[1][name][-1] for name in LOGGED}
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("every", "first", "epochs", "expected"),
    [(1, 0, 3, [0, 1, 2]), (2, 0, 4, [0, 2, 3]), (3, 1, 6, [1, 3, 5])],
)
def test_the_first_the_last_and_every_nth_epoch(
    every, first, epochs, expected, held_out, monkeypatch
):
    figures = dict.fromkeys(LOGGED, 0.5)
    monkeypatch.setattr(LocalizationEvaluation, "figures", lambda _: figures)
    callback, measured = callback_of(held_out, every=every), []
    callback.set_params({"epochs": epochs})
    for epoch in range(first, epochs):
        logs = {}
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs)
        if set(logs) >= LOGGED:
            measured.append(epoch)
    assert measured == expected


# What is refused


@pytest.mark.parametrize(
    "names",
    [
        {"split": "test"},
        {"split": "TEST"},
        {"split": "cub-test_v2"},
        {"name": "cub test", "split": "half"},
    ],
)
def test_a_test_split_is_refused(names, held_out):
    with pytest.raises(ValueError, match=r"must not see: .*'train-fullsup'.*Received"):
        callback_of(replace(held_out, **names))
    assert callback_of(replace(held_out, **names), allow_test=True)


def test_other_names_are_no_test_split(held_out):
    assert callback_of(replace(held_out, name="contest", split="latest"))


def test_batches_need_to_be_allowed(training, held_out):
    batches = list(held_out.numpy_batches(5, image_size=SIZE))
    for given in (batches, iter(())):
        message = "do not say which split they are of.*`allow_test=True`.*Received: "
        with pytest.raises(ValueError, match=message + type(given).__name__):
            callback_of(given)
    callback = callback_of(batches, allow_test=True)
    callback.set_model(training[0])
    assert callback.figures() == expected_logs(training[0], batches)


def test_a_split_without_boxes_is_refused(held_out):
    with pytest.raises(ValueError, match="'train-fullsup' of 'painted' has no boxes"):
        callback_of(replace(held_out, boxes=None))


def test_other_classes_are_refused_before_an_epoch_is_trained(training, held_out):
    callback = callback_of(replace(held_out, class_names=NAMES[::-1]))
    callback.set_model(training[0])
    with pytest.raises(ValueError, match="must know the classes of 'painted'"):
        callback.on_train_begin()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"every": 0},
            ValueError,
            "`every` must be .* >= 1. Received: every=0",
        ),
        ({"every": True}, TypeError, "`every` must be"),
        ({"batch_size": 2.5}, TypeError, "`batch_size` must be .* batch_size=2.5"),
        ({"num_thresholds": 0}, ValueError, "`num_thresholds` must be"),
        ({"view": "half"}, ValueError, "view"),
    ],
)
def test_bad_arguments(arguments, error, message, held_out):
    with pytest.raises(error, match=message):
        callback_of(held_out, **arguments)


@pytest.mark.parametrize("logger", ["CSVLogger", "TensorBoard"])
def test_a_logger_that_would_miss_the_figures_is_refused(logger, held_out, tmp_path):
    model, own = trainable_model(), callback_of(held_out)
    before = getattr(keras.callbacks, logger)(str(tmp_path / "log"))
    message = f"LocalizationEvaluation must come before {logger} in `callbacks`"
    with pytest.raises(ValueError, match=message):
        fit(model, before, own)
    assert int(model.optimizer.iterations) == 0


def test_what_is_not_a_batch_is_refused_at_once():
    for wrong in ("boxes.csv", Path("boxes.csv"), None):
        with pytest.raises(TypeError, match=r"`ImageDataset`, as of .*Received: "):
            callback_of(wrong, allow_test=True)
        with pytest.raises(TypeError, match=r"`ImageDataset`, as of .*Received: "):
            Localizer(trainable_model()).tune(wrong)
