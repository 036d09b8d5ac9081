"""Features to maps weighed by what the network says of the masked image."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_wsol.cam.class_activation import score_maps


def score_cam(
    network: Callable[[Any], Any],
    images: Any,
    features: Any,
    class_ids: Any,
    batch_size: int = 32,
    baseline: Any = 0.0,
    relu: bool = True,
) -> Any:
    """Weighs each channel by the logit of the image seen through that channel.

    Score-CAM: channel `A_k`, resized to the image and scaled to [0, 1], masks the
    image; `w = softmax_k(logit_c(masked by A_k))`, `map = ReLU(sum_k w_k A_k)`. The
    paper's score is the logit less that of the baseline, which the softmax over
    channels removes. pytorch-grad-cam computes the same; the authors' own code weighs
    by the class probability instead, without a softmax over channels.

    **Cost**: `C` images go through the network for each image, once for all `K`
    classes: 1,024 of them for a MobileNet, 2,048 for a ResNet50. They go `batch_size`
    at a time, one group after the other, so that memory does not grow with `B` or
    `C`; time does.

    Args:
        network: Function from images `(N, H, W, 3)` to logits `(N, num_classes)`.
        images: Float tensor `(B, H, W, 3)` as the network takes them.
        features: Float tensor `(B, h, w, C)` of these images.
        class_ids: Integer tensor `(B, K)`, each in [0, num_classes).
        batch_size: Integer, how many masked images go through at once.
        baseline: Number, or three of them: the colour behind the mask. The paper
            masks images from which the mean colour was subtracted, so that its
            baseline is the mean colour. 0 is black in images in [0, 255].
        relu: Boolean. Whether negative values of the map become 0, as published.

    Returns:
        float32 tensor `(B, K, h, w)`.

    Example:
    >>> import numpy as np
    >>> features = np.array([[[[9.0, 0.0], [0.0, 9.0]]]], "float32")  # left, right
    >>> images = np.array([[[[1.0] * 3, [5.0] * 3]]], "float32")
    >>> def brightest(x):
    ...     return ops.max(x, axis=(1, 2))
    >>> class_ids = np.array([[0]])
    >>> maps = score_cam(brightest, images, features, class_ids)  # 9 / (1 + e^4)
    >>> [round(x, 2) for x in ops.convert_to_numpy(maps).ravel().tolist()]
    [0.16, 8.84]

    Reference:
        - [Wang et al., 2020](https://arxiv.org/abs/1910.01279)
    """
    images = ops.cast(images, "float32")
    channels = ops.transpose(ops.cast(features, "float32"), (0, 3, 1, 2))
    if images.shape[0] == 0:  # JAX traces the loop's step, which takes an image
        return ops.zeros((0, class_ids.shape[1], *channels.shape[2:]), "float32")
    scores = _scores(network, images, channels, class_ids, batch_size, baseline)
    weights = ops.softmax(scores, axis=-1)
    maps = ops.einsum("bchw,bkc->bkhw", channels, weights)
    return ops.relu(maps) if relu else maps


def _scores(
    network: Callable[[Any], Any],
    images: Any,
    channels: Any,
    class_ids: Any,
    batch_size: int,
    baseline: Any,
) -> Any:
    """Logits `(B, K, C)` of the chosen classes, the image masked by each channel."""
    _, count, height, width = channels.shape
    group = min(batch_size, count)
    groups = -(-count // group)
    # Whole groups, so that each step of the loop does the same: the rest is blank.
    blank = groups * group - count
    channels = ops.pad(channels, [[0, 0], [0, blank], [0, 0], [0, 0]])
    channels = ops.reshape(channels, (-1, group, height, width))
    class_ids = ops.cast(class_ids, "int32")
    classes = class_ids.shape[1]
    baseline = ops.convert_to_tensor(baseline, dtype="float32")
    steps = ops.shape(channels)[0]

    def step(index: Any, scores: Any) -> tuple[Any, Any]:
        image = ops.take(images, index // groups, axis=0)
        chosen = ops.take(class_ids, index // groups, axis=0)
        grouped = ops.take(channels, index, axis=0)[None]
        masks = score_maps(grouped, tuple(image.shape[:2]))[0][..., None]
        logits = network(baseline + masks * (image - baseline))
        # Without this, PyTorch would keep every pass for a gradient.
        logits = ops.stop_gradient(ops.cast(logits, "float32"))
        found = ops.take(logits, chosen, axis=1)[None]
        place = ops.reshape(index, (1, 1))
        # TensorFlow runs ten steps of a loop at once where it can. Counting on from
        # the logits (nothing is above infinity) makes each step wait for the last.
        late = ops.cast(ops.any(logits > float("inf")), "int32")
        return index + 1 + late, ops.scatter_update(scores, place, found)

    start = (ops.zeros((), "int32"), ops.zeros((steps, group, classes)))
    _, scores = ops.while_loop(lambda index, _: index < steps, step, start)
    scores = ops.reshape(scores, (-1, groups * group, classes))[:, :count]
    return ops.transpose(scores, (0, 2, 1))
