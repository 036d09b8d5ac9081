"""What study.py reads from a trained model: the score maps, and at which size."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SECOND_LOOK = "-second-look"
GUIDED = "-guided"


@dataclass(frozen=True, kw_only=True)
class Read:
    """What is read from a trained model.

    Attributes:
        name: Name in the CSV.
        score_map: `"cam"`, `"channel_mean"`, `"own"` (the map of the method), or what
            is fitted to the training images first: `"ddt"`, `"foreground"`, `"c2am"`,
            `"true_boxes"` (a foreground of true boxes).
        layer: Layer whose features are read; `None` for those of the head.
        options: Attributes of the score map that are not its defaults.
        image_size: Height and width that it is read at; `None` for that of the run.
        guided_filter: Arguments of `cam.Guided`; `None` for none.
        second_look: The `crop_threshold` of `models.SecondLook`, under the name that
            it had; `None` for one look.
    """

    name: str
    score_map: str = "cam"
    layer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    guided_filter: Mapping[str, float] | None = None
    second_look: Mapping[str, float] | None = None

    def at(self, image_size: int) -> "Read":
        """Returns the same, read at another size."""
        return replace(self, name=f"{self.name}-{image_size}", image_size=image_size)

    def unclipped(self) -> "Read":
        """Returns the same, with its values below 0."""
        options = {**self.options, "relu": False}
        return replace(self, name=f"{self.name}-unclipped", options=options)

    def guided(self) -> "Read":
        """Returns the same, mixed with its guided filter."""
        options = {"strength": 0.5, "radius": 0.125, "epsilon": 1e-3, "step": 4}
        return replace(self, name=f"{self.name}{GUIDED}", guided_filter=options)

    def twice(self, cam_threshold: float) -> "Read":
        """Returns the same, with a second look at the box that is cut there."""
        look = {"cam_threshold": cam_threshold}
        return replace(self, name=f"{self.name}{SECOND_LOOK}", second_look=look)


CAM = Read(name="cam")
OWN = Read(name="own", score_map="own")
POSITIVE = Read(name="cam-positive", options={"negative_weights": False})


def without_class(layer: str) -> tuple[Read, ...]:
    """Maps that need no class.

    The mean of the channels (SCDA), their first principal component over the training
    images (DDT), and what parts object and background.
    """
    return (
        Read(name=f"scda-{layer}", score_map="channel_mean", layer=layer),
        Read(name=f"ddt-{layer}", score_map="ddt", layer=layer),
        Read(name=f"foreground-{layer}", score_map="foreground", layer=layer),
    )


# The last layer but one, and the last.
EARLIER, LAST = (without_class(f"conv_pw_{number}_relu") for number in (12, 13))

# In front of MobileNetV2's last stride.
BEFORE_STRIDE = without_class("block_13_expand_relu")[2]

# What a linear map of these features could have at most.
BOUND = replace(EARLIER[2], name="true-boxes-conv_pw_12_relu", score_map="true_boxes")

C2AM_READS = (
    Read(name="c2am-conv_pw_12_relu", score_map="c2am", layer="conv_pw_12_relu"),
)

# At 256 px birds are as large as in the training crops.
LARGER = (CAM.at(256), EARLIER[2].at(256), EARLIER[2].at(256).twice(0.3))
UNCLIPPED = EARLIER[2].unclipped().at(256)
# The second look is cut where the threshold of these maps was tuned.
GUIDED_READS = (
    EARLIER[2].at(256).guided(),
    UNCLIPPED,
    UNCLIPPED.guided(),
    UNCLIPPED.guided().twice(0.57),
)
