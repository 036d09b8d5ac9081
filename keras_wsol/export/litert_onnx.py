"""A localizer to LiteRT, for phones and small boards, and to ONNX."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import keras
import numpy as np

from keras_wsol.arguments import check_bool
from keras_wsol.export import saved_model
from keras_wsol.files import replaced
from keras_wsol.models import Localizer, SecondLook

# The first whose ScatterElements takes a maximum; understood by onnxruntime from 1.14.
OPSET = 18


def export_litert(
    localizer: keras.Model,
    path: str | Path,
    *,
    boxes: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes a LiteRT model: one image in, class, score, score map and box out.

    The signature `serving_default` takes `images`, float32 `(1, h, w, 3)` in [0, 255]
    of the localizer's input size, and gives its outputs, boxes in pixels of that size.
    Call it once an image: of another batch, LiteRT says that a node failed to prepare.
    Nothing but LiteRT's built-in operations is used, connected components included.
    The model card lies beside it, as `birds.tflite.json`, and is in the file, which is
    an archive as well: `zipfile.ZipFile("birds.tflite").read("model_card.json")`.

    Args:
        localizer: `Localizer`, or a classifier that one can be made of. Its score map
            must need no gradients and no masked images: not that of GradCAM and the
            like, nor ScoreCAM; else it is a `ValueError`.
        path: String or path. File to write, such as `birds.tflite`.
        boxes: Boolean. Whether boxes are found in the model. Without, it holds
            convolutions, products and sums alone, and gives `class_ids`, `scores` and
            `score_maps`: smaller, and for runtimes that have no segment sums. Default
            True.
        overwrite: Boolean. Whether a file that is there may be replaced. Default False.

    Returns:
        The path.

    Example:
        export_litert(localizer, "birds.tflite")

        from ai_edge_litert.interpreter import Interpreter
        run = Interpreter("birds.tflite").get_signature_runner()
        out = run(images=image[None].astype("float32"))
    """
    _check_file(path, check_bool("overwrite", overwrite))
    check_bool("boxes", boxes)
    localizer = _of_one_pass(localizer, "LiteRT")
    import tensorflow as tf

    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    module.function = _graph_function(localizer, boxes, batch=1)
    signatures = {"serving_default": module.function}
    with tempfile.TemporaryDirectory() as folder:
        # From a SavedModel: given a function, the converter leaves out the weights.
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    card = json.dumps(saved_model.model_card(localizer), ensure_ascii=False)

    def write(file: Path) -> None:
        file.write_bytes(content)
        # Behind the model, where LiteRT's metadata keep their files.
        with ZipFile(file, "a") as archive:
            archive.writestr(ZipInfo("model_card.json"), card)

    return _write(path, localizer, write)


def export_onnx(
    localizer: keras.Model,
    path: str | Path,
    *,
    boxes: bool = True,
    overwrite: bool = False,
) -> Path:
    """Writes an ONNX model: images in, classes, scores, score maps and boxes out.

    The input `images` is float32 `(B, h, w, 3)` in [0, 255] of the localizer's input
    size; the outputs are those of the localizer, boxes in pixels of that size. The
    model card lies beside it, as `birds.onnx.json`, and is in the file: the metadata
    `session.get_modelmeta().custom_metadata_map` hold each of its entries as JSON.
    OpenVINO reads the file, too, of transformers with class tokens only with
    `boxes=False`: set its `INFERENCE_PRECISION_HINT` to `f32`, since the bfloat16 that
    it chooses where it can moves maps.

    Args:
        localizer: `Localizer` or classifier, as for `export_litert`.
        path: String or path. File to write, such as `birds.onnx`.
        boxes: Boolean. As for `export_litert`: without, there are neither loops nor
            scatters, for runtimes that lack them. Default True.
        overwrite: As for `export_litert`.

    Returns:
        The path.

    Example:
        export_onnx(localizer, "birds.onnx")

        session = onnxruntime.InferenceSession("birds.onnx")
        class_ids, scores, boxes = session.run(
            ["class_ids", "scores", "boxes"], {"images": images})
    """
    _check_file(path, check_bool("overwrite", overwrite))
    check_bool("boxes", boxes)
    localizer = _of_one_pass(localizer, "ONNX")
    model = _to_onnx(_graph_function(localizer, boxes, batch=None))
    import onnx

    card = saved_model.model_card(localizer)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in card.items()})
    return _write(path, localizer, lambda file: onnx.save(model, file))


