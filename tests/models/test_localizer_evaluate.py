"""A localizer and its metrics, by Keras' `evaluate`."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_wsol.metrics import (
    GTKnownLoc,
    MeanBoxIoU,
    Top1Cls,
    Top1Loc,
    Top5Cls,
    Top5Loc,
)
from tests.models.measured_batches import CLASSES, batches, localizer
from tests.reference import max_box_acc_numpy

ON_TENSORFLOW = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.data, tf.distribute"
)


def metrics():
    return [Top1Cls(), Top5Cls(), Top1Loc(), Top5Loc(), GTKnownLoc(), MeanBoxIoU()]


def measured(model=None, **options):
    model = model or localizer()
    model.compile(metrics=metrics(), **options)
    return model


def counted(localizer, given):
    """The six numbers, image by image, from the localizer's own two answers."""
    seen = []
    for batch in given:
        logits = localizer(batch["images"])["logits"]
        order = np.argsort(-keras.ops.convert_to_numpy(logits), axis=1)
        of_true = localizer(batch["images"], class_ids=batch["class_ids"])
        boxes = keras.ops.convert_to_numpy(of_true["boxes"])
        for b, true_id in enumerate(batch["class_ids"]):
            iou = max_box_acc_numpy.best_iou(boxes[b], batch["boxes"][b])
            rank, right = list(order[b]).index(true_id), iou >= 0.5
            top1, top5 = rank == 0, rank < 5
            seen.append((top1, top5, top1 and right, top5 and right, right, iou))
    return np.mean(np.array(seen, float), axis=0)


def check(found, expected):
    names = [metric.name for metric in metrics()]
    assert sorted(found) == sorted(names)
    # All six differ: nothing can stand for anything else.
    assert len({round(value, 6) for value in expected}) == len(expected)
    np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-5)


class Sequence(keras.utils.PyDataset):
    def __init__(self, given):
        super().__init__()
        self.given = given

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        return self.given[index]


def test_of_any_source_with_a_short_last_batch():
    model = measured(run_eagerly=True)
    given = list(batches(model))
    whole = {name: np.concatenate([b[name] for b in given]) for name in given[0]}
    sources = (batch for batch in given), Sequence(given), whole
    expected = counted(model, given)
    for source in sources:  # and nothing is carried over
        found = model.evaluate(source, verbose=0, return_dict=True)
        check(found, expected)
    # Without `return_dict`: in the order of the metrics.
    in_order = model.evaluate(given, verbose=0)
    assert in_order == pytest.approx([found[metric.name] for metric in metrics()])
    model.cam_threshold = 0.9
    changed = model.evaluate(given, verbose=0)
    assert changed[-1] != in_order[-1]
    np.testing.assert_allclose(changed, counted(model, given), rtol=1e-5)


def test_by_gradients():
    model = measured(localizer("grad_cam_pp"), run_eagerly=True)
    given = list(batches(model))
    found = model.evaluate(given, verbose=0, return_dict=True)
    check(found, counted(model, given))


def test_compiled():
    model = measured()
    given = source = list(batches(model))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        whole = {name: np.concatenate([b[name] for b in given]) for name in given[0]}
        source = tf.data.Dataset.from_tensor_slices(whole).batch(5)
    found = model.evaluate(source, verbose=0, return_dict=True)
    check(found, counted(model, given))


def test_gt_known_loc_is_given_the_true_class():
    model = measured(run_eagerly=True)
    batch = next(batches(model, sizes=(7,)))
    logits = keras.ops.convert_to_numpy(model(batch["images"])["logits"])
    batch["class_ids"] = np.argsort(logits, axis=1)[:, 0]  # the worst of six
    batch["boxes"] = keras.ops.convert_to_numpy(model(batch)["boxes"])
    assert model.evaluate([batch], verbose=0) == pytest.approx([0, 0, 0, 0, 1, 1])


def test_classes_that_do_not_exist_and_logits_that_are_not_finite():
    model = measured(run_eagerly=True)
    batch = next(batches(model, sizes=(5,)))
    batch["class_ids"] = np.array([99, 6, 7, 8, -1], "int32")
    assert not any(model.evaluate([batch], verbose=0))
    batch["class_ids"] = np.array([0, 1, 2, 3, 4], "int32")
    model.model.layers[-1].bias.assign(np.full(CLASSES, np.nan))
    # No class; the map of the true one has no bias in it.
    assert not any(model.evaluate([batch], verbose=0)[:4])


def batches_of(model):
    rng = np.random.default_rng(3)
    yield {
        "images": rng.uniform(0, 255, (3, 18, 30, 3)).astype("float32"),
        "class_ids": np.array([0, 1, 2], "int32"),
        "boxes": np.zeros((3, 1, 4), "float32"),
    }


def test_bad_batches():
    model = measured()
    batch = next(batches_of(model))
    with pytest.raises(TypeError, match=r"must be a dictionary of .*type tuple"):
        model.evaluate([(batch["images"], batch["class_ids"])], verbose=0)
    del batch["boxes"]
    with pytest.raises(ValueError, match=r"Missing: \['boxes'\]"):
        model.evaluate([batch], verbose=0)


@ON_TENSORFLOW
def test_a_dataset_without_boxes():
    import tensorflow as tf

    pairs = tf.data.Dataset.from_tensor_slices((np.zeros((4, 3)), np.zeros(4))).batch(2)
    with pytest.raises(TypeError, match=r"must be a dictionary of .*type tuple"):
        measured().evaluate(pairs, verbose=0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["top1"], TypeError, "`metrics` must hold Keras metrics.*type str"),
        ([Top1Loc(), Top1Loc(0.3)], ValueError, "names of their own"),
        ([Top5Loc(top_k=7)], ValueError, "`top_k` of 'top5_loc' must be at mo"),
    ],
)
def test_bad_metrics(given, error, message):
    with pytest.raises(error, match=message):
        localizer().compile(metrics=given)


def test_without_compile_it_cannot_be_measured():
    model = localizer()
    with pytest.raises(ValueError, match="must call `compile"):
        model.evaluate(list(batches(model)), verbose=0)


def test_a_measured_localizer_is_saved_without_its_metrics(tmp_path):
    model = measured(run_eagerly=True)
    batch = next(batches(model))
    model.evaluate([batch], verbose=0)
    model.save(tmp_path / "localizer.keras")
    again = keras.saving.load_model(tmp_path / "localizer.keras")
    assert not again.compiled
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(it(batch)["boxes"]) for it in (model, again))
    )


ON_TWO_DEVICES = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
from tests.models.measured_batches import batches, localizer
from tests.models.test_localizer_evaluate import check, counted, measured

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    model = measured(localizer())
given = list(batches(model, sizes=(6, 6, 3), seed=3))
whole = {name: np.concatenate([b[name] for b in given]) for name in given[0]}
dataset = tf.data.Dataset.from_tensor_slices(whole).batch(6)
found = model.evaluate(dataset, verbose=0, return_dict=True)
check(found, counted(model, given))
"""


@pytest.mark.slow
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
