import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.metrics import (
    GTKnownLoc,
    MeanBoxIoU,
    MeasuredLocalizer,
    Top1Cls,
    Top1Loc,
    Top5Cls,
    Top5Loc,
)
from tests.metrics.measured_batches import CLASSES, batches, localizer
from tests.reference import max_box_acc_numpy

ON_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data, tf.distribute"
)


def metrics():
    return [Top1Cls(), Top5Cls(), Top1Loc(), Top5Loc(), GTKnownLoc(), MeanBoxIoU()]


def counted(localizer, given):
    """The six numbers, image by image, from the localizer's own two answers."""
    seen = []
    for batch in given:
        best = localizer.find_maps(batch["images"])["logits"]
        order = np.argsort(-keras.ops.convert_to_numpy(best), axis=1)
        of_true = localizer(batch["images"], np.maximum(batch["class_ids"], 0))
        boxes = keras.ops.convert_to_numpy(of_true["boxes"])
        for b, true_id in enumerate(batch["class_ids"]):
            if true_id >= 0:
                iou = max_box_acc_numpy.best_iou(boxes[b], batch["boxes"][b])
                rank, right = list(order[b]).index(true_id), iou >= 0.5
                top1, top5 = rank == 0, rank < 5
                seen.append((top1, top5, top1 and right, top5 and right, right, iou))
    return np.mean(np.array(seen, float), axis=0)


def check(model, found, given):
    names = [metric.name for metric in metrics()]
    assert sorted(found) == sorted(names)
    expected = counted(model, given)
    # All six differ: nothing can stand for anything else.
    assert len({round(value, 6) for value in expected}) == len(expected)
    np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-5)


def test_a_threshold_that_is_set_after_an_evaluation_is_used():
    model = localizer("cam")
    given = list(batches(model))
    measured = MeasuredLocalizer(model, metrics())
    before = measured.evaluate(given, verbose=0, return_dict=True)
    model.cam_threshold = 0.9
    found = measured.evaluate(given, verbose=0, return_dict=True)
    assert found["mean_box_iou"] != before["mean_box_iou"]
    np.testing.assert_allclose(
        [found[metric.name] for metric in metrics()], counted(model, given), rtol=1e-5
    )


@pytest.mark.parametrize("score_map", ["cam", "grad_cam_pp"])
def test_of_a_list_of_batches_with_a_short_last_one(score_map):
    model = localizer(score_map)
    given = list(batches(model))
    measured = MeasuredLocalizer(model, metrics())
    found = measured.evaluate(given, verbose=0, return_dict=True)
    check(model, found, given)


class Sequence(keras.utils.PyDataset):
    def __init__(self, given):
        super().__init__()
        self.given = given

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        return self.given[index]


@pytest.mark.parametrize("kind", ["generator", "pydataset", "arrays"])
def test_of_other_sources(kind):
    model = localizer()
    given = list(batches(model))
    whole = {name: np.concatenate([b[name] for b in given]) for name in given[0]}
    source, options = {
        "generator": ((batch for batch in given), {}),
        "pydataset": (Sequence(given), {}),
        "arrays": (whole, {"batch_size": 5}),
    }[kind]
    measured = MeasuredLocalizer(model, metrics())
    measured.compile()  # once more does no harm
    for _ in range(1 if kind == "generator" else 2):  # and nothing is carried over
        found = measured.evaluate(source, verbose=0, return_dict=True, **options)
        check(model, found, given)


@ON_TENSORFLOW
def test_of_a_dataset_of_this_library():
    from keras_wsol import data

    model = localizer()
    test = data.synthetic("test", num_images=18, num_classes=CLASSES, image_size=64)
    given = test.batches(4, with_boxes=True, image_size=(24, 30))
    arrays = [{k: np.asarray(v) for k, v in batch.items()} for batch in given]
    # Without `return_dict`: in the order of the metrics.
    found = MeasuredLocalizer(model, metrics()).evaluate(given, verbose=0)
    np.testing.assert_allclose(found, counted(model, arrays), rtol=1e-5)


def test_gt_known_loc_is_given_the_true_class():
    model = localizer()
    batch = next(batches(model, sizes=(7,)))
    batch["class_ids"] = np.argsort(
        keras.ops.convert_to_numpy(model.features(batch["images"])[1]), axis=1
    )[:, 0].astype("int32")  # the worst of six
    boxes = keras.ops.convert_to_numpy(
        model(batch["images"], batch["class_ids"])["boxes"]
    )
    batch["boxes"] = boxes
    measured = MeasuredLocalizer(model, metrics())
    assert measured.evaluate([batch], verbose=0) == pytest.approx([0, 0, 0, 0, 1, 1])


