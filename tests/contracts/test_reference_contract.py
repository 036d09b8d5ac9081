"""With draws forced, every backend gives the numbers of the slow NumPy references."""

import numpy as np
import pytest
from keras import ops

from tests.contracts.cases import CASES
from tests.contracts.draws import ForcedDraws, drawing
from tests.contracts.references import REFERENCES
from tests.contracts.weights import give_weights

every_set_of_arguments = pytest.mark.parametrize(
    ("case", "arguments"),
    [
        pytest.param(case, arguments, id=f"{case.name}-{number}")
        for case in CASES
        for number, arguments in enumerate(
            [*case.settings, *case.held, *([case.random] if case.random else [])]
        )
    ],
)


def features():
    """Three samples (6, 5, 4): after a ReLU, signed, and dead."""
    signed = np.random.default_rng(14).normal(0.5, 1.0, (3, 6, 5, 4))
    signed[0] = np.maximum(signed[0], 0.0)
    signed[2] = 0.0
    return signed.astype("float32")


def test_every_case_has_a_reference():
    assert set(REFERENCES) == {case.name for case in CASES}


@every_set_of_arguments
def test_output_equals_the_reference(case, arguments):
    layer = give_weights(case.layer(**arguments), channels=4)
    with drawing(ForcedDraws()) as uniform:
        outputs = ops.convert_to_numpy(layer(features(), training=True))
    arguments = {name: value for name, value in arguments.items() if name != "seed"}
    expected = REFERENCES[case.name](
        features(), layer.get_weights(), uniform.made, **arguments
    )
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
