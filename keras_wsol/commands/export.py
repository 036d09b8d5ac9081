"""`keras-wsol export`: a localizer to a model that runs without this package."""

import argparse
import json
from pathlib import Path
from typing import Any

from keras_wsol.commands.argument_types import check_free, count, file, share
from keras_wsol.commands.command import Command, say
from keras_wsol.commands.load_localizer import load_localizer


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", type=file, required=True, metavar="FILE", help="a .keras file")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder of a SavedModel, whose last part TensorFlow Serving wants to be a "
        "number; or file to write, such as birds.tflite or birds.onnx",
    )
    add(
        "--format",
        default="saved_model",
        choices=["saved_model", "litert", "onnx"],
        help="saved_model: files of images, or images, to class, score, score map and "
        "box; litert: one image to the same, for phones; onnx: images to the same "
        "without boxes (default: %(default)s)",
    )
    add(
        "--cam-threshold",
        type=share,
        metavar="SHARE",
        help="share of the score map's maximum above which is object (default: the "
        "model's own)",
    )
    add(
        "--report",
        type=file,
        metavar="FILE",
        help="report.json of `keras-wsol evaluate`, whose figures go into the "
        "SavedModel's model_card.json (default: none)",
    )
    add(
        "--features",
        action="store_true",
        help="give a SavedModel the signature `features`, too: what the score map is "
        "read from, and the logits",
    )
    add(
        "--max-pixels",
        type=count,
        metavar="N",
        help="height times width of the largest file that a SavedModel decodes "
        "(default: 50000000)",
    )
    add("--overwrite", action="store_true", help="replace what is at --out")


def _run(options: argparse.Namespace) -> None:
    check_free(options.out, options.overwrite)
    _check_same_kind(options.out, options.format)
    of_saved_model = _saved_model_arguments(options)
    say("Loading Keras ...")
    from keras_wsol.export.litert import export_litert
    from keras_wsol.export.onnx import export_onnx
    from keras_wsol.export.saved_model import export_saved_model

    localizer = load_localizer(options.model, options.cam_threshold)
    say(f"Writing {options.out} ...")
    if options.format == "saved_model":
        export_saved_model(
            localizer, options.out, overwrite=options.overwrite, **of_saved_model
        )
    else:
        write = {"litert": export_litert, "onnx": export_onnx}[options.format]
        write(localizer, options.out)
    print(f"Wrote {options.out}.")


def _check_same_kind(path: Path, format: str) -> None:
    """Refuses to replace a folder that is no SavedModel: it may hold anything."""
    if not path.exists():
        return
    of_saved_model = (path / "saved_model.pb").is_file()
    if not (of_saved_model if format == "saved_model" else path.is_file()):
        raise FileExistsError(f"{path} is no {format} model, so it is not replaced.")


def _saved_model_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of the arguments that only a SavedModel has."""
    given: dict[str, Any] = {}
    if options.report is not None:
        given["metrics"] = _read_report(options.report)
    if options.features:
        given["features"] = True
    if options.max_pixels is not None:
        given["max_pixels"] = options.max_pixels
    if given and options.format != "saved_model":
        raise ValueError(
            "--report, --features and --max-pixels are for --format saved_model. "
            f"Received: --format {options.format}."
        )
    return given


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} must be a report.json. It is none: {error}."
        ) from error
    if not isinstance(report, dict):
        raise ValueError(
            f"{path} must be a report.json, a JSON object. It holds a "
            f"{type(report).__name__}."
        )
    return report


COMMAND = Command(
    summary="a trained model to a SavedModel, LiteRT or ONNX",
    usage="--model FILE --out PATH",
    description="""\
Writes a model that runs without this package: a SavedModel for TensorFlow Serving and
everything else that has TensorFlow, a LiteRT file for phones and small boards, or an
ONNX file.

The threshold goes with it: choose it by `keras-wsol evaluate --tune-on`, since it
moves every box.""",
    example="keras-wsol export --model runs/birds/localizer.keras \\\n"
    "    --report runs/birds/test/report.json --out saved_models/birds/1",
    interrupted="Nothing was written; the same command begins anew.",
    add_arguments=_add_arguments,
    run=_run,
)
