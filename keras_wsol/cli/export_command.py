r"""A trained model to a SavedModel, LiteRT or ONNX, which runs without this package.

The threshold goes with it: choose it by `keras-wsol evaluate --tune-on`, since it
moves every box.

Example:
  keras-wsol export --model runs/birds/localizer.keras \
    --report runs/birds/test/report.json --out saved_models/birds/1
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_wsol import export
from keras_wsol.cli import shared_arguments as shared
from keras_wsol.data.images import MAX_PIXELS


def add_arguments(add: Callable[..., Any]) -> None:
    """Adds the command's arguments by a parser's `add_argument`."""
    shared.add_model(add)
    text = "folder of a SavedModel, such as birds/1; or file .tflite or .onnx"
    add("--out", type=Path, required=True, help=text)
    text = "litert takes one image; onnx gives no boxes (default: %(default)s)"
    formats = ["saved_model", "litert", "onnx"]
    add("--format", default="saved_model", choices=formats, help=text)
    text = "report.json of `evaluate`, for the card of a SavedModel (default: none)"
    add("--report", type=shared.existing, help=text)
    text = "give a SavedModel a signature `features`: those behind the map, and logits"
    add("--features", action="store_true", help=text)
    text = "size of the largest file that a SavedModel decodes (default: %(default)s)"
    add("--max-pixels", type=shared.count, default=MAX_PIXELS, help=text)
    add("--overwrite", action="store_true", help="replace what is at --out")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    out = options.out
    if out.exists() and not options.overwrite:
        raise FileExistsError(f"{out} exists: choose another --out, or --overwrite.")
    if out.is_dir() and options.format != "saved_model":
        raise FileExistsError(f"{out} is a folder, so it is not replaced.")
    metrics = _read_report(options.report) if options.report else None
    localizer = shared.load_localizer(options)
    shared.say(f"Writing {out} ...")
    if options.format == "saved_model":
        export.export_saved_model(
            localizer,
            out,
            overwrite=options.overwrite,
            max_pixels=options.max_pixels,
            features=options.features,
            metrics=metrics,
        )
    elif options.format == "litert":
        export.export_litert(localizer, out)
    else:
        export.export_onnx(localizer, out)
    print(f"Wrote {out}.")


def _read_report(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} must be a report.json. {error}.") from error
