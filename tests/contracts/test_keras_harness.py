"""Every public layer under the harness that Keras tests its own layers with."""

import pytest
from keras.src import testing

from tests.contracts.cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_harness_of_keras_finds_nothing(case):
    draws = 0 if case.random is None else {"DGDM": 2}.get(case.name, 1)
    weights = {} if not case.weightless else {"expected_num_trainable_weights": 0}
    testing.TestCase().run_layer_test(
        case.layer,
        init_kwargs=dict(case.usual),
        input_shape=(2, 6, 5, 8),
        expected_output_shape=(2, 6, 5, 8),
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=draws,
        expected_num_losses=0,
        **weights,
    )
