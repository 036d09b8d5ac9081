"""Weakly supervised object localization in Keras 3: image labels in, boxes out.

The rooms of the package, in the order in which data flows through them: `data`,
`masks`, `cam`, `boxes`, `layers`, `models`, `metrics`, `viz`, `evaluation`,
`training`, `export`. Each is imported when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "boxes",
    "cam",
    "data",
    "evaluation",
    "export",
    "layers",
    "masks",
    "metrics",
    "models",
    "training",
    "viz",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"keras_wsol.{name}")
    raise AttributeError(f"module 'keras_wsol' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
