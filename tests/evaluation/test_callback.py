import importlib.util
import json
from dataclasses import replace
from unittest.mock import Mock

import keras
import numpy as np
import pytest

from keras_wsol.data import ImageDataset
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


def fit(model, *callbacks, epochs=3, **arguments):
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


class Weights(keras.callbacks.Callback):
    """Keeps the weights of each epoch, and every other variable."""

    def __init__(self):
        super().__init__()
        self.by_epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.by_epoch.append(self.model.get_weights())


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


@pytest.mark.parametrize(("view", "epochs"), [("whole", 3), ("center_crop", 1)])
def test_the_logs_are_what_evaluate_says_after_each_epoch(view, epochs, held_out):
    model, weights = trainable_model(), Weights()
    callback = callback_of(held_out, view=view)
    history = fit(model, callback, weights, epochs=epochs).history
    assert set(history) == {"loss", "accuracy", *LOGGED}
    by_epoch = []
    for epoch, values in enumerate(weights.by_epoch):
        model.set_weights(values)
        expected = expected_logs(model, held_out, view=view)
        assert {name: history[name][epoch] for name in LOGGED} == expected
        by_epoch.append(tuple(expected.values()))
    assert len(set(by_epoch)) == epochs, "epochs must differ for this to mean something"


def test_the_options_of_the_localizer_are_used(held_out):
    model = trainable_model()
    options = {"score_map": "channel_mean", "cam_threshold": 0.123}
    history = fit(model, callback_of(held_out, localizer_options=options), epochs=1)
    logs = {name: history.history[name][0] for name in LOGGED}
    assert logs == expected_logs(Localizer(model, **options), held_out)
    assert logs != expected_logs(model, held_out)


def test_training_goes_on_as_without_it(held_out, tmp_path):
    plain, watched = trainable_model(), trainable_model()
    fit(plain)
    fit(watched, callback_of(held_out, save_best=tmp_path / "best.keras"))
    for before, after in zip(state(plain), state(watched), strict=True):
        np.testing.assert_array_equal(before, after)


def test_nothing_of_the_model_changes_while_it_is_measured(held_out):
    class Around(keras.callbacks.Callback):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def on_epoch_end(self, epoch, logs=None):
            before = state(self.model)
            self.inner.set_model(self.model)
            self.inner.on_epoch_end(epoch, logs)
            for old, new in zip(before, state(self.model), strict=True):
                np.testing.assert_array_equal(old, new)

        def on_train_begin(self, logs=None):
            self.inner.set_model(self.model)
            self.inner.on_train_begin()

    history = fit(trainable_model(), Around(callback_of(held_out)), epochs=1).history
    assert set(history) >= LOGGED


def test_callbacks_that_come_after_it_see_its_figures(held_out, tmp_path):
    seen = []
    after = [
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda _, logs: seen.append({**logs})
        ),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.ModelCheckpoint(
            str(tmp_path / "{val_gt_known_loc:.4f}.keras"),
            monitor="val_gt_known_loc",
            mode="max",
            save_best_only=True,
        ),
        keras.callbacks.EarlyStopping("val_cam_threshold", mode="max", min_delta=2),
    ]
    history = fit(trainable_model(), callback_of(held_out), *after).history
    # Never better by 2: stopped after the second of three epochs.
    assert len(seen) == len(history["val_gt_known_loc"]) == 2
    assert set(seen[0]) == {"loss", "accuracy", *LOGGED}
    header, row, _ = (tmp_path / "log.csv").read_text().splitlines()
    logged = dict(zip(header.split(","), row.split(","), strict=True))
    for name in LOGGED:
        assert float(logged[name]) == history[name][0]
    value = history["val_gt_known_loc"][0]
    assert (tmp_path / f"{value:.4f}.keras").is_file()


@pytest.mark.parametrize(
    ("every", "first", "epochs", "expected"),
    [(1, 0, 3, [0, 1, 2]), (2, 0, 4, [0, 2, 3]), (3, 1, 6, [1, 3, 5])],
)
def test_the_first_the_last_and_every_nth_epoch(
    every, first, epochs, expected, held_out, half
):
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: set(logs) >= LOGGED and seen.append(epoch)
    )
    callback = callback_of(held_out, every=every)
    fit(trainable_model(), callback, spy, epochs=epochs, initial_epoch=first)
    assert seen == expected


