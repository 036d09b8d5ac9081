import keras
import numpy as np
import pytest

from keras_wsol.metrics import PxAP
from tests.boxes.hard_maps import noise_maps, smooth_maps
from tests.reference import wsolevaluation_numpy as published

CONVENTIONS = pytest.mark.parametrize("convention", ["default", "wsolevaluation"])


def random_batches(seed, height=13, width=21):
    """Batches of 5 and 2: two masks an image, an ignored region, score maps."""
    rng = np.random.default_rng(seed)
    for count in (5, 2):
        smooth = smooth_maps(rng, count - 1, height, width)
        maps = np.concatenate([smooth, noise_maps(rng, 1, height, width, levels=4)])
        noisy = maps[:, None] + rng.normal(0, 0.4, (count, 2, height, width))
        ignored = np.zeros((count, height, width), bool)
        ignored[:, 3:9, 5:15] = True
        yield noisy > 0.8, maps.astype(np.float64), ignored


def all_of(batches):
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("num_thresholds", [10, 1000])
def test_is_the_published_one(num_thresholds, seed):
    metric = PxAP(num_thresholds, convention="wsolevaluation")
    for masks, maps, ignored in random_batches(seed):
        metric.update_state(masks, maps, ignored)
    masks, maps, ignored = all_of(random_batches(seed))
    values = [published.mask_values(*pair) for pair in zip(masks, ignored, strict=True)]
    thresholds = np.arange(0, 1, 1 / num_thresholds)
    expected = published.pixel_average_precision(values, maps, thresholds)
    assert 10 < expected < 95
    assert 100 * metric.result() == expected


@CONVENTIONS
def test_by_eye(convention):
    metric = PxAP(num_thresholds=10, convention=convention)
    maps = np.array([[[1.0, 0.75, 0.75, 0.25, 0.0]]])
    masks = np.array([[[1, 1, 0, 1, 0]]])
    metric.update_state(masks, maps)
    # At 1: 1 of 1, a third of the object. From 0.7 on: 2 of 3, two thirds. From 0.2
    # on: 3 of 4, all.
    assert metric.result() == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    precision, recall = metric.curve()
    np.testing.assert_allclose(
        precision, [3 / 5, *[3 / 4] * 2, *[2 / 3] * 5, *[1.0] * 3]
    )
    np.testing.assert_allclose(recall, [1, 1, 1, *[2 / 3] * 5, *[1 / 3] * 3])


@CONVENTIONS
def test_a_perfect_map_and_a_constant_one(convention):
    masks, maps, ignored = all_of(random_batches(2))
    union = masks.any(axis=1)
    metric = PxAP(convention=convention)
    metric.update_state(masks, union.astype(float))
    assert metric.result() == 1
    for value in (0.0, 0.5, 1.0):
        metric.reset_state()
        metric.update_state(masks, np.full_like(maps, value), ignored)
        counted = union | ~ignored
        assert metric.result() == pytest.approx(union.sum() / counted.sum())


def test_ignored_pixels_of_an_object_count():
    maps = np.array([[[0.9, 0.8, 0.7, 0.1]]])
    masks = np.array([[[[1, 0, 0, 0]], [[0, 0, 0, 1]]]])
    metric = PxAP(num_thresholds=10)
    # The second and third pixel are not of an object; the last one is.
    metric.update_state(masks, maps, np.array([[[1, 1, 0, 1]]]))
    assert metric.result() == pytest.approx((1 + 2 / 3) / 2)


def test_a_score_at_a_threshold_reaches_it_in_float32():
    # 0.7 in float32 is less than in float64.
    maps = np.array([[[0.7, 0.65]]], "float32")
    masks = np.array([[[True, False]]])
    for convention, expected in (("default", 1.0), ("wsolevaluation", 0.5)):
        metric = PxAP(convention=convention, thresholds=[0.0, 0.7])
        metric.update_state(masks, maps)
        assert metric.result() == expected


@CONVENTIONS
def test_shards_merge_to_the_whole(convention):
    whole, first, second = (PxAP(convention=convention) for _ in range(3))
    for metric, batch in zip((first, second), random_batches(3), strict=True):
        metric.update_state(*batch)
        whole.update_state(*batch)
    second.name = "second"
    alone = first.result()
    first.merge_state([second])
    assert first.result() == whole.result() != alone
    with pytest.raises(ValueError, match="These differ: num_thresholds"):
        first.merge_state([PxAP(10, convention=convention)])


def test_counts_beyond_32_bits():
    metric = PxAP(num_thresholds=10)
    metric.update_state(np.array([[[1, 0]]]), np.array([[[0.3, 0.3]]]))
    for _ in range(34):  # doubling what it holds
        twin = PxAP(num_thresholds=10)
        twin.merge_state([metric])
        metric.merge_state([twin])
    metric.update_state(np.array([[[1]]]), np.array([[[0.9]]]))
    half = 2.0**34
    assert metric.result() == pytest.approx(
        1 / (half + 1) + (half + 1) / (2 * half + 1) * half / (half + 1), rel=1e-15
    )


def test_without_an_object_it_is_0():
    metric = PxAP(num_thresholds=5)
    assert metric.result() == 0
    metric.update_state(np.zeros((2, 3, 4)), np.full((2, 3, 4), 0.5))
    assert metric.result() == 0


def test_pixels_below_the_first_threshold_are_never_found():
    metric = PxAP(thresholds=[0.5])
    metric.update_state(np.array([[[1, 1, 0]]]), np.array([[[0.6, 0.4, 0.1]]]))
    assert metric.result() == 0.5


def test_config_round_trip():
    for metric in (
        PxAP(33, convention="wsolevaluation", name="mine"),
        PxAP(thresholds=[0.25, 0.5]),
    ):
        revived = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert revived.get_config() == metric.get_config()
        np.testing.assert_array_equal(revived.thresholds, metric.thresholds)


MAPS, MASKS = np.full((2, 3, 4), 0.5), np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MASKS[0], MAPS), r"\(B, H, W\). Received: \(2, 3, 4\), \(3, 4\) and"),
        ((MASKS[:, :2], MAPS), r"Received: \(2, 3, 4\), \(2, 2, 4\) and"),
        ((MASKS, MAPS[:1]), r"Received: \(1, 3, 4\), \(2, 3, 4\) and"),
        ((MASKS, MAPS, MASKS[:, :2]), r"and \(2, 2, 4\)."),
        ((MASKS, MAPS + np.nan), r"must be in \[0, 1\] and hold no NaN"),
        ((MASKS, MAPS - 1), r"must be in \[0, 1\] and hold no NaN"),
        ((keras.Input((3, 4)), keras.Input((3, 4))), "takes concrete arrays"),
    ],
)
def test_bad_batches(arguments, message):
    with pytest.raises(ValueError, match=message):
        PxAP().update_state(*arguments)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`convention` must be one of"):
        PxAP(convention="coco")
    with pytest.raises(ValueError, match="`thresholds` must be one number or more"):
        PxAP(thresholds=[0.5, 0.4])
