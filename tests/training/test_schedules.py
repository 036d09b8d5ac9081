import math

import keras
import pytest

from keras_wsol.training import learning_rate


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_cosine_goes_from_base_to_zero_over_all_epochs():
    # 4 epochs of 10 steps: half of base * (1 + cos(pi * step / 40)).
    rate = learning_rate("cosine", 0.2, epochs=4, steps_per_epoch=10)
    quarter = 0.1 * (1 + math.sqrt(0.5))
    expected = [0.2, quarter, 0.1, 0.2 - quarter, 0.0, 0.0]
    assert rates(rate, [0, 10, 20, 30, 40, 50]) == pytest.approx(expected, abs=1e-7)


def test_step_is_a_tenth_within_and_after_each_epoch_of_the_list():
    rate = learning_rate(
        "step", 0.5, epochs=9, steps_per_epoch=10, drop_epochs=(2, 3, 7)
    )
    expected = [0.5, 0.5, 0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    found = rates(rate, [0, 19, 21, 29, 31, 69, 71, 1000])
    assert found == pytest.approx(expected, rel=1e-6)


def test_step_is_a_tenth_from_the_first_step_of_an_epoch():
    # Step 20 is the first of epoch 2, counted from 0.
    rate = learning_rate("step", 0.5, epochs=9, steps_per_epoch=10, drop_epochs=(2, 3))
    assert rates(rate, [20, 30]) == pytest.approx([0.05, 0.005], rel=1e-6)


def test_step_drops_within_an_epoch():
    options = {"epochs": 2, "steps_per_epoch": 10, "drop_epochs": (0.5, 1.3)}
    rate = learning_rate("step", 0.5, **options)
    expected = [0.5, 0.05, 0.05, 0.005]
    assert rates(rate, [4, 5, 12, 13]) == pytest.approx(expected, rel=1e-6)


def test_step_drops_where_adls_code_does_by_default():
    rate = learning_rate("step", 0.1, epochs=105, steps_per_epoch=2)
    expected = [0.1, 0.01, 0.01, 0.001, 0.001, 0.0001]
    found = rates(rate, [59, 61, 119, 121, 179, 181])
    assert found == pytest.approx(expected, rel=1e-6)


def test_constant_is_the_number():
    assert learning_rate("constant", 0.3, epochs=2, steps_per_epoch=5) == 0.3


def test_unknown_schedule():
    message = r"`schedule` must be one of \['cosine', 'step', 'constant'\]. .*'linear'"
    with pytest.raises(ValueError, match=message):
        learning_rate("linear", 0.1, epochs=2, steps_per_epoch=5)


def test_adls_schedule_in_steps_of_its_code():
    # After 30, 60, 90 and 100 of 105 epochs, each of 1000 steps on CUB.
    rate = learning_rate(
        "step", 0.1, epochs=105, steps_per_epoch=1000, drop_epochs=(30, 60, 90, 100)
    )
    steps = [0, 29999, 30000, 59999, 60000, 89999, 90000, 99999, 100000, 104999]
    expected = [1e-1, 1e-1, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    assert rates(rate, steps) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("drops", [(60, 30), (30, 30), (30, 60, 45)], ids=str)
def test_drops_that_do_not_rise_are_refused(drops):
    message = r"`drop_epochs` must rise. Received: drop_epochs=\("
    with pytest.raises(ValueError, match=message):
        learning_rate("step", 0.1, epochs=9, steps_per_epoch=5, drop_epochs=drops)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"epochs": True}, TypeError),
        ({"steps_per_epoch": True}, TypeError),
        ({"drop_epochs": (True, 2)}, TypeError),
        ({"drop_epochs": ("2", 3)}, TypeError),
        ({"base": True}, TypeError),
        ({"epochs": 0}, ValueError),
        ({"steps_per_epoch": 0}, ValueError),
        ({"drop_epochs": (0, 2)}, ValueError),
        ({"base": -0.1}, ValueError),
    ],
    ids=str,
)
def test_numbers_of_the_schedule(wrong, error):
    arguments = {"base": 0.1, "epochs": 9, "steps_per_epoch": 5, **wrong}
    (name,) = wrong
    with pytest.raises(error, match=rf"`{name}` must be "):
        learning_rate("step", **arguments)