def _to_onnx(function: Any) -> Any:
    """Makes a model of a `tf.function` that has a signature."""
    try:
        import tf2onnx
        from onnx import helper
    except ImportError as error:
        raise ImportError(
            'ONNX needs tf2onnx: pip install "keras-wsol[onnx]".'
        ) from error

    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={
            "UnsortedSegmentMax": (_scatter, ["ScatterElements", "max"]),
            "UnsortedSegmentSum": (_scatter, ["ScatterElements", "add"]),
            "Erfc": (_erfc, []),
        },
    )
    # OpenVINO takes what a loop hands on as it is for a further input.
    for node in model.graph.node:
        if node.op_type == "Loop":
            body = helper.get_node_attr_value(node, "body")
            inputs = {each.name for each in body.input}
            for each in body.output:
                if each.name in inputs:
                    copy = f"{each.name}_copy"
                    body.node.append(helper.make_node("Identity", [each.name], [copy]))
                    each.name = copy
    return model


def _scatter(graph: Any, node: Any, _: str, reduction: list[str]) -> None:
    """Has ScatterElements reduce segments (S,), where tf2onnx makes a grid (S, S)."""
    from onnx import TensorProto, helper

    values, ids, count = node.input
    dtype, empty = graph.get_dtype(values), 0
    if reduction == ["max"]:
        empty = np.iinfo(helper.tensor_dtype_to_np_dtype(dtype)).min
    empty = helper.make_tensor("value", dtype, [1], [empty])
    one = graph.make_const(f"{node.name}_one", np.array([1], "int64"))
    shape = graph.make_node("Reshape", [count, one.output[0]])
    shape = graph.make_node("Cast", shape.output, {"to": TensorProto.INT64})
    start = graph.make_node("ConstantOfShape", shape.output, {"value": empty})
    graph.replace_inputs(node, [start.output[0], ids, values])
    node.set_attr("reduction", *reduction)


def _erfc(graph: Any, node: Any, name: str, args: Any) -> Any:
    """Writes what TensorFlow's exact GELU is made of, and ONNX lacks, as 1 - erf."""
    node.type = "Erf"
    one = graph.make_const(f"{name}_one", np.ones((), "float32"))
    shape, dtype = (get(node.output[0]) for get in (graph.get_shape, graph.get_dtype))
    made = graph.make_node(
        "Sub", [one.output[0], node.output[0]], shapes=[shape], dtypes=[dtype]
    )
    others = [each for each in graph.get_nodes() if each is not made]
    graph.replace_all_inputs(node.output[0], made.output[0], ops=others)
    return made


def _check_file(path: str | Path, overwrite: bool) -> None:
    if Path(path).is_dir():
        raise IsADirectoryError(f"`path` must name a file. {path} is a folder.")
    for each in (Path(path), _card_of(path)):
        if each.exists() and not overwrite:
            raise FileExistsError(
                f"{each} exists. Export to another file, or pass `overwrite=True`."
            )


def _card_of(path: str | Path) -> Path:
    return Path(f"{path}.json")


def _write(path: Any, localizer: Localizer, write: Callable[[Path], Any]) -> Path:
    """Writes a model, and the card beside it, both of which come at once."""
    path = Path(path)
    with replaced(path) as model, replaced(_card_of(path)) as card:
        write(model)
        saved_model.write_model_card(card, saved_model.model_card(localizer))
    return path


def _of_one_pass(model: keras.Model, runtime: str) -> Localizer:
    """Returns the localizer in float32, unless it needs gradients or more passes."""
    saved_model.check_backend(f"A model for {runtime}")
    localizer = saved_model.as_localizer(model)
    if not saved_model.is_of_one_pass(localizer):
        second = isinstance(localizer, SecondLook)
        received = localizer if second else localizer.score_map
        raise ValueError(
            f"{runtime} takes a localizer of one forward pass, without gradients or "
            f"masked images. Received: {type(received).__name__}. Export a SavedModel."
        )
    return saved_model.in_float32(localizer)


def _graph_function(localizer: Localizer, boxes: bool, batch: int | None) -> Any:
    """Makes a `tf.function` of `images` of the localizer's input size."""
    import tensorflow as tf

    from keras_wsol.export import endpoints

    def outputs(images: Any) -> dict[str, Any]:
        if not boxes:
            return endpoints.localize_maps(localizer, images)
        out = localizer(images, training=False, static_shapes=True)
        return {name: value for name, value in out.items() if name != "logits"}

    shape = (batch, *localizer.input_size, 3)
    spec = tf.TensorSpec(shape, tf.float32, name="images")
    return tf.function(outputs, input_signature=[spec])
