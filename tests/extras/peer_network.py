"""A small network, our maps of it, and what other libraries compute, in NumPy.

The formulas take features and gradients `(B, h, w, C)` of one class an image, and give
maps `(B, h, w)` before any ReLU.
"""

from dataclasses import replace

import keras
import numpy as np
from keras import ops

from keras_wsol.cam.gradient import class_gradients
from keras_wsol.cam.score_map import look

CLASS_IDS = np.array([4, 1])
# Of the images, by the stride of the second convolution: it makes 8 x 11 cells.
SIZES = {2: (17, 23), 3: (24, 33)}


def classifier(stride=2, gain=1.0):
    """Three convolutions with ReLU, pooling and `Dense`; images come to [-1, 1]."""
    images = keras.Input((*SIZES[stride], 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    for name, filters, step, padding in (
        ("first", 5, 1, "same"),
        ("second", 6, stride, "valid"),
        ("third", 7, 1, "same"),
    ):
        convolution = keras.layers.Conv2D(filters, 3, step, padding, name=name)
        convolution.activation = keras.activations.relu
        x = convolution(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(5, name="logits")(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 20
        weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
    kernel = model.layers[-1].kernel
    kernel.assign(gain * kernel)
    return model


def pictures(stride=2):
    size = (len(CLASS_IDS), *SIZES[stride], 3)
    return np.random.default_rng(1).uniform(0, 255, size).astype("float32")


def evidence_of(score_map, model, images):
    class_ids = ops.convert_to_tensor(CLASS_IDS[:, None], dtype="int32")
    return replace(look(score_map.split(model), images), class_ids=class_ids)


def ours(score_map, model, images):
    """Our maps `(B, h, w)`, before they are resized and scaled."""
    maps = score_map.maps(evidence_of(score_map, model, images))
    return ops.convert_to_numpy(maps)[:, 0]


def features_and_gradients(score_map, model, images):
    found = evidence_of(score_map, model, images)
    gradients = class_gradients(found.tail, found.features, found.class_ids)[:, 0]
    both = (ops.convert_to_numpy(each) for each in (found.features, gradients))
    return tuple(each.astype("float64") for each in both)


def assert_same(found, expected, atol=1e-5):
    """Maps are equal, as shares of the largest value of each."""
    axes = tuple(range(1, np.ndim(expected)))
    peaks = np.abs(expected).max(axis=axes, keepdims=True)
    assert (peaks > 0).all()
    assert (np.ptp(expected, axis=axes, keepdims=True) > 0.1 * peaks).all()
    np.testing.assert_allclose(found / peaks, expected / peaks, atol=atol, rtol=0)


def far_apart(found, expected):
    """The largest difference of maps that are scaled to [0, 1]."""
    return np.abs(unit(found) - unit(expected)).max()


def unit(maps):
    """Scales each map to [0, 1]: `(B, h, w)`, or those of channels `(B, h, w, C)`."""
    low, high = (f(maps, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    return (maps - low) / np.where(high > low, high - low, 1)


def weighted(features, weights):
    return np.einsum("bhwc,bc->bhw", features, weights)


def grad_cam_pp(features, gradients, epsilon=0.0, shares=False):
    """Eq. 19 of the paper; with `shares`, the alphas of a channel add up to 1."""
    squares, total = gradients**2, features.sum(axis=(1, 2), keepdims=True)
    below = 2 * squares + total * gradients**3 + epsilon
    alphas = np.where(squares > 0, squares / np.where(below == 0, 1, below), 0)
    if shares:
        sums = alphas.sum(axis=(1, 2), keepdims=True)
        alphas = alphas / np.where(sums == 0, 1, sums)
    return weighted(features, (alphas * np.maximum(gradients, 0)).sum(axis=(1, 2)))


def score_cam(predict, images, masks, features, of_classes=False):
    """Score-CAM with masks `(B, H, W, C)` over black.

    Weights are the softmax over channels of the logits, or, `of_classes`, the
    probability of the class under the softmax over classes.
    """
    masked = masks[..., None, :] * images[..., None]
    batch, height, width, _, channels = masked.shape
    masked = np.moveaxis(masked, -1, 1).reshape(-1, height, width, 3)
    logits = predict(masked.astype("float32")).reshape(batch, channels, -1)
    powers = np.exp(logits.astype("float64"))
    chosen = powers[np.arange(batch), :, CLASS_IDS]
    total = powers.sum(axis=2) if of_classes else chosen.sum(axis=1, keepdims=True)
    return weighted(features, chosen / total)


def enlarged(maps, size, corners=False):
    """Resizes `(B, h, w, C)`, bilinear: half-pixel centres, or corner on corner."""
    for axis, new in zip((1, 2), size, strict=True):
        old = maps.shape[axis]
        places = (np.arange(new) + 0.5) * old / new - 0.5
        places = np.linspace(0, old - 1, new) if corners else places

        def along(line, places=places, old=old):
            return np.interp(places, np.arange(old), line)

        maps = np.apply_along_axis(along, axis, maps)
    return maps
