"""A localizer to ONNX: classes and score maps."""

from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_wsol.export.full_precision import in_float32
from keras_wsol.export.static_graph import as_localizer, check_static, graph_function
from keras_wsol.files import replaced
from keras_wsol.models import Localizer

# Reduces, gathers and resizes as TensorFlow does; understood by onnxruntime from 1.13.
OPSET = 17


NO_BOXES = (
    "Boxes need segment reductions over connected components, which the converter "
    "turns into a grid of every cell against every component (20 GB at 224x224). Take "
    "them from `score_maps`, such as with cv2.connectedComponentsWithStats, or export "
    "to LiteRT or as a SavedModel."
)


def export_onnx(
    localizer: keras.Model, path: str | Path, *, boxes: bool = False
) -> Path:
    """Writes an ONNX model: images in, classes, scores and score maps out.

    The input `images` is float32 `(B, h, w, 3)` in [0, 255] of the localizer's input
    size; the outputs are `class_ids` `(B, K)`, `scores` `(B, K)` and `score_maps`
    `(B, K, h, w)`. There are no boxes: connected components need segment reductions,
    which the converter turns into a grid of every cell against every component (20 GB
    at 224x224). Cut a map above `cam_threshold` times its maximum and take the
    largest component, such as with `cv2.connectedComponentsWithStats`.

    Args:
        localizer: A `Localizer`, or a classifier that one can be made of. Its score
            map must be `"cam"`, `"channel_mean"`, `"ddt"` or `"foreground"`.
        path: File to write, such as `birds.onnx`. A file that is there is replaced
            once the new one is complete.
        boxes: Must be false: see above. The argument says that they are missing to
            whoever asks for them.

    Returns:
        The path.

    Raises:
        ValueError: The score map is another one, the localizer takes a second look,
            or boxes are asked for.
        ImportError: tf2onnx is missing; `pip install "keras-wsol[onnx]"`.
        RuntimeError: Keras does not run on the TensorFlow backend.

    Example:
        export_onnx(localizer, "birds.onnx")

        session = onnxruntime.InferenceSession("birds.onnx")
        class_ids, scores, score_maps = session.run(
            ["class_ids", "scores", "score_maps"], {"images": images})
    """
    check_static(localizer, "ONNX")
    if boxes:
        raise ValueError(NO_BOXES)
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            'ONNX needs tf2onnx: pip install "keras-wsol[onnx]".'
        ) from error

    localizer = in_float32(as_localizer(localizer))
    function = graph_function(localizer, _outputs(localizer), batch=None)
    with replaced(Path(path)) as temporary:
        tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            output_path=str(temporary),
        )
    return Path(path)


def _outputs(localizer: Localizer) -> Any:
    def outputs(images: Any) -> dict[str, Any]:
        found = localizer.find_maps(images)
        probabilities = ops.softmax(found["logits"])
        return {
            "class_ids": found["class_ids"],
            "scores": ops.take_along_axis(probabilities, found["class_ids"], axis=1),
            "score_maps": found["score_maps"],
        }

    return outputs
