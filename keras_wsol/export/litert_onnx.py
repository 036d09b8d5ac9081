"""A localizer to LiteRT, for phones and small boards, and to ONNX."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_wsol.arguments import check_bool
from keras_wsol.export import saved_model
from keras_wsol.files import replaced
from keras_wsol.models import Localizer, SecondLook
from keras_wsol.models.localizer_batches import probabilities

# Reduces, gathers and resizes as TensorFlow does; understood by onnxruntime from 1.13.
OPSET = 17


def export_litert(
    localizer: keras.Model, path: str | Path, *, boxes: bool = True
) -> Path:
    """Writes a LiteRT model: one image in, class, score, score map and box out.

    The signature `serving_default` takes `images`, float32 `(1, h, w, 3)` in [0, 255]
    of the localizer's input size, and gives its outputs, boxes in pixels of that size.
    Nothing but LiteRT's built-in operations is used, connected components included.
    The model card lies beside it, as `birds.tflite.json`.

    Args:
        localizer: `Localizer`, or a classifier that one can be made of. Its score map
            must need no gradients and no masked images: not that of GradCAM and the
            like, nor ScoreCAM; else it is a `ValueError`.
        path: String or path. File to write, such as `birds.tflite`.
        boxes: Boolean. Whether boxes are found in the model. Without, it holds
            convolutions, products and sums alone, and gives `class_ids`, `scores` and
            `score_maps`: smaller, and for runtimes that have no segment sums. Default
            True.

    Returns:
        The path.

    Example:
        export_litert(localizer, "birds.tflite")

        from ai_edge_litert.interpreter import Interpreter
        run = Interpreter("birds.tflite").get_signature_runner()
        out = run(images=image[None].astype("float32"))
    """
    _check_file(path)
    check_bool("boxes", boxes)
    localizer = _of_one_pass(localizer, "LiteRT")
    import tensorflow as tf

    def outputs(images: Any) -> dict[str, Any]:
        if not boxes:
            return _without_boxes(localizer, images)
        out = localizer(images, training=False, static_shapes=True)
        return {name: value for name, value in out.items() if name != "logits"}

    module = tf.Module()
    module.weights = [variable.value for variable in localizer.variables]
    module.function = _graph_function(localizer, outputs, batch=1)
    signatures = {"serving_default": module.function}
    with tempfile.TemporaryDirectory() as folder:
        # From a SavedModel: given a function, the converter leaves out the weights.
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
    return _write(path, localizer, lambda file: file.write_bytes(content))


def export_onnx(localizer: keras.Model, path: str | Path) -> Path:
    """Writes an ONNX model: images in, classes, scores and score maps out.

    The input `images` is float32 `(B, h, w, 3)` in [0, 255] of the localizer's input
    size; the outputs are `class_ids` `(B, K)`, `scores` `(B, K)` and `score_maps`
    `(B, K, h, w)`. There are no boxes: the converter turns the segment reductions of
    connected components into a grid of every cell against every component, 20 GB at
    224x224. Cut a map above `cam_threshold` times its maximum and take the largest
    component, such as by `cv2.connectedComponentsWithStats`. The model card, which has
    the threshold, lies beside it, as `birds.onnx.json`, and in the file: the metadata
    `session.get_modelmeta().custom_metadata_map` hold each of its entries as JSON.
    OpenVINO reads the file, too: set its `INFERENCE_PRECISION_HINT` to `f32`, since the
    bfloat16 that it chooses where it can moves maps.

    Args:
        localizer: `Localizer` or classifier, as for `export_litert`.
        path: String or path. File to write, such as `birds.onnx`.

    Returns:
        The path.

    Example:
        export_onnx(localizer, "birds.onnx")

        session = onnxruntime.InferenceSession("birds.onnx")
        class_ids, scores, score_maps = session.run(
            ["class_ids", "scores", "score_maps"], {"images": images})
    """
    _check_file(path)
    localizer = _of_one_pass(localizer, "ONNX")
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            'ONNX needs tf2onnx: pip install "keras-wsol[onnx]".'
        ) from error

    outputs = functools.partial(_without_boxes, localizer)
    function = _graph_function(localizer, outputs, batch=None)
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    card = saved_model.model_card(localizer)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in card.items()})
    return _write(path, localizer, lambda file: onnx.save(model, file))


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


def _without_boxes(localizer: Localizer, images: Any) -> dict[str, Any]:
    """The outputs of a localizer that need no connected components."""
    found = localizer.find_maps(images)
    scores = probabilities(found["logits"])
    return {
        "class_ids": found["class_ids"],
        "scores": keras.ops.take_along_axis(scores, found["class_ids"], axis=1),
        "score_maps": found["score_maps"],
    }


def _check_file(path: str | Path) -> None:
    if Path(path).is_dir():
        raise IsADirectoryError(f"`path` must name a file. {path} is a folder.")


def _write(path: Any, localizer: Localizer, write: Callable[[Path], Any]) -> Path:
    """Writes a model, and the card beside it, both of which come at once."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.json")
    with replaced(path) as model, replaced(beside) as card:
        write(model)
        saved_model.write_model_card(card, saved_model.model_card(localizer))
    return path


def _of_one_pass(model: keras.Model, runtime: str) -> Localizer:
    """Returns the localizer in float32, unless it needs gradients or more passes."""
    saved_model.check_backend(f"A model for {runtime}")
    localizer = saved_model.as_localizer(model)
    second = isinstance(localizer, SecondLook)
    if second or not localizer.score_map.forward_only:
        received = localizer if second else localizer.score_map
        raise ValueError(
            f"{runtime} takes a localizer of one forward pass, without gradients or "
            f"masked images. Received: {type(received).__name__}. Export a SavedModel."
        )
    return saved_model.in_float32(localizer)


def _graph_function(
    localizer: Localizer, function: Callable[[Any], dict[str, Any]], batch: int | None
) -> Any:
    """Makes a `tf.function` of `images` of the localizer's input size."""
    import tensorflow as tf

    shape = (batch, *localizer.input_size, 3)
    spec = tf.TensorSpec(shape, tf.float32, name="images")
    return tf.function(function, input_signature=[spec])
