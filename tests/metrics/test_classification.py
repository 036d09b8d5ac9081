import keras
import numpy as np
import pytest

from keras_wsol.metrics import Top1Cls, Top5Cls

# Class ids best first; the last image could not be read, the one before it is of a
# class that no model has.
FOUND = {
    "class_ids": np.array(
        [
            [3, 1, 0, 2, 4, 5],
            [3, 1, 0, 2, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [9, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5],
        ]
    )
}
TRUTH = {"class_ids": np.array([3, 1, 4, 5, 0, 99, -1])}


@pytest.mark.parametrize(
    ("metric", "right"),
    [(Top1Cls(), 2), (Top5Cls(top_k=2), 3), (Top5Cls(), 4), (Top5Cls(top_k=6), 5)],
)
def test_counted_by_eye(metric, right):
    metric.update_state(TRUTH, FOUND)
    assert float(metric.result()) == pytest.approx(right / 6)


def test_of_unreadable_images_alone_is_0():
    # Even where a prediction says -1, too.
    for metric in (Top1Cls(), Top5Cls(top_k=1)):
        metric.update_state(
            {"class_ids": np.array([-1, -1])}, {"class_ids": np.array([[-1], [0]])}
        )
        assert float(metric.result()) == 0


@pytest.mark.parametrize("metric_class", [Top1Cls, Top5Cls])
def test_short_batches_shards_and_weights(metric_class):
    first, second, weighted = (metric_class(name=name) for name in "abc")
    for metric, part in ((first, slice(0, 5)), (second, slice(5, 7))):
        metric.update_state(
            *({"class_ids": d["class_ids"][part]} for d in (TRUTH, FOUND))
        )
    first.merge_state([second])
    right = 2 if metric_class is Top1Cls else 4
    assert float(first.result()) == pytest.approx(right / 6)
    weights = np.array([4.0, 0, 0, 1, 0, 3, 100])
    weighted.update_state(TRUTH, FOUND, sample_weight=weights)
    assert float(weighted.result()) == pytest.approx(4 / 8)


def test_config_and_arguments():
    metric = Top5Cls(top_k=3, name="mine")
    revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (revived.top_k, revived.name) == (3, "mine")
    with pytest.raises(ValueError, match="`top_k` must be an integer of at least 1"):
        Top5Cls(top_k=0)
    with pytest.raises(ValueError, match=r"must hold 7 classes.*Received: 6"):
        Top5Cls(top_k=7).update_state(TRUTH, FOUND)
    with pytest.raises(ValueError, match="These differ: top_k"):
        Top5Cls().merge_state([Top5Cls(top_k=3)])
