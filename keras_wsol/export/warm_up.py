"""Requests that TensorFlow Serving replays before it serves a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Where TensorFlow Serving looks for them, within the folder of the SavedModel.
WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warm_up(
    folder: str | Path, requests: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Writes warm-up requests into a SavedModel's folder."""
    import tensorflow as tf

    path = Path(folder) / WARM_UP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            writer.write(_prediction_log(signature, inputs))
    return path


def _prediction_log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Encodes one request to `Predict`."""
    import tensorflow as tf

    request = _field(1, _field(3, signature.encode()))  # model_spec.signature_name
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # inputs
    return _field(6, _field(1, request))  # predict_log.request


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds a message or a string."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the eighth says that more follow."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
