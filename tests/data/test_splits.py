import numpy as np

from keras_wsol.data.dataset import images_a_class, share_a_class

# Four images of class 2, one of class 5, three of class 0.
CLASS_IDS = np.array([2, 0, 2, 5, 0, 2, 0, 2])


def counts(drawn):
    return [int(drawn[class_id == CLASS_IDS].sum()) for class_id in (0, 2, 5)]


def test_same_number_of_each_class_but_never_all_of_one():
    everything = np.ones(8, bool)
    assert counts(images_a_class(CLASS_IDS, everything, 2, seed=0)) == [2, 2, 0]
    assert counts(images_a_class(CLASS_IDS, everything, 9, seed=0)) == [2, 3, 0]


def test_only_allowed_images_are_drawn():
    allowed = np.array([True, True, False, True, True, True, True, True])
    for seed in range(20):
        drawn = images_a_class(CLASS_IDS, allowed, 2, seed)
        assert not drawn[2]
        assert counts(drawn) == [2, 2, 0]
    # Class 2 has no allowed image left.
    assert counts(images_a_class(CLASS_IDS, CLASS_IDS != 2, 2, 0)) == [2, 0, 0]


def test_share_is_rounded_and_never_all():
    # 3, 4 and 1 images: 0.9 -> 2.7, 3.6, 0.9; at least one of each class stays.
    assert counts(share_a_class(CLASS_IDS, 0.9, seed=0)) == [2, 3, 0]
    # 0.3 -> 0.9, 1.2, 0.3.
    assert counts(share_a_class(CLASS_IDS, 0.3, seed=0)) == [1, 1, 0]
    assert counts(share_a_class(CLASS_IDS, 0.0, seed=0)) == [0, 0, 0]


def test_the_seed_decides_and_every_image_gets_its_turn():
    draws = [share_a_class(CLASS_IDS, 0.5, seed) for seed in range(60)]
    np.testing.assert_array_equal(draws[7], share_a_class(CLASS_IDS, 0.5, 7))
    # 2 of 3 (1.5, rounded to even), 2 of 4; class 5 keeps its one image.
    chance = np.where(CLASS_IDS == 0, 2 / 3, np.where(CLASS_IDS == 2, 1 / 2, 0))
    np.testing.assert_allclose(np.mean(draws, axis=0), chance, atol=0.25)
