import numpy as np
import pytest

from keras_wsol.evaluation.seen_images import SeenImages


def batch(count, seed):
    pixels = np.random.default_rng(seed).uniform(0, 255, (count, 4, 3, 3))
    return {"images": pixels.astype("float32"), "class_ids": np.zeros(count, int)}


def test_a_hundredth_of_the_images_may_be_there_twice():
    seen = SeenImages()
    held_out = batch(250, 0)
    seen.add(held_out)
    test = batch(30, 1)
    test["images"][[4, 20]] = held_out["images"][[7, 249]]
    seen.check(test, 0)
    assert seen.repeated == 2
    again = batch(5, 2)
    again["images"][3] = held_out["images"][100]
    with pytest.raises(ValueError, match=r"pixels of image 33 of `test`"):
        seen.check(again, 30)


def test_of_few_images_none_may():
    seen = SeenImages()
    held_out = batch(99, 0)
    seen.add(held_out)
    with pytest.raises(ValueError, match="image 0 of `test`"):
        seen.check({key: value[5:6] for key, value in held_out.items()}, 0)


def test_images_that_could_not_be_read_are_not_compared():
    seen = SeenImages()
    black = {"images": np.zeros((2, 4, 3, 3)), "class_ids": np.array([-1, -1])}
    seen.add(black)
    seen.check(black, 0)
    assert seen.repeated == 0
