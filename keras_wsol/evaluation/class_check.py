"""Whether a model knows the classes of a split."""

from typing import Any

from keras_wsol.data import ImageDataset
from keras_wsol.models import Localizer, class_names_of


def check_classes(localizer: Localizer, split: Any) -> None:
    """Raises where the classes of a model are not those of a split."""
    if not isinstance(split, ImageDataset):
        return
    names = class_names_of(localizer.model)
    if split.num_classes > localizer.head.num_classes or (
        names is not None and tuple(names) != tuple(split.class_names)
    ):
        raise ValueError(
            f"The model must know the classes of {split.name!r} in their order. It has "
            f"{localizer.head.num_classes} classes ({list(names or ())[:3]} ...), the "
            f"split {split.num_classes} ({list(split.class_names)[:3]} ...)."
        )
