"""A classifier for images of another size."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras


def with_input_size(model: keras.Model, input_size: Sequence[int]) -> keras.Model:
    """Copies a classifier, for images of another size; weights carry over.

    Training crops from images of 256/224 of the input size, so that objects are larger
    in them than in the whole images of evaluation. A classifier that is read at 8/7 of
    its size sees them as it was trained to (Touvron et al., 2019, "Fixing the
    train-test resolution discrepancy"), and its maps get finer.

    Args:
        model: A functional classifier whose weights do not depend on the size: one
            that pools before its `Dense` layer, as those of `build_classifier` do.
        input_size: Height and width, integers.

    Returns:
        A new functional model of the same name with copies of the weights. What was
        not trained stays so. It is not compiled.

    Raises:
        TypeError: `model` has no graph.
        ValueError: `input_size` is not two positive integers, or the model cannot take
            images of this size.

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
    images = keras.Input((*size, *model.input_shape[3:]), name=model.inputs[0].name)
    try:
        copy = keras.models.clone_model(model, input_tensors=images)
        copy.set_weights(model.get_weights())
    except ValueError as error:
        raise ValueError(
            f"`{model.name}` cannot take images of {size[0]}x{size[1]}: its weights "
            f"or its graph are for {model.input_shape[1:3]}."
        ) from error
    for layer, original in zip(copy.layers, model.layers, strict=True):
        layer.trainable = original.trainable
    return copy


def _checked(size: Any) -> tuple[int, int]:
    """Returns a height and a width, or raises."""
    numbers = tuple(size) if isinstance(size, Sequence) else ()
    whole = [isinstance(n, Integral) and not isinstance(n, bool) for n in numbers]
    if len(numbers) != 2 or not all(whole) or min(numbers) < 1:
        raise ValueError(
            "`input_size` must be a height and a width, positive integers. Received: "
            f"input_size={size!r}."
        )
    return int(numbers[0]), int(numbers[1])
