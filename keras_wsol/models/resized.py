"""A classifier for images of another size."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras

from keras_wsol.models.splice import copy_weights


def with_input_size(model: keras.Model, input_size: Sequence[int]) -> keras.Model:
    """Copies a classifier, for images of another size; weights carry over.

    Training crops from images of 256/224 of the input size, so that objects are larger
    in them than in the whole images of evaluation. A classifier that is read at 8/7 of
    its size sees them as it was trained to (Touvron et al., 2019, "Fixing the
    train-test resolution discrepancy"), and its maps get finer.

    Args:
        model: A functional classifier whose weights do not depend on the size: one
            that pools before its `Dense` layer, as those of `build_classifier` do,
            without a model inside that has a fixed size. For a `Localizer`, give its
            `model`.
        input_size: Height and width: a tuple or list of two integers. Settings that
            the backbone took from its own size stay, such as MobileNetV2's padding:
            take multiples of 32 there.

    Returns:
        A new functional model of the same name with copies of the weights. What was
        not trained stays so. It is not compiled, and its draws start anew.

    Raises:
        TypeError: `model` has no graph.
        ValueError: `input_size` is not two positive integers, or the model has other
            inputs than images or cannot take images of this size.

    Example:
    >>> from keras_wsol.models import build_classifier
    >>> model = build_classifier("mobilenet", "cam", 5, weights=None,
    ...                          input_shape=(64, 96, 3),
    ...                          backbone_options={"alpha": 0.25})
    >>> with_input_size(model, (96, 128)).input_shape
    (None, 96, 128, 3)
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise TypeError(
            "`model` must be a functional Keras model. Received: "
            f"{model!r} (of type {type(model).__name__})."
        )
    size = _checked(input_size)
    shapes = [tuple(each.shape) for each in model.inputs]
    if len(shapes) != 1 or len(model.outputs) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "`model` must have one input, images, and one output. Received: inputs "
            f"{shapes}, {len(model.outputs)} output(s)."
        )
    (given,) = model.inputs
    # Not compiled, and with a tensor for its input: a clone would keep the loss, and a
    # list around the input.
    plain = keras.Model(given, model.outputs[0], name=model.name)
    images = keras.Input(
        batch_shape=(given.shape[0], *size, given.shape[3]),
        dtype=given.dtype,
        name=given.name,
    )
    try:
        copy = keras.models.clone_model(plain, input_tensors=images)
        copy_weights(plain, copy)
    except ValueError as error:
        raise ValueError(
            f"`{model.name}` cannot take images of {size[0]}x{size[1]}: its weights "
            f"or its graph are for {shapes[0][1:3]}. Keras says: {error}"
        ) from error
    return copy


def _checked(size: Any) -> tuple[int, int]:
    """Returns a height and a width, or raises."""
    numbers = tuple(size) if isinstance(size, tuple | list) else ()
    whole = [isinstance(n, Integral) and not isinstance(n, bool) for n in numbers]
    if len(numbers) != 2 or not all(whole) or min(numbers) < 1:
        raise ValueError(
            "`input_size` must be a tuple or list of height and width, positive "
            f"integers. Received: input_size={size!r} (of type {type(size).__name__})."
        )
    return int(numbers[0]), int(numbers[1])