class Drawn(keras.callbacks.Callback):
    """Weights of its own for each epoch: the same ones on every backend."""

    def on_epoch_end(self, epoch, logs=None):
        rng = np.random.default_rng(epoch)
        # None is below 0, for variances are among them.
        drawn = [rng.random(x.shape) ** 2 for x in self.model.get_weights()]
        kernel = drawn[-2] - drawn[-2].mean(axis=-1, keepdims=True)
        self.model.set_weights([*drawn[:-2], 5 * kernel, 0 * drawn[-1]])


MEASURED = ("gt_known_loc", "top1_loc")


@pytest.fixture(scope="module")
def watched_by_all(held_out, tmp_path_factory):
    """One training in which each measure chooses a model."""
    folder = tmp_path_factory.mktemp("watched")
    callbacks = {
        measure: callback_of(
            held_out, save_best=folder / measure / "best.keras", measure=measure
        )
        for measure in MEASURED
    }
    weights = Weights()
    fitted = fit(trainable_model(), Drawn(), *callbacks.values(), weights, epochs=5)
    return callbacks, weights, fitted.history


@pytest.mark.parametrize("measure", MEASURED)
def test_the_best_model_is_that_of_the_best_epoch(measure, watched_by_all):
    callbacks, weights, history = watched_by_all
    callback = callbacks[measure]
    path = callback.best.path
    values = history[f"val_{measure}"]
    best = int(np.argmax(values))
    assert len(set(values)) > 1
    assert (callback.best.epoch, callback.best.value) == (best, max(values))
    saved = keras.saving.load_model(path)
    for found, expected in zip(
        saved.get_weights(), weights.by_epoch[best], strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    figures = json.loads(path.with_suffix(".json").read_text())
    assert figures.pop("epoch") == best
    assert figures.pop("measure") == measure
    assert figures == {name: history[name][best] for name in LOGGED}
    # Nothing half written is left behind.
    assert {x.name for x in path.parent.iterdir()} == {"best.keras", "best.json"}


@pytest.fixture
def half(monkeypatch):
    """Every figure is 0.5, at no cost."""
    monkeypatch.setattr(
        LocalizationEvaluation, "_measure", lambda *_: dict.fromkeys(LOGGED, 0.5)
    )


def offered(callback, *values):
    """Epochs of which models were saved, out of those with these figures."""
    saved = []
    for epoch, value in enumerate(values):
        if callback.best.offer(callback.model, epoch, {"val_top1_loc": value}):
            saved.append(epoch)
    return saved


def test_only_better_models_are_saved(held_out, tmp_path):
    callback = callback_of(
        held_out, save_best=tmp_path / "best.keras", measure="top1_loc"
    )
    callback.set_model(trainable_model())
    assert offered(callback, float("nan"), 0.25, 0.25, 0.2, 0.5, 0.4) == [1, 4]


def test_a_resumed_training_keeps_a_better_model(held_out, tmp_path, half):
    path = tmp_path / "best.keras"
    options = {"save_best": path, "measure": "top1_loc"}
    first = callback_of(held_out, **options)
    first.set_model(trainable_model())
    assert offered(first, 2.0) == [0]  # no training reaches that
    before = path.read_bytes()
    resumed = callback_of(held_out, **options)
    fit(trainable_model(), resumed, epochs=4, initial_epoch=2)
    assert path.read_bytes() == before
    assert (resumed.best.epoch, resumed.best.value) == (0, 2.0)
    # By another measure it cannot be compared; a training from the start replaces it.
    other = callback_of(held_out, save_best=path)
    fit(trainable_model(), other, epochs=3, initial_epoch=2)
    assert other.best.epoch == 2
    assert path.read_bytes() != before
    assert offered(first, 3.0) == [0]
    anew = callback_of(held_out, **options)
    fit(trainable_model(), anew, epochs=1)
    assert anew.best.epoch == 0
    assert anew.best.value == 0.5


def test_a_model_that_cannot_be_saved_leaves_the_last_one(held_out, tmp_path):
    path = tmp_path / "best.keras"
    callback = callback_of(held_out, save_best=path, measure="top1_loc")
    callback.set_model(trainable_model())
    offered(callback, 0.1)
    before = path.read_bytes()

    class Full(keras.Model):
        def save(self, path, **_):
            path.write_bytes(b"half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        callback.best.offer(Full(), 1, {"val_top1_loc": 0.9})
    assert path.read_bytes() == before
    assert callback.best.value == 0.1
    assert sorted(x.name for x in tmp_path.iterdir()) == ["best.json", "best.keras"]


@pytest.mark.parametrize("text", ["", '{"epoch": 3, "me', "[]", '{"measure": "x"}'])
def test_broken_figures_are_no_reason_to_stop(text, held_out, tmp_path):
    path = tmp_path / "best.keras"
    best = callback_of(held_out, save_best=path, measure="top1_loc").best
    path.write_bytes(b"a model")
    (tmp_path / "best.json").write_text(text)
    best.recall()
    assert (best.epoch, best.value) == (None, float("-inf"))
    assert best.offer(trainable_model(), 4, {"val_top1_loc": 0.1})
    best.recall()
    assert (best.epoch, best.value) == (4, 0.1)


def test_an_interruption_between_model_and_figures(held_out, tmp_path, monkeypatch):
    path = tmp_path / "best.keras"
    best = callback_of(held_out, save_best=path, measure="top1_loc").best
    best.offer(trainable_model(), 0, {"val_top1_loc": 0.1})
    before = path.read_bytes(), (tmp_path / "best.json").read_bytes()
    monkeypatch.setattr(
        "keras_wsol.evaluation.best_model.write_text",
        broken := Mock(side_effect=OSError("no space")),
    )
    with pytest.raises(OSError, match="no space"):
        best.offer(trainable_model(), 1, {"val_top1_loc": 0.9})
    assert broken.call_args.args[1].name != "best.json"  # under another name
    assert (path.read_bytes(), (tmp_path / "best.json").read_bytes()) == before
    assert sorted(x.name for x in tmp_path.iterdir()) == ["best.json", "best.keras"]


def test_batches_may_be_given(held_out):
    batches = list(held_out.numpy_batches(5, image_size=SIZE))
    model = trainable_model()
    history = fit(model, callback_of(batches, allow_test=True), epochs=1).history
    assert {name: history[name][0] for name in LOGGED} == expected_logs(model, batches)


def on_disk(split, folder):
    """The split as files, one of which is no image."""
    from PIL import Image

    paths = []
    for index, image in enumerate(split.images):
        paths.append(str(folder / f"{index}.png"))
        Image.fromarray(image).save(paths[-1])
    (folder / "0.png").write_bytes(b"no image")
    return replace(split, images=None, paths=np.array(paths))


def test_an_image_that_cannot_be_read_does_not_end_the_training(held_out, tmp_path):
    files = on_disk(held_out, tmp_path)
    callback = callback_of(files, log_dir=tmp_path / "logs")
    model = trainable_model()
    history = fit(model, callback, epochs=1).history
    expected = expected_logs(model, held_out.take(np.arange(1, 13), "train-fullsup"))
    for name in LOGGED:
        assert history[name] == [pytest.approx(expected[name])]
    assert {tag.split("/")[1].split()[0] for tag in images_in(tmp_path / "logs")} == {
        *("4", "8", "12")
    }


def images_in(folder):
    """Images of an event file: tag to step to picture."""
    import tensorflow as tf

    found = {}
    (file,) = folder.glob("events.out.tfevents.*")
    for record in tf.data.TFRecordDataset([str(file)]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "images"
            width, height, png = tf.make_ndarray(value.tensor)
            picture = tf.io.decode_png(png).numpy()
            assert picture.shape == (int(height), int(width), 3)
            found.setdefault(value.tag, {})[event.step] = picture
    return found


def test_tensorboard_gets_score_maps_with_boxes(held_out, tmp_path):
    weights = Weights()
    callback = callback_of(held_out, log_dir=tmp_path / "logs", num_images=3)
    model = trainable_model()
    history = fit(model, callback, weights, epochs=2).history
    images = images_in(tmp_path / "logs")
    # Evenly spread over the split: the first, the last, and the one in between.
    names = [f"score_maps/{n} {NAMES[held_out.class_ids[n]]}" for n in (0, 6, 12)]
    assert list(images) == names
    for epoch in range(2):
        model.set_weights(weights.by_epoch[epoch])
        threshold = history["val_cam_threshold"][epoch]
        localizer = Localizer(model, cam_threshold=threshold)
        for name, index in zip(names, (0, 6, 12), strict=True):
            picture = images[name][epoch]
            assert picture.shape == (149, 240, 3)  # 31 x 50, enlarged to 240
            found = localizer(
                held_out.images[index][None].astype("float32"),
                held_out.class_ids[index : index + 1],
            )
            box = keras.ops.convert_to_numpy(found["boxes"])[0, 0] * 240 / 50
            green = (picture == [0, 255, 0]).all(axis=-1)
            rows, columns = np.nonzero(green)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Resized by another library on the way: within a cell of the score map.
            np.testing.assert_allclose(edges, box, atol=240 / 36 + 1)
            assert (picture == [255, 0, 0]).all(axis=-1).any()
    assert any((images[name][0] != images[name][1]).any() for name in names)


def test_without_tensorflow_images_are_refused(held_out, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "tensorflow" else find(name, *rest),
    )
    with pytest.raises(ImportError, match="`log_dir` needs TensorFlow"):
        callback_of(held_out, log_dir=tmp_path)


def test_images_of_batches_are_refused(held_out, tmp_path):
    batches = list(held_out.numpy_batches(5, image_size=SIZE))
    with pytest.raises(TypeError, match=r"`log_dir` needs an `ImageDataset`.*list"):
        callback_of(batches, log_dir=tmp_path, allow_test=True)


@pytest.mark.parametrize(
    "names",
    [
        {"split": "test"},
        {"split": "Test-half"},
        {"name": "test", "split": "all"},
        {"name": "birds/test_images", "split": "all"},
    ],
)
def test_a_test_split_is_refused(names, held_out):
    with pytest.raises(ValueError, match=r"must not see: .*'train-fullsup'.*Received"):
        callback_of(replace(held_out, **names))
    assert callback_of(replace(held_out, **names), allow_test=True)


def test_batches_without_a_name_are_refused(held_out):
    test = replace(held_out, split="test")
    for batches in (list(test.numpy_batches(5, image_size=SIZE)), iter(())):
        message = "do not say which split they are of.*`allow_test=True`.*Received: "
        with pytest.raises(ValueError, match=message + type(batches).__name__):
            callback_of(batches)
        assert callback_of(batches, allow_test=True)


def test_other_names_are_no_test_split(held_out):
    assert callback_of(replace(held_out, name="contest", split="latest"))


def test_a_split_without_boxes_is_refused(held_out):
    with pytest.raises(ValueError, match="'train-fullsup' of 'painted' has no boxes"):
        callback_of(replace(held_out, boxes=None))


def test_other_classes_are_refused_before_an_epoch_is_trained(held_out):
    seen = []
    spy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: seen.append(1))
    other = replace(held_out, class_names=NAMES[::-1])
    with pytest.raises(ValueError, match="must know the classes of 'painted'"):
        fit(trainable_model(), spy, callback_of(other))
    assert not seen


def test_a_real_error_is_not_hidden(held_out):
    empty = ImageDataset(
        name="painted",
        split="train-fullsup",
        class_names=NAMES,
        class_ids=np.zeros(0, "int32"),
        paths=np.array([], str),
        images=np.zeros((0, 31, 50, 3), "uint8"),
        boxes=np.zeros((0, 1, 4), "float32"),
    )
    with pytest.raises(ValueError, match="no image that could be read"):
        fit(trainable_model(), callback_of(empty), epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "`every` must be an integer of at least 1. Received: every=0"),
        ({"every": True}, "`every` must be"),
        ({"batch_size": 2.5}, "`batch_size` must be .* batch_size=2.5"),
        ({"num_images": 0}, "`num_images` must be .* num_images=0"),
        ({"view": "half"}, "view"),
        (
            {"save_best": "best.h5"},
            r"must end in .keras. Received: save_best='best.h5'",
        ),
        (
            {"save_best": "x.keras", "measure": "loss"},
            r"`measure` must be one of .*loss",
        ),
    ],
)
def test_bad_arguments(arguments, message, held_out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        callback_of(held_out, **arguments)