def test_the_output():
    model = localizer()
    batch = next(batches(model, sizes=(5,)))
    del batch["paths"]  # JAX and PyTorch have no strings
    batch["class_ids"][1] = CLASSES + 3
    measured = MeasuredLocalizer(model, [Top1Loc(), Top5Loc(top_k=2)])
    out = {k: keras.ops.convert_to_numpy(v) for k, v in measured(batch).items()}
    logits = keras.ops.convert_to_numpy(model.features(batch["images"])[1])
    best = np.argsort(-logits, axis=1)[:, :2]
    np.testing.assert_array_equal(out["class_ids"][:, :2], best)
    np.testing.assert_array_equal(out["class_ids"][:, 2], batch["class_ids"])
    of_true = model(batch["images"], batch["class_ids"])
    expected = keras.ops.convert_to_numpy(of_true["boxes"])
    np.testing.assert_allclose(out["boxes"][:, 2:], expected)
    assert not out["boxes"][1].any()


def test_classes_that_do_not_exist_and_logits_that_are_not_finite():
    model = localizer()
    batch = next(batches(model, sizes=(5,)))
    batch["class_ids"] = np.array([99, 6, -1, -1, -1], "int32")
    measured = MeasuredLocalizer(model, metrics())
    assert not any(measured.evaluate([batch], verbose=0))
    batch["class_ids"] = np.array([0, 1, 2, 3, 4], "int32")
    model.model.layers[-1].bias.assign(np.full(CLASSES, np.nan))
    # No class; the map of the true one has no bias in it.
    assert not any(measured.evaluate([batch], verbose=0)[:4])


def test_the_network_runs_once_a_batch(monkeypatch):
    model = localizer()
    calls = []
    network = type(model.head.network)
    original = network.__call__

    def counting(self, *args, **kwargs):
        if self is model.head.network:
            calls.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(network, "__call__", counting)
    MeasuredLocalizer(model, metrics())(next(batches_of(model)))
    assert len(calls) == 1


def batches_of(model):
    rng = np.random.default_rng(3)
    yield {
        "images": rng.uniform(0, 255, (3, 18, 30, 3)).astype("float32"),
        "class_ids": np.array([0, 1, 2], "int32"),
        "boxes": np.zeros((3, 1, 4), "float32"),
    }


def test_bad_batches():
    model = localizer()
    measured = MeasuredLocalizer(model, metrics())
    batch = next(batches_of(model))
    with pytest.raises(TypeError, match=r"must be a dictionary of .*type tuple"):
        measured.evaluate([(batch["images"], batch["class_ids"])], verbose=0)
    del batch["boxes"]
    with pytest.raises(ValueError, match=r"Missing: \['boxes'\]"):
        measured.evaluate([batch], verbose=0)


@ON_TENSORFLOW
def test_a_dataset_without_boxes():
    import tensorflow as tf

    pairs = tf.data.Dataset.from_tensor_slices((np.zeros((4, 3)), np.zeros(4))).batch(2)
    with pytest.raises(TypeError, match=r"must be a dictionary of .*type tuple"):
        MeasuredLocalizer(localizer(), metrics()).evaluate(pairs, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((keras.Sequential(), [Top1Loc()]), TypeError, "`localizer` must be a `Loc"),
        ((None, []), ValueError, "`metrics` must hold at least one"),
        ((None, ["top1"]), TypeError, "`metrics` must hold Keras metrics.*type str"),
        ((None, [Top1Loc(), Top1Loc(0.3)]), ValueError, "names of their own"),
        ((None, [Top5Loc(top_k=7)]), ValueError, "`top_k` of 'top5_loc' must be at mo"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        MeasuredLocalizer(arguments[0] or localizer(), arguments[1])


ON_TWO_DEVICES = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from keras_wsol.metrics import MeasuredLocalizer
from tests.metrics.measured_batches import batches, localizer
from tests.metrics.test_measured_localizer import check, metrics

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = localizer()
    measured = MeasuredLocalizer(model, metrics())
given = list(batches(model, sizes=(6, 6, 3)))
whole = {name: np.concatenate([b[name] for b in given]) for name in given[0]}
dataset = tf.data.Dataset.from_tensor_slices(whole).batch(6)
found = measured.evaluate(dataset, verbose=0, return_dict=True)
check(model, found, given)
"""


@ON_TENSORFLOW
def test_on_two_replicas():
    # In a process of its own: devices are set up before TensorFlow starts.
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
