"""Which score maps can be written for the runtimes beside TensorFlow."""

import keras
import pytest

from keras_wsol.export.static_graph import check_static
from keras_wsol.models import Localizer
from keras_wsol.models.score_map_table import SCORE_MAPS
from tests.extras.painted_maps import MAPS_BESIDE_CAM
from tests.models.painted import painted_classifier

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow writes them"
)
BY_ONE_PASS = {arguments["score_map"]: arguments for arguments in MAPS_BESIDE_CAM}


@pytest.mark.parametrize("runtime", ["LiteRT", "ONNX"])
@pytest.mark.parametrize("score_map", SCORE_MAPS)
def test_maps_of_one_forward_pass_are_taken_and_others_refused(score_map, runtime):
    arguments = BY_ONE_PASS.get(score_map, {"score_map": score_map})
    localizer = Localizer(painted_classifier(), **arguments)
    if score_map in ("cam", "channel_mean", "ddt", "foreground"):
        check_static(localizer, runtime)
        return
    message = rf"{runtime} takes a `score_map` .*'foreground'\].*'{score_map}'\. Export"
    with pytest.raises(ValueError, match=message):
        check_static(localizer, runtime)
