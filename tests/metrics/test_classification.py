import keras
import numpy as np
import pytest

from keras_wsol.metrics import Top1Cls, Top5Cls

# Class ids best first; the last image is of a class that no model has.
FOUND = {
    "class_ids": np.array(
        [
            [3, 1, 0, 2, 4, 5],
            [3, 1, 0, 2, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5],
            [9, 1, 2, 3, 4, 5],
        ]
    )
}
TRUTH = {"class_ids": np.array([3, 1, 4, 5, 0, 99])}


@pytest.mark.parametrize(
    ("metric", "right"),
    [(Top1Cls(), 2), (Top5Cls(top_k=2), 3), (Top5Cls(), 4), (Top5Cls(top_k=6), 5)],
)
def test_counted_by_eye(metric, right):
    metric.update_state(TRUTH, FOUND)
    assert float(metric.result()) == pytest.approx(right / 6)


def test_ranks_are_those_of_the_logits_where_they_are_given():
    # The true class is in no box: the localizer was given the true classes.
    logits = np.array(
        [
            [1.0, 3.0, 2.0, 0.0],  # second
            [2.0, 2.0, 2.0, 0.0],  # of equals the lower id is first: third
            [0.0, np.nan, 9.0, 0.0],  # not finite: no class
            [5.0, 0.0, 0.0, 0.0],  # not a class of the model
            [5.0, 0.0, 0.0, 0.0],
        ]
    )
    batch = {"class_ids": np.array([2, 2, 2, 4, 0])}
    out = {"class_ids": batch["class_ids"][:, None], "logits": logits}
    for metric, right in (
        (Top1Cls(), 1),
        (Top5Cls(top_k=2), 2),
        (Top5Cls(top_k=3), 3),
        (Top5Cls(), 3),
    ):
        metric.update_state(batch, out)
        assert float(metric.result()) == pytest.approx(right / 5)


def test_a_negative_class_is_wrong_even_where_it_is_found():
    for metric in (Top1Cls(), Top5Cls(top_k=1)):
        found = {"class_ids": np.array([[-1], [0]])}
        metric.update_state({"class_ids": np.array([-1, 0])}, found)
        assert float(metric.result()) == 0.5


@pytest.mark.parametrize("metric_class", [Top1Cls, Top5Cls])
def test_short_batches_shards_and_weights(metric_class):
    first, second, weighted = (metric_class(name=name) for name in "abc")
    for metric, part in ((first, slice(0, 4)), (second, slice(4, 6))):
        metric.update_state(
            *({"class_ids": d["class_ids"][part]} for d in (TRUTH, FOUND))
        )
    first.merge_state([second])
    right = 2 if metric_class is Top1Cls else 4
    assert float(first.result()) == pytest.approx(right / 6)
    weights = np.array([4.0, 0, 0, 1, 0, 3])
    weighted.update_state(TRUTH, FOUND, sample_weight=weights)
    assert float(weighted.result()) == pytest.approx(4 / 8)


def test_config_and_arguments():
    metric = Top5Cls(top_k=3, name="mine")
    revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (revived.top_k, revived.name) == (3, "mine")
    with pytest.raises(ValueError, match="`top_k` must be an integer >= 1"):
        Top5Cls(top_k=0)
    with pytest.raises(ValueError, match=r"or 7 classes.*Received: 6"):
        Top5Cls(top_k=7).update_state(TRUTH, FOUND)
    with pytest.raises(ValueError, match="These differ: top_k"):
        Top5Cls().merge_state([Top5Cls(top_k=3)])
