"""Features to maps weighed by what the network says of the masked image."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_wsol.arguments import check_integer, check_number
from keras_wsol.cam.class_activation import score_maps
from keras_wsol.cam.score_map import Evidence, ScoreMap, named

# ImageNet's mean colour, which the preprocessing of most backbones maps to 0.
MEAN_COLOUR = (123.675, 116.28, 103.53)


@named("score_cam")
@dataclass(frozen=True, eq=False)
class ScoreCAM(ScoreMap):
    """Score-CAM: weighs each channel by the logit of the image seen through it.

    Channel `A_k`, resized to the image and scaled to [0, 1], masks the image;
    `w = softmax_k(logit_c(masked by A_k))`, `map = ReLU(sum_k w_k A_k)`. The paper's
    score is the logit less that of the baseline, which the softmax removes. `C` masked
    images go through the network for each image: 2,048 for a ResNet50.

    Args:
        layer: As in `GradCAM`.
        relu: As in `GradCAM`. Default True [paper].
        batch_size: Integer. How many masked images go through at once. Default 32.
        baseline: Number, or three of them, in [0, 255]. Colour behind the mask.
            Default: ImageNet's mean colour.

    Reference:
        - [Wang et al., 2020](https://arxiv.org/abs/1910.01279)
    """

    layer: str | None = None
    relu: bool = True
    batch_size: int = 32
    baseline: Any = MEAN_COLOUR
    forward_only = False
    default_threshold = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("batch_size", self.batch_size)
        colour = self.baseline
        values = colour if isinstance(colour, tuple | list) else [colour]
        if len(values) not in (1, 3):
            raise ValueError(
                "`baseline` must be one number or three. Received: "
                f"baseline={colour!r}."
            )
        for each in values:
            check_number("baseline", each, low=0.0, high=255.0)

    def maps(self, evidence: Evidence) -> Any:
        channels = ops.cast(evidence.features, "float32")
        channels = ops.transpose(channels, (0, 3, 1, 2))
        if channels.shape[0] == 0:  # JAX traces the loop's step, which takes an image
            classes = evidence.class_ids.shape[1]
            return ops.zeros((0, classes, *channels.shape[2:]), "float32")
        weights = ops.softmax(self._scores(evidence, channels), axis=-1)
        maps = ops.einsum("bchw,bkc->bkhw", channels, weights)
        return ops.relu(maps) if self.relu else maps

    def _scores(self, evidence: Evidence, channels: Any) -> Any:
        """Logits `(B, K, C)` of the classes, the image masked by each channel."""
        images, classes = evidence.images, evidence.class_ids.shape[1]
        _, count, height, width = channels.shape
        group = min(self.batch_size, count)
        groups = -(-count // group)
        # Whole groups, so that each step of the loop does the same: the rest is blank.
        blank = groups * group - count
        channels = ops.pad(channels, [[0, 0], [0, blank], [0, 0], [0, 0]])
        channels = ops.reshape(channels, (-1, group, height, width))
        baseline = ops.convert_to_tensor(self.baseline, dtype="float32")
        steps = ops.shape(channels)[0]

        def step(index: Any, scores: Any) -> tuple[Any, Any]:
            image = ops.take(images, index // groups, axis=0)
            chosen = ops.take(evidence.class_ids, index // groups, axis=0)
            maps = ops.take(channels, index, axis=0)[None]
            masks = score_maps(maps, tuple(image.shape[:2]))[0][..., None]
            logits = evidence.logits_of(baseline + masks * (image - baseline))
            # Without this, PyTorch would keep every pass for a gradient.
            logits = ops.stop_gradient(ops.cast(logits, "float32"))
            found = ops.take(logits, chosen, axis=1)[None]
            # TensorFlow runs ten steps of a loop at once where it can. Counting on from
            # the logits (nothing is above infinity) makes each step wait for the last.
            late = ops.cast(ops.any(logits > float("inf")), "int32")
            place = ops.reshape(index, (1, 1))
            return index + 1 + late, ops.scatter_update(scores, place, found)

        start = (ops.zeros((), "int32"), ops.zeros((steps, group, classes)))
        _, scores = ops.while_loop(lambda index, _: index < steps, step, start)
        scores = ops.reshape(scores, (-1, groups * group, classes))[:, :count]
        return ops.transpose(scores, (0, 2, 1))
