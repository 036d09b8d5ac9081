"""Splits that nothing may be chosen on."""

import re
from typing import Any


def check_not_test(dataset: Any, chosen: str) -> None:
    """Raises where a split is called a test split."""
    names = [str(getattr(dataset, name, "")) for name in ("name", "split")]
    words = {word for name in names for word in re.split(r"[\W_]+", name.lower())}
    if "test" in words:
        raise ValueError(
            f"{chosen[0].upper()}{chosen[1:]} are chosen on this split, which the test "
            "split must not see: pass a held-out split, such as 'train-fullsup', or "
            "`allow_test=True` if this is not the split that results are reported "
            f"on. Received: name={names[0]!r}, split={names[1]!r}."
        )


def check_named(dataset: Any) -> None:
    """Raises where nobody can see whether a split is a test split."""
    if not isinstance(getattr(dataset, "split", None), str):
        raise ValueError(
            "Batches do not say which split they are of, and this must not be the "
            "test split: pass an `ImageDataset`, or `allow_test=True` if these are "
            "not the images that results are reported on. Received: "
            f"{type(dataset).__name__}."
        )
